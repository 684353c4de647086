//! What one transaction does to mailboxes: first gathered here, then written in few commands.
//!
//! A mailbox's document is written by every transaction that changes its entries, so two such transactions are in each other's
//! way, and the later begins anew from what the earlier has left: that makes UIDs unique, the order of modseqs that of commits,
//! and counts true.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc, oid};
use postrider_core::EmailStatus;
use postrider_core::mailbox::{Flags, MailboxName, NamedFlags, UidSet};
use postrider_store::{MailboxChange, MailboxDelta, StoreError, Usage};
use serde::de::DeserializeOwned;

use super::documents::{
    AccountDocument, DigestDocument, EntryDocument, ExpungedDocument, MailboxDocument, bits, entry_key, expunged_after,
    signed,
};
use crate::codes::id;
use crate::counters::{Additions, update_all};
use crate::engine::Engine;
use crate::failure::Failure;
use crate::schema::{ACCOUNTS, DIGESTS, EMAILS, ENTRIES, EXPUNGED, MAILBOXES};

/// Keys in one statement: well within the limit of a command.
const KEYS_MAX: usize = 10_000;

/// From this many remembered UIDs on the oldest are forgotten, down to what is promised.
const EXPUNGED_MAX: i64 = 2 * MailboxDelta::EXPUNGED_KEPT as i64;

type Result<T> = std::result::Result<T, Failure>;

/// Changes of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    mailboxes: HashMap<oid::ObjectId, Held>,
    accounts: HashMap<oid::ObjectId, AccountDocument>,
    /// What each user keeps more, or less.
    usage: BTreeMap<oid::ObjectId, (i64, i64)>,
    added: Vec<EntryDocument>,
    removed: Vec<String>,
    /// By the flags that they get, and the modseq.
    flagged: BTreeMap<(i64, i64), Vec<String>>,
    /// How many entries more refer to an e-mail, or less.
    references: BTreeMap<oid::ObjectId, i64>,
    /// Users who have other mailboxes now.
    furnished: BTreeSet<oid::ObjectId>,
}

/// A mailbox as it will be.
#[derive(Debug)]
struct Held {
    document: MailboxDocument,
    modseq_before: i64,
    expunged: Vec<u32>,
    /// How many keywords it had.
    keywords_before: usize,
}

/// A message for a mailbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewEntry {
    pub(crate) email: oid::ObjectId,
    pub(crate) size: i64,
    pub(crate) flags: Flags,
    pub(crate) internal_date: DateTime,
    pub(crate) saved_at: DateTime,
}

/// What is left to do when a transaction is committed.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Of messages that are gone.
    pub(crate) files: Vec<oid::ObjectId>,
    pub(crate) changes: Vec<MailboxChange>,
}

impl Written {
    /// Tells others, and tidies up. To be called once it is committed.
    pub(crate) async fn finish(self, engine: &Engine) {
        engine.notices.tell_mailboxes(self.changes);
        if let Err(error) = engine.files.remove(&self.files).await {
            tracing::warn!(%error, "the files of messages that are gone are left to the next sweep");
        }
    }
}

impl Ledger {
    /// Reads mailboxes. Those that are not there are left out.
    pub(crate) async fn load(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        ids: impl IntoIterator<Item = oid::ObjectId>,
    ) -> Result<()> {
        let ids: Vec<_> = ids.into_iter().collect();
        self.hold(find(engine, session, MAILBOXES, doc! { "_id": { "$in": ids } }).await?);
        Ok(())
    }

    /// Reads the INBOX of each user, and tells which it is.
    pub(crate) async fn load_inboxes(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        users: &[oid::ObjectId],
    ) -> Result<HashMap<oid::ObjectId, oid::ObjectId>> {
        let filter = doc! { "user": { "$in": users }, "name": MailboxName::INBOX };
        let found: Vec<MailboxDocument> = find(engine, session, MAILBOXES, filter).await?;
        let inboxes = found.iter().map(|inbox| (inbox.user, inbox.id)).collect();
        self.hold(found);
        Ok(inboxes)
    }

    /// Takes in mailboxes that were read, or made, in this transaction.
    pub(crate) fn hold(&mut self, found: Vec<MailboxDocument>) {
        for document in found {
            let held = Held {
                modseq_before: document.highest_modseq,
                keywords_before: document.keywords.len(),
                document,
                expunged: Vec::new(),
            };
            self.mailboxes.insert(held.document.id, held);
        }
    }

