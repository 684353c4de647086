//! Mailboxes as one would write them without a database: what the engines are compared with.

use std::collections::{BTreeMap, BTreeSet};

use postrider_core::mailbox::{Flags, MailboxName, NamedFlags, UidSet};
use postrider_core::{ObjectId, Timestamp};

use crate::records::*;

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) mailboxes: BTreeMap<MailboxId, ModelMailbox>,
    pub(super) emails: BTreeMap<ObjectId, ModelEmail>,
}

#[derive(Debug)]
pub(super) struct ModelMailbox {
    pub(super) user: UserId,
    pub(super) name: MailboxName,
    pub(super) uid_next: u32,
    pub(super) entries: BTreeMap<u32, ModelEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelEntry {
    pub(super) flags: Flags,
    /// In lower case.
    pub(super) keywords: BTreeSet<String>,
    pub(super) email: ObjectId,
    pub(super) size: u32,
    pub(super) internal_date: Timestamp,
    pub(super) saved_at: Timestamp,
    /// As the engine gave it: the model knows only when it must be another.
    pub(super) modseq: Modseq,
}

#[derive(Debug)]
pub(super) struct ModelEmail {
    pub(super) is_listed: bool,
    pub(super) stays_on_record: bool,
}

fn keywords(named: &NamedFlags) -> BTreeSet<String> {
    named.keywords.iter().map(|keyword| keyword.as_str().to_ascii_lowercase()).collect()
}

impl ModelEntry {
    pub(super) fn of(entry: &Entry, record: &MailboxRecord) -> Self {
        let Entry { uid: _, modseq, flags, email, size, internal_date, saved_at } = *entry;
        let named = NamedFlags::of(flags, &record.keywords);
        Self { flags: named.system, keywords: keywords(&named), email, size, internal_date, saved_at, modseq }
    }

    fn change(&self, operation: FlagsOperation, named: &NamedFlags) -> Self {
        let flags = operation.apply(self.flags, named.system);
        let other = keywords(named);
        let keywords = match operation {
            FlagsOperation::Replace => other,
            FlagsOperation::Add => self.keywords.union(&other).cloned().collect(),
            FlagsOperation::Remove => self.keywords.difference(&other).cloned().collect(),
        };
        Self { flags, keywords, ..self.clone() }
    }
}

impl Model {
    pub(super) fn create(&mut self, record: &MailboxRecord) {
        let (user, name) = (record.user, record.name.clone());
        let mailbox = ModelMailbox { user, name, uid_next: 1, entries: BTreeMap::new() };
        self.mailboxes.insert(record.id, mailbox);
    }

    pub(super) fn inbox(&self, user: UserId) -> MailboxId {
        let is_inbox = |mailbox: &ModelMailbox| mailbox.user == user && mailbox.name.is_inbox();
        *self.mailboxes.iter().find(|(_, mailbox)| is_inbox(mailbox)).expect("each user has INBOX").0
    }

    pub(super) fn accept(&mut self, new: &NewEmail) {
        let Some(filed) = &new.filed else { return };
        self.emails.insert(new.id, ModelEmail { is_listed: true, stays_on_record: filed.stays_on_record });
        for filing in &filed.filings {
            let entry = ModelEntry {
                flags: Flags::NONE,
                keywords: BTreeSet::new(),
                email: new.id,
                size: new.message.raw.len() as u32,
                internal_date: new.created_at,
                saved_at: new.created_at,
                modseq: 0,
            };
            self.add(self.inbox(filing.user), entry);
        }
        self.forget_emails();
    }

    pub(super) fn append(&mut self, append: &Append) -> Vec<u32> {
        let mut uids = Vec::new();
        for message in &append.messages {
            self.emails.insert(message.id, ModelEmail { is_listed: false, stays_on_record: false });
            let entry = ModelEntry {
                flags: message.flags.system,
                keywords: keywords(&message.flags),
                email: message.id,
                size: message.message.raw.len() as u32,
                internal_date: message.internal_date,
                saved_at: append.now,
                modseq: 0,
            };
            uids.push(self.add(append.mailbox, entry));
        }
        if let Some((mailbox, uid)) = append.replaces {
            self.remove(mailbox, &UidSet::range(uid, uid));
        }
        self.forget_emails();
        uids
    }

    pub(super) fn copy(&mut self, copy: &CopyMessages) -> Vec<(u32, u32)> {
        let entries = self.mailboxes[&copy.from].entries.iter().filter(|(uid, _)| copy.uids.contains(**uid));
        let entries: Vec<(u32, ModelEntry)> = entries.map(|(uid, entry)| (*uid, entry.clone())).collect();
        let mut uids = Vec::new();
        for (uid, entry) in entries {
            uids.push((uid, self.add(copy.to, ModelEntry { saved_at: copy.now, modseq: 0, ..entry })));
        }
        if copy.moves {
            self.remove(copy.from, &uids.iter().map(|(uid, _)| *uid).collect());
        }
        uids
    }

    /// The UIDs that are changed, and those that conflict.
    pub(super) fn store_flags(&mut self, store: &StoreFlags) -> (UidSet, UidSet) {
        let (mut changed, mut conflicted) = (UidSet::new(), UidSet::new());
        let mailbox = self.mailboxes.get_mut(&store.mailbox).expect("it is there");
        for (uid, entry) in mailbox.entries.iter_mut().filter(|(uid, _)| store.uids.contains(**uid)) {
            if store.unchanged_since.is_some_and(|since| entry.modseq > since) {
                conflicted.push(*uid);
                continue;
            }
            let new = entry.change(store.operation, &store.flags);
            if new != *entry {
                *entry = ModelEntry { modseq: 0, ..new };
                changed.push(*uid);
            }
        }
        (changed, conflicted)
    }

    pub(super) fn expunge(&mut self, mailbox: MailboxId, uids: Option<&UidSet>) -> UidSet {
        let entries = self.mailboxes[&mailbox].entries.iter();
        let marked = entries.filter(|(uid, entry)| {
            entry.flags.contains(Flags::DELETED) && uids.is_none_or(|uids| uids.contains(**uid))
        });
        let expunged: UidSet = marked.map(|(uid, _)| *uid).collect();
        self.remove(mailbox, &expunged);
        self.forget_emails();
        expunged
    }

    pub(super) fn delete_email(&mut self, id: ObjectId) -> bool {
        let Some(email) = self.emails.get_mut(&id).filter(|email| email.is_listed) else { return false };
        (email.is_listed, email.stays_on_record) = (false, false);
        self.forget_emails();
        true
    }

    pub(super) fn delete_mailbox(&mut self, id: MailboxId) {
        self.mailboxes.remove(&id);
        self.forget_emails();
    }

    /// What nothing keeps is gone.
    pub(super) fn forget_emails(&mut self) {
        let entries = self.mailboxes.values().flat_map(|mailbox| mailbox.entries.values());
        let referred: BTreeSet<ObjectId> = entries.map(|entry| entry.email).collect();
        self.emails.retain(|id, email| email.stays_on_record || referred.contains(id));
    }

    fn add(&mut self, mailbox: MailboxId, entry: ModelEntry) -> u32 {
        let mailbox = self.mailboxes.get_mut(&mailbox).expect("it is there");
        let uid = mailbox.uid_next;
        mailbox.uid_next += 1;
        mailbox.entries.insert(uid, entry);
        uid
    }

    fn remove(&mut self, mailbox: MailboxId, uids: &UidSet) {
        if let Some(mailbox) = self.mailboxes.get_mut(&mailbox) {
            mailbox.entries.retain(|uid, _| !uids.contains(*uid));
        }
    }
}
