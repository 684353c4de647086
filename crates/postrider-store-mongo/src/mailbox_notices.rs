//! What the notices say of mailboxes: which mailbox, which user. Many changes become one notice, and more than a few that
//! something happened somewhere.

use std::collections::HashSet;
use std::sync::Mutex;

use mongodb::bson::{Bson, Document, doc};
use postrider_store::MailboxChange;
use tokio::sync::broadcast;

use crate::codes::{id, oid};
use crate::engine::lock;

/// Changes that one notice names. Where there are more, all others look everywhere.
const CHANGES_MAX: usize = 200;

/// Changes that a receiver may be behind.
const WAITING_MAX: usize = 1_024;

/// Changes in mailboxes, told and heard.
#[derive(Debug)]
pub(crate) struct MailboxNotices {
    untold: Mutex<HashSet<MailboxChange>>,
    heard: broadcast::Sender<MailboxChange>,
}

impl Default for MailboxNotices {
    fn default() -> Self {
        Self { untold: Mutex::default(), heard: broadcast::Sender::new(WAITING_MAX) }
    }
}

impl MailboxNotices {
    pub(crate) fn hear(&self) -> broadcast::Receiver<MailboxChange> {
        self.heard.subscribe()
    }

    /// Tells this process at once. Returns whether there is something for others.
    pub(crate) fn tell(&self, changes: impl IntoIterator<Item = MailboxChange>) -> bool {
        let mut untold = lock(&self.untold);
        for change in changes {
            let _ = self.heard.send(change);
            if untold.len() <= CHANGES_MAX {
                untold.insert(change);
            }
        }
        !untold.is_empty()
    }

    /// What others are to be told: at most one notice.
    pub(crate) fn take(&self) -> Option<Document> {
        let untold = std::mem::take(&mut *lock(&self.untold));
        if untold.is_empty() {
            return None;
        }
        if untold.len() > CHANGES_MAX {
            return Some(doc! { "change": "anything" });
        }
        let changed: Vec<Document> = untold.into_iter().map(document).collect();
        Some(doc! { "change": "mailboxes", "mailboxes": changed })
    }

    /// Hears what a notice says of mailboxes, if it says anything of them.
    pub(crate) fn note(&self, notice: &Document) {
        match notice.get_str("change") {
            Ok("anything") => self.look_everywhere(),
            Ok("mailboxes") => {
                let changed = notice.get_array("mailboxes").map(Vec::as_slice).unwrap_or_default();
                changed.iter().filter_map(change).for_each(|change| drop(self.heard.send(change)));
            }
            _ => {}
        }
    }

    pub(crate) fn look_everywhere(&self) {
        let _ = self.heard.send(MailboxChange::Anything);
    }
}

fn document(change: MailboxChange) -> Document {
    match change {
        MailboxChange::Messages { user, mailbox } => doc! { "user": oid(user), "mailbox": oid(mailbox) },
        MailboxChange::Mailboxes { user } => doc! { "user": oid(user) },
        MailboxChange::Anything => doc! {},
    }
}

fn change(document: &Bson) -> Option<MailboxChange> {
    let document = document.as_document()?;
    let get = |name| document.get_object_id(name).ok().map(id);
    Some(match (get("user"), get("mailbox")) {
        (Some(user), Some(mailbox)) => MailboxChange::Messages { user, mailbox },
        (Some(user), None) => MailboxChange::Mailboxes { user },
        (None, _) => MailboxChange::Anything,
    })
}

#[cfg(test)]
mod tests {
    use postrider_core::{ObjectId, Timestamp};

    use super::*;

    fn told(notices: &MailboxNotices) -> Vec<MailboxChange> {
        let other = MailboxNotices::default();
        let mut heard = other.hear();
        other.note(&notices.take().unwrap());
        std::iter::from_fn(|| heard.try_recv().ok()).collect()
    }

    #[test]
    fn many_changes_are_one_notice_and_too_many_anything() {
        let notices = MailboxNotices::default();
        let new = || ObjectId::new(Timestamp::from_millis(1_800_000_000_000));
        let (user, mailbox) = (new(), new());
        let messages = MailboxChange::Messages { user, mailbox };
        assert!(notices.tell([messages, MailboxChange::Mailboxes { user }, messages]));
        let heard: HashSet<_> = told(&notices).into_iter().collect();
        assert_eq!(heard, HashSet::from([messages, MailboxChange::Mailboxes { user }]));
        assert_eq!(notices.take(), None);
        notices.tell((0..=CHANGES_MAX).map(|_| MailboxChange::Mailboxes { user: new() }));
        assert_eq!(told(&notices), [MailboxChange::Anything]);
    }
}
