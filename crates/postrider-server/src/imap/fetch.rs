//! FETCH and UID FETCH (RFC 9051 section 6.4.5).

use postrider_wire::imap::command::Fetch;
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn fetch(&mut self, _fetch: Fetch) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
