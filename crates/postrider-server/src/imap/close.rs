//! CLOSE, UNSELECT (RFC 3691) and EXPUNGE with UID EXPUNGE (RFC 4315).

use postrider_store::StoreError;
use postrider_wire::imap::response::{Code, Status};
use postrider_wire::imap::sequence::MessageSet;

use super::session::Session;

impl Session {
    /// CLOSE: what is marked as deleted goes without a word, then the mailbox is left.
    pub(super) async fn close(&mut self) -> Status {
        if let Some(selected) = &self.selected
            && !selected.is_read_only
        {
            match self.store().expunge(selected.shared.id, None).await {
                // What is deleted can be left.
                Ok(_) | Err(StoreError::Missing(_)) => {}
                Err(error) => return self.store_failed("a mailbox could not be expunged", &error),
            }
        }
        self.unselect().await;
        Status::ok("Closed")
    }

    /// Leaves the selected mailbox, if there is one.
    pub(super) async fn unselect(&mut self) {
        self.wire.set_selected(false);
        self.saved = Default::default();
        let Some(selected) = self.selected.take() else { return };
        // What came while the client looked is recent to nobody else.
        if !selected.is_read_only
            && selected.view.last_uid() >= selected.recent_from
            && let Err(error) = self.store().take_recent(selected.shared.id).await
        {
            tracing::debug!(%error, "recent messages stay recent");
        }
        self.context.registry.left(selected.shared);
    }

    /// EXPUNGE; of these UIDs only, where they are given. What went is told with the answer.
    pub(super) async fn expunge(&mut self, uids: Option<&MessageSet>) -> Status {
        let Some(selected) = &self.selected else { return Status::bad("No mailbox is selected") };
        if selected.is_read_only {
            return Status::refusal(Code::NoPerm, "The mailbox was opened read-only");
        }
        let uids = match uids.map(|set| selected.places(set, true, &self.saved)).transpose() {
            Ok(places) => places.map(|places| selected.uids(&places)),
            Err(status) => return status,
        };
        let mailbox = selected.shared.clone();
        let expunged = match self.store().expunge(mailbox.id, uids).await {
            Ok(expunged) => expunged,
            Err(error) => return self.store_failed("a mailbox could not be expunged", &error),
        };
        mailbox.changed_here().await;
        let status = Status::ok("Expunged");
        if self.qresync && !expunged.uids.is_empty() {
            // RFC 7162 section 3.2.7.
            return status.with_code(Code::HighestModSeq(expunged.modseq));
        }
        status
    }
}