    /// Reads what users keep and may keep. Those who are not there are left out.
    pub(crate) async fn load_accounts(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        users: &[oid::ObjectId],
    ) -> Result<()> {
        let found: Vec<AccountDocument> = find(engine, session, ACCOUNTS, doc! { "_id": { "$in": users } }).await?;
        self.accounts.extend(found.into_iter().map(|account| (account.user, account)));
        Ok(())
    }

    pub(crate) fn mailbox(&self, mailbox: oid::ObjectId) -> std::result::Result<&MailboxDocument, StoreError> {
        self.mailboxes.get(&mailbox).map(|held| &held.document).ok_or_else(|| missing(mailbox))
    }

    /// Whether there is something to write.
    pub(crate) fn is_empty(&self) -> bool {
        !self.mailboxes.values().any(|held| held.is_changed() || held.has_learnt())
    }

    /// Whether a mailbox is there and this user's.
    pub(crate) fn is_of(&self, mailbox: oid::ObjectId, user: oid::ObjectId) -> bool {
        self.mailboxes.get(&mailbox).is_some_and(|held| held.document.user == user)
    }

    /// The highest modseq from before the transaction.
    pub(crate) fn modseq_before(&self, mailbox: oid::ObjectId) -> i64 {
        self.mailboxes.get(&mailbox).map_or(0, |held| held.modseq_before)
    }

    pub(crate) fn account(&self, user: oid::ObjectId) -> Option<&AccountDocument> {
        self.accounts.get(&user)
    }

    /// A mailbox was made for this user, whose account says so from now on.
    pub(crate) fn made(&mut self, account: AccountDocument, mailbox: MailboxDocument) {
        self.furnished.insert(account.user);
        self.accounts.insert(account.user, account);
        self.hold(vec![mailbox]);
    }

    pub(crate) fn has_account(&self, user: oid::ObjectId) -> bool {
        self.accounts.contains_key(&user)
    }

    /// Whether a user may keep so much more, beside what this transaction adds already.
    pub(crate) fn has_room(&self, user: oid::ObjectId, more: Usage) -> bool {
        self.has_room_without(user, Usage::default(), more)
    }

    /// As [`Ledger::has_room`], where so much less is kept then.
    pub(crate) fn has_room_without(&self, user: oid::ObjectId, less: Usage, more: Usage) -> bool {
        let Some(account) = self.accounts.get(&user) else { return false };
        let (bytes, messages) = self.usage.get(&user).copied().unwrap_or_default();
        let usage = account.usage();
        let used = Usage {
            bytes: usage.bytes.saturating_add_signed(bytes).saturating_sub(less.bytes),
            messages: usage.messages.saturating_add_signed(messages).saturating_sub(less.messages),
        };
        postrider_store::Quota::from(account.quota).has_room(used, more)
    }

