//! E-mails, as the API shows them.

pub(super) mod attachment;
pub(super) mod bulk;
pub(super) mod delete;
pub(crate) mod list;
pub(super) mod order;
pub(super) mod raw;
pub(super) mod retry;
pub(super) mod send;
pub(crate) mod show;
pub(crate) mod timeline;
pub(crate) mod why;

use postrider_core::ObjectId;

use crate::problem::Problem;

pub(crate) fn no_such_email(id: ObjectId) -> Problem {
    Problem::not_found(format!("There is no e-mail {id}; it may have been deleted."))
}
