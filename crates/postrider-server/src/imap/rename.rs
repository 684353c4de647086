//! RENAME (RFC 9051 section 6.3.6).

use postrider_store::{RenameMailbox, StoreError};
use postrider_wire::imap::response::{Code, Status};

use super::names::{known_name, new_name};
use super::session::{End, Session};

impl Session {
    /// Those below move with it; a name that is only a level can be renamed, too. INBOX stays, and its messages move.
    pub(super) async fn rename(&mut self, from: &str, to: &str) -> Result<Status, End> {
        let (old, new) = match (known_name(from), new_name(to)) {
            (Ok(old), Ok(new)) => (old, new),
            (Err(status), _) | (_, Err(status)) => return Ok(status),
        };
        if new.is_below(&old) && !old.is_inbox() {
            return Ok(Status::refusal(Code::Cannot, "A mailbox cannot be below itself"));
        }
        let Some(user) = self.user_id() else { return Ok(Status::UNAVAILABLE) };
        // Where what moves is only a level, nothing of it would stand in the way of a mailbox that has the new name.
        match self.store().mailbox(user, &new).await {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(Status::refusal(Code::AlreadyExists, "There is such a mailbox")),
            Err(error) => return Ok(self.store_failed("a mailbox could not be looked up", &error)),
        }
        let rename = RenameMailbox { user, from: old.clone(), to: new.clone(), now: self.now() };
        let renamed = self.store().rename_mailbox(rename).await;
        if let (Ok(()), Some(selected)) = (&renamed, &self.selected) {
            selected.shared.changed_here().await;
        }
        Ok(match renamed {
            Ok(()) => {
                self.tell_normalized(to, &new);
                if !old.is_inbox() {
                    self.know_names(|names| names.renamed(&old, &new));
                }
                Status::ok("Renamed")
            }
            Err(StoreError::Exists(_)) => Status::refusal(Code::AlreadyExists, "There is such a mailbox"),
            Err(StoreError::Limit(_)) => Status::refusal(Code::Cannot, "A name would be too long"),
            Err(error) => self.store_failed("a mailbox could not be renamed", &error),
        })
    }
}
