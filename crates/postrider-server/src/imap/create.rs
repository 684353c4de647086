//! CREATE (RFC 9051 section 6.3.4), with special uses (RFC 6154 section 3).

use postrider_core::mailbox::SpecialUse;
use postrider_store::{NewMailbox, StoreError};
use postrider_wire::imap::command::Create;
use postrider_wire::imap::response::{Code, Status};

use super::names::new_name;
use super::session::{End, Session};

impl Session {
    /// Levels above the new mailbox are not made: they are there because it is.
    pub(super) async fn create(&mut self, create: Create) -> Result<Status, End> {
        let name = match new_name(&create.mailbox) {
            Ok(name) => name,
            Err(status) => return Ok(status),
        };
        // A mailbox is for one use at most.
        let special_use = match create.special_use.as_slice() {
            [] => None,
            [one] => match one.as_str().trim_start_matches('\\').parse::<SpecialUse>() {
                Ok(special_use) => Some(special_use),
                Err(_) => return Ok(Status::refusal(Code::UseAttr, "No mailbox here can be for that")),
            },
            [_, ..] => return Ok(Status::refusal(Code::UseAttr, "A mailbox is for one use at most")),
        };
        let Some(user) = self.user_id() else { return Ok(Status::UNAVAILABLE) };
        let new = NewMailbox { user, name: name.clone(), special_use, now: self.now() };
        let made = match self.store().create_mailbox(new).await {
            Err(StoreError::Exists(_)) if special_use.is_some() => match self.store().mailbox(user, &name).await {
                Ok(None) => return Ok(Status::refusal(Code::UseAttr, "Another mailbox is for that")),
                Ok(Some(_)) => Err(StoreError::Exists(String::new())),
                Err(error) => Err(error),
            },
            made => made,
        };
        Ok(match made {
            Ok(made) => {
                self.tell_normalized(&create.mailbox, &name);
                self.know_names(|names| names.created(made.clone()));
                // RFC 8474 section 4.1.
                Status::ok("Created").with_code(Code::MailboxId(made.id.to_string()))
            }
            Err(StoreError::Exists(_)) => Status::refusal(Code::AlreadyExists, "There is such a mailbox"),
            Err(StoreError::Limit(_)) => Status::refusal(Code::Limit, "No more mailboxes can be made"),
            Err(error) => self.store_failed("a mailbox could not be made", &error),
        })
    }
}
