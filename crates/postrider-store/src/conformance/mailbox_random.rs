//! Many commands on mailboxes in an order that nobody thought of: one after the other beside a model, and from many tasks
//! at once on two stores, watched from the side.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postrider_core::ObjectId;
use postrider_core::mailbox::{Flags, UidSet};

use super::Harness;
use super::fixtures::*;
use super::mailbox_model::{Model, ModelEntry};
use crate::records::*;
use crate::traits::Store;

const OPERATIONS: i64 = 600;
const FLAGS: &[&str] = &["\\Seen", "\\Deleted", "\\Deleted", "\\Flagged", "work", "WORK", "$Forwarded", "later"];

struct Run {
    store: Arc<dyn Store>,
    users: [UserId; 2],
    model: Model,
    numbers: Numbers,
    /// What was known of mailboxes at some time.
    known: BTreeMap<MailboxId, Vec<OpenMailbox>>,
    /// E-mails that were there.
    emails: HashSet<ObjectId>,
}

pub(super) async fn random_commands_agree_with_a_model_mailbox(harness: &dyn Harness) {
    let store = harness.open().await;
    let users = [add_user(&store, "ann@example.org").await, add_user(&store, "bob@example.org").await];
    let mut model = Model::default();
    for user in users {
        store.mailboxes(user).await.unwrap().iter().for_each(|record| model.create(record));
    }
    let numbers = Numbers(11);
    let mut run = Run { store, users, model, numbers, known: BTreeMap::new(), emails: HashSet::new() };
    for step in 0..OPERATIONS {
        run.step(step).await;
        run.compare().await;
        if step % 50 == 49 {
            run.compare_emails().await;
        }
    }
    run.compare_emails().await;
    assert!(run.emails.len() > run.model.emails.len() + 20, "too few e-mails went: choose other numbers");
}

impl Run {
    async fn step(&mut self, now: i64) {
        match self.numbers.below(40) {
            0..=7 => self.accept(now).await,
            8..=13 => self.append(now).await,
            14..=20 => self.copy(now).await,
            21..=30 => self.store_flags().await,
            31..=35 => self.expunge().await,
            36 => self.delete_email().await,
            37 => self.rename(now).await,
            38 => self.create(now).await,
            _ => self.delete_mailbox().await,
        }
    }

    fn mailbox(&mut self) -> MailboxId {
        let ids: Vec<_> = self.model.mailboxes.keys().copied().collect();
        self.numbers.pick(&ids)
    }

    /// Another or the same one of the same user.
    fn sibling(&mut self, of: MailboxId) -> MailboxId {
        let user = self.model.mailboxes[&of].user;
        let siblings = self.model.mailboxes.iter().filter(|(_, mailbox)| mailbox.user == user);
        let ids: Vec<_> = siblings.map(|(id, _)| *id).collect();
        self.numbers.pick(&ids)
    }

    fn uids(&mut self, mailbox: MailboxId) -> UidSet {
        let next = self.model.mailboxes[&mailbox].uid_next as usize;
        let ranges = self.numbers.below(4);
        let ranges = (0..ranges).map(|_| {
            let first = 1 + self.numbers.below(next + 2) as u32;
            (first, first + self.numbers.below(next / 2 + 2) as u32)
        });
        UidSet::from_ranges(ranges.collect::<Vec<_>>())
    }

