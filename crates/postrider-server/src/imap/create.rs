//! CREATE (RFC 9051 section 6.3.4) with what the mailbox is for (RFC 6154).

use postrider_wire::imap::command::Create;
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn create(&mut self, _create: Create) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
