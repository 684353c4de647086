//! COPY and MOVE with their UID forms (RFC 9051 sections 6.4.7 and 6.4.8).

use postrider_wire::imap::response::Status;
use postrider_wire::imap::sequence::MessageSet;

use super::session::{End, Session};

impl Session {
    pub(super) async fn copy(
        &mut self,
        _by_uid: bool,
        _set: &MessageSet,
        _mailbox: &str,
        _moves: bool,
    ) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