    /// The numbers of flags in a mailbox. Keywords that it does not have yet are added to it, all or none.
    pub(crate) fn learn<'a>(
        &mut self,
        mailbox: oid::ObjectId,
        wanted: impl IntoIterator<Item = &'a NamedFlags>,
    ) -> std::result::Result<Vec<Flags>, StoreError> {
        let held = self.mailboxes.get_mut(&mailbox).ok_or_else(|| missing(mailbox))?;
        let mut keywords = held.document.keywords()?;
        let known = keywords.len();
        let mut numbers = Vec::new();
        for flags in wanted {
            for keyword in &flags.keywords {
                if !keywords.contains(keyword) {
                    keywords.push(keyword.clone());
                }
            }
            numbers.push(flags.known(&keywords));
        }
        if keywords.len() > Flags::KEYWORDS_MAX.max(known) {
            return Err(StoreError::Limit(format!("a mailbox has {} keywords at most", Flags::KEYWORDS_MAX)));
        }
        let new = keywords.iter().skip(known).map(|keyword| keyword.as_str().to_owned());
        held.document.keywords.extend(new);
        Ok(numbers)
    }

    /// Whether a mailbox has numbers for so many more messages.
    pub(crate) fn check_uids(&self, mailbox: oid::ObjectId, count: usize) -> std::result::Result<(), StoreError> {
        let last = self.mailbox(mailbox)?.uid_next.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
        if last > i64::from(u32::MAX) {
            return Err(StoreError::Limit(
                "the mailbox has given its last UID; copy its messages into a new one".into(),
            ));
        }
        Ok(())
    }

    /// Puts a message into a mailbox that is loaded. Returns its UID.
    pub(crate) fn add(&mut self, mailbox: oid::ObjectId, new: NewEntry) -> std::result::Result<u32, StoreError> {
        self.check_uids(mailbox, 1)?;
        let held = self.mailboxes.get_mut(&mailbox).ok_or_else(|| missing(mailbox))?;
        let modseq = held.change();
        let document = &mut held.document;
        let uid = u32::try_from(document.uid_next).map_err(|_| missing(mailbox))?;
        document.uid_next += 1;
        document.count(new.flags, new.size, 1);
        let usage = self.usage.entry(document.user).or_default();
        *usage = (usage.0 + new.size, usage.1 + 1);
        *self.references.entry(new.email).or_default() += 1;
        self.added.push(EntryDocument {
            key: entry_key(mailbox, uid),
            mailbox,
            modseq,
            flags: new.flags.bits() as i64,
            is_deleted: is_deleted(new.flags),
            email: new.email,
            size: new.size,
            internal_date: new.internal_date,
            saved_at: new.saved_at,
        });
        Ok(uid)
    }

    /// Takes an entry out of its mailbox, which is loaded.
    pub(crate) fn remove(&mut self, entry: &EntryDocument) -> std::result::Result<(), StoreError> {
        let held = self.mailboxes.get_mut(&entry.mailbox).ok_or_else(|| missing(entry.mailbox))?;
        held.change();
        held.expunged.push(entry.uid());
        held.document.count(entry.flags(), entry.size, -1);
        let usage = self.usage.entry(held.document.user).or_default();
        *usage = (usage.0 - entry.size, usage.1 - 1);
        *self.references.entry(entry.email).or_default() -= 1;
        self.removed.push(entry.key.clone());
        Ok(())
    }

    /// Gives an entry of a mailbox that is loaded other flags.
    pub(crate) fn flag(&mut self, entry: &EntryDocument, flags: Flags) -> std::result::Result<(), StoreError> {
        let held = self.mailboxes.get_mut(&entry.mailbox).ok_or_else(|| missing(entry.mailbox))?;
        let modseq = held.change();
        held.document.count(entry.flags(), entry.size, -1);
        held.document.count(flags, entry.size, 1);
        self.flagged.entry((flags.bits() as i64, modseq)).or_default().push(entry.key.clone());
        Ok(())
    }

    /// How many entries refer to an e-mail that is stored in this transaction too, with that number in its own document.
    pub(crate) fn take_references(&mut self, email: oid::ObjectId) -> i64 {
        self.references.remove(&email).unwrap_or(0)
    }

    /// Writes all of it.
    pub(crate) async fn write(
        self,
        engine: &Engine,
        session: &mut ClientSession,
        additions: &mut Additions,
    ) -> Result<Written> {
        let mut written = Written::default();
        let changed: Vec<&Held> = self.mailboxes.values().filter(|held| held.is_changed()).collect();
        for held in &changed {
            let MailboxDocument { id: mailbox, user, .. } = held.document;
            written.changes.push(MailboxChange::Messages { user: id(user), mailbox: id(mailbox) });
        }
        written.changes.extend(self.furnished.iter().map(|user| MailboxChange::Mailboxes { user: id(*user) }));
        let mut updates = Vec::with_capacity(changed.len());
        for held in changed {
            updates.push(held.update(engine, session).await?);
        }
        // A keyword may be learnt though no entry gets it.
        let learnt = self.mailboxes.values().filter(|held| !held.is_changed() && held.has_learnt());
        updates.extend(learnt.map(|held| {
            let set = doc! { "$set": { "keywords": &held.document.keywords } };
            doc! { "q": { "_id": held.document.id, "highestModseq": held.modseq_before }, "u": set }
        }));
        all(updates.len(), update_all(engine, session, MAILBOXES, updates).await?)?;
        self.write_usage(engine, session).await?;
        self.write_entries(engine, session).await?;
        self.write_references(engine, session, additions, &mut written).await?;
        Ok(written)
    }

    async fn write_usage(&self, engine: &Engine, session: &mut ClientSession) -> Result<()> {
        let changed = self.usage.iter().filter(|(_, more)| **more != (0, 0));
        let update = |(user, (bytes, messages)): (&oid::ObjectId, &(i64, i64))| {
            doc! { "q": { "_id": user }, "u": { "$inc": { "bytes": bytes, "messages": messages } } }
        };
        let updates: Vec<Document> = changed.map(update).collect();
        update_all(engine, session, ACCOUNTS, updates).await.map(drop)
    }

    async fn write_entries(&self, engine: &Engine, session: &mut ClientSession) -> Result<()> {
        let entries = engine.collection::<EntryDocument>(ENTRIES);
        for keys in self.removed.chunks(KEYS_MAX) {
            let deleted = entries.delete_many(doc! { "_id": { "$in": keys } }).session(&mut *session).await?;
            all(keys.len(), signed(deleted.deleted_count))?;
        }
        if !self.added.is_empty() {
            entries.insert_many(&self.added).session(&mut *session).await?;
        }
        for ((flags, modseq), keys) in &self.flagged {
            let set = doc! { "flags": flags, "modseq": modseq };
            let update = match is_deleted(bits(*flags)) {
                Some(is_deleted) => doc! { "$set": { "flags": flags, "modseq": modseq, "isDeleted": is_deleted } },
                None => doc! { "$set": set, "$unset": { "isDeleted": "" } },
            };
            for keys in keys.chunks(KEYS_MAX) {
                let statement = doc! { "q": { "_id": { "$in": keys } }, "u": update.clone(), "multi": true };
                all(keys.len(), update_all(engine, session, ENTRIES, vec![statement]).await?)?;
            }
        }
        Ok(())
    }

    /// Counts references, and removes messages that nothing keeps any more.
    async fn write_references(
        &self,
        engine: &Engine,
        session: &mut ClientSession,
        additions: &mut Additions,
        written: &mut Written,
    ) -> Result<()> {
        let mut by_change: BTreeMap<i64, Vec<oid::ObjectId>> = BTreeMap::new();
        for (email, change) in self.references.iter().filter(|(_, change)| **change != 0) {
            by_change.entry(*change).or_default().push(*email);
        }
        for (change, emails) in &by_change {
            for emails in emails.chunks(KEYS_MAX) {
                let update = doc! { "$inc": { "references": change } };
                let statement = doc! { "q": { "_id": { "$in": emails } }, "u": update, "multi": true };
                all(emails.len(), update_all(engine, session, DIGESTS, vec![statement]).await?)?;
            }
        }
        let fewer: Vec<oid::ObjectId> =
            by_change.into_iter().filter(|(change, _)| *change < 0).flat_map(|(_, emails)| emails).collect();
        for emails in fewer.chunks(KEYS_MAX) {
            remove_unkept(engine, session, emails, additions, written).await?;
        }
        Ok(())
    }
}

