//! COPY and MOVE with their UID forms (RFC 9051 sections 6.4.7 and 6.4.8), and COPYUID (RFC 4315).

use postrider_core::mailbox::MailboxName;
use postrider_store::{Copied, CopyMessages, MailboxRecord, StoreError};
use postrider_wire::imap::response::{Code, Status};
use postrider_wire::imap::sequence::{MessageSet, NumberSet};

use super::session::{End, Session};

impl Session {
    pub(super) async fn copy(
        &mut self,
        by_uid: bool,
        set: &MessageSet,
        mailbox: &str,
        moves: bool,
    ) -> Result<Status, End> {
        let Some(selected) = &self.selected else { return Ok(Status::bad("No mailbox is selected")) };
        if moves && selected.is_read_only {
            return Ok(Status::refusal(Code::NoPerm, "The mailbox was opened read-only"));
        }
        let uids = match selected.places(set, by_uid, &self.saved) {
            Ok(places) => selected.uids(&places),
            Err(status) => return Ok(status),
        };
        let from = selected.shared.clone();
        let to = match self.target(mailbox).await {
            Ok(record) => record.id,
            Err(status) => return Ok(status),
        };
        if uids.is_empty() {
            // RFC 9051 section 6.4.9: UIDs that are not there are no error.
            return Ok(Status::ok("There is nothing to copy"));
        }
        let request = CopyMessages { from: from.id, uids, to, moves, now: self.now() };
        let copied = match self.store().copy_messages(request).await {
            Ok(copied) => copied,
            Err(StoreError::Missing(_)) => return Ok(try_create()),
            Err(error) => return Ok(self.store_failed("messages could not be copied", &error)),
        };
        if moves || to == from.id {
            from.changed_here().await;
        }
        Ok(self.copied(&copied, moves))
    }

    fn copied(&mut self, copied: &Copied, moves: bool) -> Status {
        if copied.uids.is_empty() {
            return Status::ok("The messages are gone").with_code(Code::ExpungeIssued);
        }
        let code = Code::CopyUid {
            uid_validity: copied.uid_validity,
            source: copied.uids.iter().map(|(source, _)| *source).collect::<NumberSet>(),
            destination: copied.uids.iter().map(|(_, destination)| *destination).collect(),
        };
        if !moves {
            return Status::ok("Copied").with_code(code);
        }
        // RFC 6851 section 4.3: before the messages are told to be gone.
        Status::ok("Moved").with_code(code).write_untagged(self.wire.output());
        Status::ok("Done")
    }

    /// The mailbox that messages are to go to, or why they cannot.
    pub(super) async fn target(&self, mailbox: &str) -> Result<MailboxRecord, Status> {
        let (Some(user), Ok(name)) = (self.user_id(), MailboxName::parse(mailbox)) else {
            return Err(Status::refusal(Code::Cannot, "That is no name of a mailbox"));
        };
        match self.store().mailbox(user, &name).await {
            Ok(Some(record)) => Ok(record),
            Ok(None) => Err(try_create()),
            Err(error) => Err(self.store_failed("a mailbox could not be looked up", &error)),
        }
    }
}

/// RFC 9051 section 7.1: it could be made.
pub(super) fn try_create() -> Status {
    Status::refusal(Code::TryCreate, "There is no such mailbox; make it first")
}
