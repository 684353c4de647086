//! `/api/suppressions`: the addresses that nothing is sent to.

pub(super) mod add;
pub(super) mod list;
pub(super) mod remove;