    fn flags(&mut self) -> Vec<&'static str> {
        (0..self.numbers.below(3)).map(|_| self.numbers.pick(FLAGS)).collect()
    }

    async fn accept(&mut self, now: i64) {
        let users: Vec<_> = self.users.into_iter().filter(|_| self.numbers.below(3) > 0).collect();
        let mut new = filed_email(now, &users);
        new.filed.as_mut().unwrap().stays_on_record = users.is_empty() || self.numbers.below(4) == 0;
        self.emails.insert(new.id);
        self.model.accept(&new);
        assert_eq!(self.store.accept(new).await, Ok(Accepted::default()));
    }

    async fn append(&mut self, now: i64) {
        let mailbox = self.mailbox();
        let messages = (0..self.numbers.below(3)).map(|n| {
            let flags = self.flags();
            append_message(now, &format!("{now} {n}"), &flags)
        });
        let messages = messages.collect::<Vec<_>>();
        let sibling = self.sibling(mailbox);
        let replaces = (!messages.is_empty() && self.numbers.below(4) == 0)
            .then(|| (sibling, 1 + self.numbers.below(self.model.mailboxes[&sibling].uid_next as usize) as u32));
        self.emails.extend(messages.iter().map(|message| message.id));
        // Not one that comes with it.
        let replaces = replaces.filter(|(sibling, uid)| *uid < self.model.mailboxes[sibling].uid_next);
        let append = Append { mailbox, messages, replaces, now: at(now) };
        let expected = self.model.append(&append);
        assert_eq!(self.store.append(append).await.unwrap().uids, expected);
    }

    async fn copy(&mut self, now: i64) {
        let from = self.mailbox();
        let (to, uids) = (self.sibling(from), self.uids(from));
        let copy = CopyMessages { from, uids, to, moves: self.numbers.below(2) == 0, now: at(now) };
        // Mailboxes do not grow without end.
        if !copy.moves && self.model.mailboxes[&from].entries.len() > 150 {
            return;
        }
        let expected = self.model.copy(&copy);
        assert_eq!(self.store.copy_messages(copy).await.unwrap().uids, expected);
    }

    async fn store_flags(&mut self) {
        let mailbox = self.mailbox();
        let operation = self.numbers.pick(&[
            FlagsOperation::Add,
            FlagsOperation::Add,
            FlagsOperation::Remove,
            FlagsOperation::Replace,
        ]);
        let highest =
            self.known.get(&mailbox).and_then(|known| known.last()).map_or(1, |known| known.record.highest_modseq);
        let since = (self.numbers.below(3) == 0).then(|| self.numbers.below(highest as usize + 1) as u64);
        let (uids, flags) = (self.uids(mailbox), self.flags());
        let store = StoreFlags { mailbox, uids, operation, flags: named(&flags), unchanged_since: since };
        let expected = self.model.store_flags(&store);
        let stored = self.store.store_flags(store).await.unwrap();
        assert_eq!((&stored.changed, &stored.conflicted), (&expected.0, &expected.1));
        assert_eq!(stored.modseq > stored.modseq_before, !stored.changed.is_empty());
    }

    async fn expunge(&mut self) {
        let mailbox = self.mailbox();
        let uids = (self.numbers.below(3) > 0).then(|| self.uids(mailbox));
        let expected = self.model.expunge(mailbox, uids.as_ref());
        assert_eq!(self.store.expunge(mailbox, uids).await.unwrap().uids, expected);
    }

    async fn delete_email(&mut self) {
        let ids: Vec<_> = self.model.emails.keys().copied().collect();
        if let Some(&id) = ids.get(self.numbers.below(ids.len() + 1)) {
            let expected = self.model.delete_email(id);
            assert_eq!(self.store.delete(id).await, Ok(expected));
        }
    }

    async fn create(&mut self, now: i64) {
        let user = self.numbers.pick(&self.users);
        let new = NewMailbox { user, name: name(&format!("made at/{now}")), special_use: None, now: at(now) };
        let record = self.store.create_mailbox(new).await.unwrap();
        self.model.create(&record);
    }

    async fn rename(&mut self, now: i64) {
        let id = self.mailbox();
        let (user, from) = (self.model.mailboxes[&id].user, self.model.mailboxes[&id].name.clone());
        let to = name(&format!("renamed at {now}"));
        self.store
            .rename_mailbox(RenameMailbox { user, from: from.clone(), to: to.clone(), now: at(now) })
            .await
            .unwrap();
        if from.is_inbox() {
            let new = self.store.mailbox(user, &to).await.unwrap().unwrap();
            self.model.create(&new);
            let copy = CopyMessages { from: id, uids: set(&[(1, u32::MAX)]), to: new.id, moves: true, now: at(now) };
            self.model.copy(&copy);
        } else if let Some(mailbox) = self.model.mailboxes.get_mut(&id) {
            mailbox.name = to;
        }
    }

    async fn delete_mailbox(&mut self) {
        let id = self.mailbox();
        if !self.model.mailboxes[&id].name.is_inbox() {
            self.model.delete_mailbox(id);
            self.known.remove(&id);
            assert_eq!(self.store.delete_mailbox(id).await, Ok(true));
            assert_eq!(self.store.open_mailbox(id).await, Ok(None));
        }
    }

    /// Each mailbox is what the model says, and what one who knew it earlier makes of what happened since.
    async fn compare(&mut self) {
        let ids: Vec<_> = self.model.mailboxes.keys().copied().collect();
        for id in ids {
            let now = open(&self.store, id).await;
            let model = self.model.mailboxes.get_mut(&id).unwrap();
            assert_eq!((&now.record.name, now.record.uid_next), (&model.name, model.uid_next));
            let known = self.known.entry(id).or_default();
            let last = known.last().map_or(0, |last| last.record.highest_modseq);
            assert_eq!(now.entries.len(), model.entries.len());
            for (entry, (uid, expected)) in now.entries.iter().zip(&mut model.entries) {
                if expected.modseq == 0 {
                    assert!(entry.modseq > last, "what changed has a modseq that nobody knows");
                    expected.modseq = entry.modseq;
                }
                assert_eq!((entry.uid, &ModelEntry::of(entry, &now.record)), (*uid, &*expected));
            }
            if known.last() == Some(&now) {
                continue;
            }
            if let Some(last) = known.last() {
                let is_named_only = last.entries == now.entries && last.record.uid_next == now.record.uid_next;
                assert!(is_named_only || last.record.highest_modseq < now.record.highest_modseq);
                assert!(now.record.keywords.starts_with(&last.record.keywords), "keywords only grow");
            }
            for old in known.iter() {
                let delta = delta(&self.store, id, old.record.highest_modseq).await;
                assert!(delta.is_complete);
                assert_eq!(applied(old, &delta), now);
            }
            // A few of them, old and new.
            if known.len() >= 4 {
                known.remove(self.numbers.below(3));
            }
            known.push(now);
        }
    }

    async fn compare_emails(&mut self) {
        for &id in &self.emails {
            // One that nobody got has no digest.
            let is_there = self.store.messages(&[id]).await.unwrap() != [None];
            assert_eq!(is_there, self.model.emails.contains_key(&id), "{id}");
        }
        let listed_emails = self.model.emails.iter().rev().filter(|(_, email)| email.is_listed);
        let expected: Vec<_> = listed_emails.map(|(id, _)| *id).collect();
        assert_eq!(listed(&self.store, EmailFilter::default()).await, expected);
        assert_eq!(self.store.queue_stats(at(9_999)).await.unwrap().total, expected.len() as u64);
        for user in self.users {
            let entries = self.model.mailboxes.values().filter(|mailbox| mailbox.user == user);
            let entries: Vec<_> = entries.flat_map(|mailbox| mailbox.entries.values()).collect();
            let bytes = entries.iter().map(|entry| u64::from(entry.size)).sum();
            assert_eq!(self.store.usage(user).await.unwrap(), Usage { bytes, messages: entries.len() as u64 });
        }
    }
}