impl Held {
    /// That the mailbox is changed. Returns the modseq that all changes of the transaction share.
    fn change(&mut self) -> i64 {
        self.document.highest_modseq = self.modseq_before + 1;
        self.document.highest_modseq
    }

    fn has_learnt(&self) -> bool {
        self.document.keywords.len() > self.keywords_before
    }

    fn is_changed(&self) -> bool {
        self.document.highest_modseq != self.modseq_before
    }

    /// The statement that makes the document what it will be. What was expunged is remembered, and the oldest forgotten.
    async fn update(&self, engine: &Engine, session: &mut ClientSession) -> Result<Document> {
        let MailboxDocument { id: mailbox, highest_modseq, .. } = self.document;
        let (mut kept, mut since) = (self.document.expunged_kept, self.document.expunged_since);
        if !self.expunged.is_empty() {
            let uids: UidSet = self.expunged.iter().copied().collect();
            let document = ExpungedDocument::new(mailbox, highest_modseq, &uids);
            kept += document.count;
            if kept > EXPUNGED_MAX {
                (kept, since) = forget_expunged(engine, session, mailbox, kept, since).await?;
            }
            engine.collection(EXPUNGED).insert_one(document).session(&mut *session).await?;
        }
        let MailboxDocument { uid_next, keywords, messages, unseen, deleted, bytes, deleted_bytes, .. } =
            &self.document;
        let set = doc! {
            "uidNext": uid_next,
            "highestModseq": highest_modseq,
            "keywords": keywords,
            "messages": messages,
            "unseen": unseen,
            "deleted": deleted,
            "bytes": bytes,
            "deletedBytes": deleted_bytes,
            "expungedKept": kept,
            "expungedSince": since,
        };
        Ok(doc! { "q": { "_id": mailbox, "highestModseq": self.modseq_before }, "u": { "$set": set } })
    }
}

impl MailboxDocument {
    /// Counts an entry, or with `-1` counts it no more.
    pub(crate) fn count(&mut self, flags: Flags, size: i64, sign: i64) {
        self.messages += sign;
        self.bytes += sign * size;
        if !flags.contains(Flags::SEEN) {
            self.unseen += sign;
        }
        if flags.contains(Flags::DELETED) {
            self.deleted += sign;
            self.deleted_bytes += sign * size;
        }
    }
}

