//! APPEND (RFC 9051 section 6.3.12) with MULTIAPPEND (RFC 3502) and CATENATE (RFC 4469), and REPLACE (RFC 8508).

use postrider_wire::imap::command::{Append, Replace};
use postrider_wire::imap::response::Status;
use postrider_wire::imap::server::{LiteralOffer, Verdict};

use super::session::{End, Session};

impl Session {
    /// Whether a message may be sent that is announced.
    pub(super) async fn literal(&mut self, _offer: LiteralOffer) -> Verdict {
        Verdict::Accept
    }

    pub(super) async fn append(&mut self, _append: Append) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }

    pub(super) async fn replace(&mut self, _replace: Replace) -> Result<Status, End> {
        Ok(Status::no("Not done here yet"))
    }
}
