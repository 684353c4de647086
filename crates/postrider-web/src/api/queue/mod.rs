//! The queue as a whole.

pub(super) mod stats;
