//! `/api/events`: what happens, as it happens.

pub(super) mod follow;
pub(crate) mod summary;
