//! The queue as a whole.

pub(super) mod order;
pub(super) mod stats;
