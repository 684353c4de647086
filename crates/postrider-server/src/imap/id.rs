//! ID (RFC 2971): who talks to whom, for those who look for faults. Nothing is decided by it.

use postrider_wire::imap::response::{self, Status};
use tracing::debug;

use super::session::{End, Session};

impl Session {
    pub(super) async fn id(&mut self, fields: Vec<(String, Option<String>)>) -> Result<Status, End> {
        if !fields.is_empty() {
            debug!(user = self.wire.user(), client = ?fields, "the client says what it is");
        }
        response::id(self.wire.output(), [("name", "Postrider"), ("version", env!("CARGO_PKG_VERSION"))]);
        Ok(Status::ok("Told"))
    }
}
