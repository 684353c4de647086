//! NOTIFY (RFC 5465).

use postrider_wire::imap::command::Notify;
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn notify(&mut self, _notify: Notify) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
