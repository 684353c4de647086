//! The service that picks source addresses.

pub(super) mod addresses;
pub(super) mod clear_cache;
pub(super) mod stats;
pub(super) mod test;