/// Forgets the oldest of what was expunged, as far as it is more than what is promised. Returns how many UIDs are left, and
/// since when they are all.
async fn forget_expunged(
    engine: &Engine,
    session: &mut ClientSession,
    mailbox: oid::ObjectId,
    mut kept: i64,
    mut since: i64,
) -> Result<(i64, i64)> {
    let collection = engine.collection::<Document>(EXPUNGED);
    let all = collection.find(doc! { "_id": expunged_after(mailbox, 0) }).sort(doc! { "_id": 1 });
    let mut oldest = all.projection(doc! { "modseq": 1, "count": 1 }).session(&mut *session).await?;
    let mut forgotten = Vec::new();
    while let Some(document) = oldest.next(&mut *session).await {
        let document = document?;
        let count = crate::counters::number(&document, "count");
        if kept - count < signed(MailboxDelta::EXPUNGED_KEPT) {
            break;
        }
        kept -= count;
        since = crate::counters::number(&document, "modseq");
        forgotten.extend(document.get("_id").cloned());
    }
    drop(oldest);
    if !forgotten.is_empty() {
        collection.delete_many(doc! { "_id": { "$in": forgotten } }).session(&mut *session).await?;
    }
    Ok((kept, since))
}

/// Removes those of the messages that no entry refers to and that are not on record.
pub(crate) async fn remove_unkept(
    engine: &Engine,
    session: &mut ClientSession,
    emails: &[oid::ObjectId],
    additions: &mut Additions,
    written: &mut Written,
) -> Result<()> {
    let filter = doc! { "_id": { "$in": emails }, "references": { "$lte": 0 }, "staysOnRecord": false };
    let digests = engine.collection::<Document>(DIGESTS);
    let wanted = doc! { "isListed": 1, "hasFiles": 1 };
    let mut cursor = digests.find(filter).projection(wanted).session(&mut *session).await?;
    let (mut gone, mut with_files, mut listed) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(digest) = cursor.next(&mut *session).await {
        let digest = digest?;
        let Ok(email) = digest.get_object_id("_id") else { continue };
        gone.push(email);
        if digest.get_bool("hasFiles").unwrap_or(false) {
            with_files.push(email);
        }
        if digest.get_bool("isListed").unwrap_or(false) {
            listed.push(email);
            // One with deliveries would stay on record.
            additions.went(EmailStatus::Received);
        }
    }
    drop(cursor);
    if gone.is_empty() {
        return Ok(());
    }
    let gone = doc! { "_id": { "$in": gone } };
    let stored = engine.collection::<Document>(EMAILS);
    if !with_files.is_empty() {
        let find = stored.find(doc! { "_id": { "$in": with_files } }).projection(doc! { "files": 1 });
        let mut cursor = find.session(&mut *session).await?;
        while let Some(email) = cursor.next(&mut *session).await {
            let email = email?;
            let files = email.get_array("files").map(Vec::as_slice).unwrap_or_default();
            written.files.extend(files.iter().filter_map(Bson::as_object_id));
        }
    }
    digests.delete_many(gone.clone()).session(&mut *session).await?;
    stored.delete_many(gone).session(&mut *session).await?;
    if !listed.is_empty() {
        crate::words::forget(engine, session, &listed).await?;
    }
    Ok(())
}

/// All that a query finds, within the transaction.
pub(crate) async fn find<T: DeserializeOwned + Unpin + Send + Sync>(
    engine: &Engine,
    session: &mut ClientSession,
    collection: &str,
    filter: Document,
) -> Result<Vec<T>> {
    let mut cursor = engine.collection::<T>(collection).find(filter).session(&mut *session).await?;
    let mut found = Vec::new();
    while let Some(document) = cursor.next(&mut *session).await {
        found.push(document?);
    }
    Ok(found)
}

/// The digest's document of an e-mail that is stored in the same transaction.
pub(crate) async fn insert_digests(
    engine: &Engine,
    session: &mut ClientSession,
    digests: Vec<DigestDocument>,
) -> Result<()> {
    if !digests.is_empty() {
        engine.collection(DIGESTS).insert_many(digests).session(session).await?;
    }
    Ok(())
}

/// That as many documents were changed as were read before. Within one snapshot they are: else what is stored contradicts
/// itself.
fn all(expected: usize, matched: i64) -> Result<()> {
    if usize::try_from(matched) == Ok(expected) {
        return Ok(());
    }
    Err(Failure::Refused(crate::failure::corrupt(format!(
        "of {expected} documents that belong to mailboxes {matched} are there"
    ))))
}

pub(crate) fn is_deleted(flags: Flags) -> Option<bool> {
    flags.contains(Flags::DELETED).then_some(true)
}

pub(crate) fn missing(mailbox: oid::ObjectId) -> StoreError {
    StoreError::Missing(format!("mailbox {mailbox}"))
}
