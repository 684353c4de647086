//! SORT and UID SORT (RFC 5256).

use postrider_wire::imap::command::Sort;
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn sort(&mut self, _tag: &str, _sort: Sort) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
