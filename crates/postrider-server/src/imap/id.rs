//! ID (RFC 2971).

use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn id(&mut self, _fields: Vec<(String, Option<String>)>) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
