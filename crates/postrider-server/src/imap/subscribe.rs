//! SUBSCRIBE and UNSUBSCRIBE (RFC 9051 sections 6.3.7 and 6.3.8).

use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn subscribe(&mut self, _mailbox: &str, _is_subscribed: bool) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
