//! SUBSCRIBE and UNSUBSCRIBE (RFC 9051 sections 6.3.7 and 6.3.8).

use postrider_store::StoreError;
use postrider_wire::imap::response::{Code, Status};

use super::names::new_name;
use super::session::{End, Session};

impl Session {
    /// A name need not be a mailbox's: subscriptions outlive mailboxes, and come before them on another client.
    pub(super) async fn subscribe(&mut self, mailbox: &str, is_subscribed: bool) -> Result<Status, End> {
        let name = match new_name(mailbox) {
            Ok(name) => name,
            Err(status) => return Ok(status),
        };
        let Some(user) = self.user_id() else { return Ok(Status::UNAVAILABLE) };
        let subscribed = self.store().subscribe(user, &name, is_subscribed).await;
        if subscribed.is_ok() {
            self.know_names(|names| names.subscribed(&name, is_subscribed));
        }
        Ok(match subscribed {
            Ok(()) if is_subscribed => Status::ok("Subscribed"),
            Ok(()) => Status::ok("Unsubscribed"),
            Err(StoreError::Limit(_)) => Status::refusal(Code::Limit, "Too many subscriptions"),
            Err(error) => self.store_failed("a subscription could not be changed", &error),
        })
    }
}
