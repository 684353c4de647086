//! DELETE (RFC 9051 section 6.3.5).

use postrider_core::mailbox::MailboxName;
use postrider_store::{StoreError, UserId};
use postrider_wire::imap::response::{Code, Status};

use super::names::known_name;
use super::select::no_such_mailbox;
use super::session::{End, Session};

impl Session {
    /// Mailboxes below it stay, and with them its name, as a level.
    pub(super) async fn delete(&mut self, mailbox: &str) -> Result<Status, End> {
        let name = match known_name(mailbox) {
            Ok(name) if name.is_inbox() => return Ok(Status::refusal(Code::Cannot, "INBOX stays")),
            Ok(name) => name,
            Err(status) => return Ok(status),
        };
        let Some(user) = self.user_id() else { return Ok(Status::UNAVAILABLE) };
        let deleted = match self.delete_named(user, &name).await {
            Ok(deleted) => deleted,
            Err(error) => return Ok(self.store_failed("a mailbox could not be deleted", &error)),
        };
        Ok(match deleted {
            Deleted::Gone => {
                self.tell_normalized(mailbox, &name);
                Status::ok("Deleted")
            }
            Deleted::IsLevel => Status::refusal(Code::HasChildren, "It is no mailbox, but there are some below it"),
            Deleted::NotThere => no_such_mailbox(),
        })
    }

    async fn delete_named(&mut self, user: UserId, name: &MailboxName) -> Result<Deleted, StoreError> {
        let Some(record) = self.store().mailbox(user, name).await? else {
            let all = self.store().mailboxes(user).await?;
            let is_level = all.iter().any(|mailbox| mailbox.name.is_below(name));
            return Ok(if is_level { Deleted::IsLevel } else { Deleted::NotThere });
        };
        if !self.store().delete_mailbox(record.id).await? {
            return Ok(Deleted::NotThere);
        }
        // Who deletes what is selected has it selected no more. Other sessions that have it are told BYE (RFC 2180 section
        // 3.3): there is nothing that their sequence numbers could mean.
        self.know_names(|names| names.deleted(record.id));
        if self.has_selected(record.id) {
            self.unselect().await;
            self.tell_closed();
        }
        Ok(Deleted::Gone)
    }
}

enum Deleted {
    Gone,
    /// A name above mailboxes that is none itself.
    IsLevel,
    NotThere,
}
