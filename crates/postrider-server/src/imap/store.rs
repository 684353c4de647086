//! STORE and UID STORE (RFC 9051 section 6.4.6, RFC 7162 section 3.1.3).

use postrider_wire::imap::command::Store;
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn store_flags(&mut self, _store: Store) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
