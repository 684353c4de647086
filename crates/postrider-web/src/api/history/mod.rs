//! `/api/history`: what was done when.

pub(crate) mod show;
