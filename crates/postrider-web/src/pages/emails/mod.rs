//! E-mails: finding them, and reading one.

pub(super) mod html;
pub(super) mod list;
pub(super) mod show;
mod timeline;
