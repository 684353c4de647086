//! The SMTP listeners.

pub(super) mod stats;
