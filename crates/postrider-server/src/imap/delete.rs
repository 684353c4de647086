//! DELETE (RFC 9051 section 6.3.5).

use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn delete(&mut self, _mailbox: &str) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
