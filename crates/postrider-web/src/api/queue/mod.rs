//! The queue as a whole.

pub(super) mod domains;
pub(super) mod order;
pub(super) mod stats;
