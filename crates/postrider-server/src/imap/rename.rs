//! RENAME (RFC 9051 section 6.3.6).

use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn rename(&mut self, _from: &str, _to: &str) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
