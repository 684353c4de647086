//! IDLE (RFC 2177) and NOOP: hearing of changes.

use postrider_wire::imap::response::Status;

use super::session::Session;

impl Session {
    /// NOOP and CHECK: looks for changes that no notice has told of yet. What there is to tell is told with the answer.
    pub(super) async fn noop(&mut self) -> Status {
        if let Some(selected) = &self.selected
            && let Err(error) = selected.shared.refresh().await
        {
            return self.store_failed("a mailbox could not be read", &error);
        }
        Status::ok("Done")
    }
}
