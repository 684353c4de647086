//! NAMESPACE (RFC 2342): all mailboxes are the user's own, without a prefix.

use postrider_core::mailbox::MailboxName;
use postrider_wire::imap::response::{self, Status};

use super::session::{End, Session};

impl Session {
    pub(super) async fn namespace(&mut self) -> Result<Status, End> {
        let dialect = self.wire.dialect();
        response::namespace(self.wire.output(), "", MailboxName::SEPARATOR, dialect);
        Ok(Status::ok("Told"))
    }
}
