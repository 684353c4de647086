//! THREAD and UID THREAD (RFC 5256).

use postrider_wire::imap::command::Thread;
use postrider_wire::imap::response::Status;

use super::session::{End, Session};

impl Session {
    pub(super) async fn thread(&mut self, _thread: Thread) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
