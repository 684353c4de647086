//! ENABLE (RFC 5161).

use postrider_wire::imap::command::Extension;
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn enable(&mut self, _extensions: Vec<Extension>) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
