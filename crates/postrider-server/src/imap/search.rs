//! SEARCH and UID SEARCH (RFC 9051 section 6.4.4).

use postrider_wire::imap::command::Search;
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn search(&mut self, _tag: &str, _search: Search) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
