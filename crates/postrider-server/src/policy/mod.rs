//! What is decided about a delivery before it is tried.

pub(crate) mod mta_sts;
pub(crate) mod shaping;
pub(crate) mod source;
pub(crate) mod suppression;