const TASKS: u64 = 8;
const TASK_OPERATIONS: usize = 60;

pub(super) async fn commands_at_once_keep_mailboxes_in_order(harness: &dyn Harness) {
    let (store, beside) = (harness.open().await, harness.open_beside().await);
    let users = [add_user(&store, "ann@example.org").await, add_user(&store, "bob@example.org").await];
    let mut mailboxes = Vec::new();
    for user in users {
        for text in ["INBOX", "Archive", "Trash"] {
            mailboxes.push((user, mailbox(&store, user, text).await.id));
        }
    }
    let is_done = Arc::new(AtomicBool::new(false));
    let watchers: Vec<_> = [&store, &beside, &store]
        .into_iter()
        .map(|store| tokio::spawn(watch(store.clone(), mailboxes.clone(), is_done.clone())))
        .collect();
    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { beside.clone() };
            tokio::spawn(Task { store, mailboxes: mailboxes.clone(), numbers: Numbers(n), given: Vec::new() }.run())
        })
        .collect();
    let (mut given, mut emails) = (HashSet::new(), HashSet::new());
    for task in tasks {
        let (uids, of_task) = task.await.unwrap();
        emails.extend(of_task);
        for uid in uids {
            assert!(given.insert(uid), "{uid:?} was given twice");
        }
    }
    is_done.store(true, Ordering::Relaxed);
    for watcher in watchers {
        watcher.await.unwrap();
    }
    let mut referred = HashSet::new();
    for &(_, id) in &mailboxes {
        let opened = open(&beside, id).await;
        assert_eq!(opened, open(&store, id).await);
        referred.extend(opened.entries.iter().map(|entry| entry.email));
    }
    for id in emails {
        assert_eq!(is_kept(&store, id).await, referred.contains(&id), "{id}");
    }
    beside.close().await.unwrap();
}

