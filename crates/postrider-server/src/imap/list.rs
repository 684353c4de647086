//! LIST (RFC 9051 section 6.3.9) and LSUB.

use postrider_wire::imap::command::{List, Lsub};
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn list(&mut self, _list: List) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }

    pub(super) async fn lsub(&mut self, _lsub: Lsub) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
