//! `/api/config`: the settings as they are.

pub(super) mod show;
