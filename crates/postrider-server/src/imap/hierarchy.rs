//! The names of a user's mailboxes and subscriptions together, and how one of them is shown.

use bytes::BytesMut;
use postrider_core::mailbox::{MailboxName, SpecialUse};
use postrider_store::{MailboxId, MailboxRecord, StoreError};
use postrider_wire::imap::response::{self, Dialect, ListLine};

use super::names::{by_level, is_below};
use super::session::Session;

/// The names of a user, in the order of [`by_level`].
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) mailboxes: Vec<MailboxRecord>,
    /// Only where they matter.
    pub(super) subscriptions: Vec<MailboxName>,
}

/// Which attributes of names are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shows {
    pub(super) children: bool,
    pub(super) special_use: bool,
    pub(super) subscribed: bool,
    /// The client knows `\NonExistent` (RFC 5258 section 3).
    pub(super) nonexistent: bool,
}

impl Shows {
    pub(super) const ALL: Self = Self { children: true, special_use: true, subscribed: true, nonexistent: true };
}

/// A name to be shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'n> {
    pub(super) name: &'n str,
    /// Something below it is subscribed, and that is asked for.
    pub(super) child_info: bool,
    pub(super) old_name: Option<&'n str>,
}

impl Names {
    /// One LIST response.
    pub(super) fn write(&self, out: &mut BytesMut, listed: Listed<'_>, shows: Shows, dialect: Dialect) {
        let Listed { name, child_info, old_name } = listed;
        let mailbox = self.mailbox(name);
        let special_use = mailbox.and_then(|mailbox| mailbox.special_use).filter(|_| shows.special_use);
        let mut attributes = Vec::with_capacity(4);
        if mailbox.is_none() {
            attributes.push(if shows.nonexistent { "\\NonExistent" } else { "\\Noselect" });
        }
        if shows.children {
            attributes.push(if self.has_children(name) { "\\HasChildren" } else { "\\HasNoChildren" });
        }
        if shows.subscribed && self.is_subscribed(name) {
            attributes.push("\\Subscribed");
        }
        attributes.extend(special_use.map(attribute));
        let line = ListLine {
            attributes: &attributes,
            name,
            delimiter: Some(MailboxName::SEPARATOR),
            child_info_subscribed: child_info,
            old_name,
        };
        response::list(out, &line, dialect);
    }

    pub(super) fn mailbox(&self, name: &str) -> Option<&MailboxRecord> {
        let found = self.mailboxes.binary_search_by(|mailbox| by_level(mailbox.name.as_str(), name)).ok()?;
        self.mailboxes.get(found)
    }

    pub(super) fn is_subscribed(&self, name: &str) -> bool {
        self.subscription(name).is_ok()
    }

    fn subscription(&self, name: &str) -> Result<usize, usize> {
        self.subscriptions.binary_search_by(|known| by_level(known.as_str(), name))
    }

    fn has_children(&self, name: &str) -> bool {
        let next = self.mailboxes.partition_point(|mailbox| by_level(mailbox.name.as_str(), name).is_le());
        self.mailboxes.get(next).is_some_and(|mailbox| is_below(mailbox.name.as_str(), name))
    }

    /// Takes note of what was made.
    pub(super) fn created(&mut self, record: MailboxRecord) {
        self.mailboxes.push(record);
        self.sort();
    }

    pub(super) fn deleted(&mut self, mailbox: MailboxId) {
        self.mailboxes.retain(|known| known.id != mailbox);
    }

    /// Takes note of a new name, of all below it, too.
    pub(super) fn renamed(&mut self, from: &MailboxName, to: &MailboxName) {
        for mailbox in &mut self.mailboxes {
            if (mailbox.name == *from || mailbox.name.is_below(from))
                && let Ok(name) = mailbox.name.moved(from, to)
            {
                mailbox.name = name;
            }
        }
        self.sort();
    }

    pub(super) fn subscribed(&mut self, name: &MailboxName, is_subscribed: bool) {
        match (self.subscription(name.as_str()), is_subscribed) {
            (Ok(found), false) => drop(self.subscriptions.remove(found)),
            (Err(place), true) => self.subscriptions.insert(place, name.clone()),
            _ => {}
        }
    }

    fn sort(&mut self) {
        self.mailboxes.sort_by(|one, two| by_level(one.name.as_str(), two.name.as_str()));
    }
}

impl Session {
    pub(super) async fn names(&self, with_subscriptions: bool) -> Result<Names, StoreError> {
        let Some(user) = self.user_id() else { return Ok(Names::default()) };
        let mailboxes = self.store().mailboxes(user).await?;
        let mut subscriptions = match with_subscriptions {
            true => self.store().subscriptions(user).await?,
            false => Vec::new(),
        };
        subscriptions.sort_by(|one, two| by_level(one.as_str(), two.as_str()));
        let mut names = Names { mailboxes, subscriptions };
        names.sort();
        Ok(names)
    }
}

/// A special use as an attribute.
pub(super) const fn attribute(special_use: SpecialUse) -> &'static str {
    match special_use {
        SpecialUse::Archive => "\\Archive",
        SpecialUse::Drafts => "\\Drafts",
        SpecialUse::Junk => "\\Junk",
        SpecialUse::Sent => "\\Sent",
        SpecialUse::Trash => "\\Trash",
    }
}