/// One that watches a mailbox by what changes: what it knows is always what the mailbox is.
async fn watch(store: Arc<dyn Store>, mailboxes: Vec<(UserId, MailboxId)>, is_done: Arc<AtomicBool>) {
    let mut known = Vec::new();
    for (_, id) in mailboxes {
        known.push(open(&store, id).await);
    }
    let mut is_last = false;
    while !is_last {
        is_last = is_done.load(Ordering::Relaxed);
        for old in &mut known {
            let id = old.record.id;
            let since = old.record.highest_modseq;
            let delta = delta(&store, id, since).await;
            assert!(delta.is_complete && delta.record.highest_modseq >= since);
            assert!(delta.record.uid_next >= old.record.uid_next);
            for entry in &delta.changed {
                assert!(entry.modseq > since);
                let is_known = old.entries.binary_search_by_key(&entry.uid, |entry| entry.uid).is_ok();
                assert!(is_known || entry.uid >= old.record.uid_next, "UID {} came out of order", entry.uid);
            }
            *old = applied(old, &delta);
            let opened = open(&store, id).await;
            if opened.record.highest_modseq == old.record.highest_modseq {
                assert_eq!(opened.entries, old.entries);
            }
        }
        tokio::task::yield_now().await;
    }
}

struct Task {
    store: Arc<dyn Store>,
    mailboxes: Vec<(UserId, MailboxId)>,
    numbers: Numbers,
    given: Vec<(MailboxId, u32)>,
}

impl Task {
    /// Returns the UIDs that it was given, and the e-mails that it made.
    async fn run(mut self) -> (Vec<(MailboxId, u32)>, Vec<ObjectId>) {
        let mut emails = Vec::new();
        for n in 0..TASK_OPERATIONS {
            let (user, id) = self.numbers.pick(&self.mailboxes);
            let siblings: Vec<_> = self.mailboxes.iter().filter(|(other, _)| *other == user).copied().collect();
            let (_, to) = self.numbers.pick(&siblings);
            let first = 1 + self.numbers.below(40) as u32;
            let uids = set(&[(first, first + self.numbers.below(40) as u32)]);
            match self.numbers.below(10) {
                0..=2 => emails.push(accept(&self.store, filed_email(n as i64, &[user])).await),
                3..=4 => {
                    let message = append_message(n as i64, "at once", &["\\Flagged"]);
                    emails.push(message.id);
                    let append = Append { mailbox: id, messages: vec![message], replaces: None, now: at(1) };
                    let uids = self.store.append(append).await.unwrap().uids;
                    self.given.extend(uids.into_iter().map(|uid| (id, uid)));
                }
                5 => {
                    let moves = self.numbers.below(2) == 0;
                    let few = set(&[(first, first + 4)]);
                    let copied = copy(&self.store, (id, to), few, moves).await;
                    self.given.extend(copied.uids.into_iter().map(|(_, uid)| (to, uid)));
                }
                6..=7 => {
                    let flag = self.numbers.pick(FLAGS);
                    let stored = store_flags(&self.store, id, uids, FlagsOperation::Add, &[flag]).await;
                    assert!(stored.modseq >= stored.modseq_before);
                    assert!(stored.flags != Flags::NONE);
                }
                8 => {
                    store_flags(&self.store, id, uids, FlagsOperation::Remove, &["\\Flagged", "work"]).await;
                }
                _ => {
                    self.store.expunge(id, Some(uids)).await.unwrap();
                }
            }
        }
        (self.given, emails)
    }
}
