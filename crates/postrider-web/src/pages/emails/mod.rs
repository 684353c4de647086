//! E-mails: finding them, and reading one.

pub(super) mod list;
