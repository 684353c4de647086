//! NAMESPACE (RFC 2342).

use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn namespace(&mut self) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
