//! STATUS (RFC 9051 section 6.3.11).

use postrider_wire::imap::command::StatusItem;
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn status(&mut self, _mailbox: &str, _items: &[StatusItem]) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
