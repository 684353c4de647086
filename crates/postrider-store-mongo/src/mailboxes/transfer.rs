//! Mailboxes out of this store and into it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_core::mailbox::{SpecialUse, UidSet};
use postrider_store::{
    Entry, MailboxChange, MailboxId, MetadataEntry, StoreError, StoredMailbox, StoredMailboxes, UserId,
};

use super::documents::{
    EntryDocument, ExpungedDocument, MailboxDocument, entry_key, entry_range, expunged_after, modseq, signed,
};
use super::ledger::{find, missing};
use super::names::{self, account, key_range, update_account};
use super::{metadata, removals};
use crate::codes::{date, oid};
use crate::counters::{Additions, Stripe, update_all};
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::files::collect;
use crate::schema::{ACCOUNTS, DIGESTS, EMAILS, ENTRIES, EXPUNGED, MAILBOXES, METADATA, SUBSCRIPTIONS};

type Result<T> = std::result::Result<T, StoreError>;

pub(crate) async fn export(engine: &Engine, user: UserId) -> Result<StoredMailboxes> {
    let filter = doc! { "_id": oid(user) };
    let account = engine.command(engine.collection::<super::AccountDocument>(ACCOUNTS).find_one(filter)).await?;
    let account = account.ok_or_else(|| StoreError::Missing(format!("user {user}")))?;
    let collection = engine.collection::<MailboxDocument>(MAILBOXES);
    let mut documents = engine.call(collect(collection.find(doc! { "user": oid(user) }))).await?;
    documents.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    let mut mailboxes = Vec::with_capacity(documents.len());
    for document in documents {
        let expunged = engine.collection::<ExpungedDocument>(EXPUNGED);
        let find = expunged.find(doc! { "_id": expunged_after(document.id, 0) });
        let mut expunged = engine.call(collect(find)).await?;
        expunged.sort_unstable_by_key(|expunged| expunged.modseq);
        let uids = |expunged: &ExpungedDocument| (modseq(expunged.modseq), UidSet::from_ranges(expunged.uids()));
        mailboxes.push(StoredMailbox {
            record: document.record()?,
            expunged: expunged.iter().map(uids).collect(),
            expunged_since: modseq(document.expunged_since),
            metadata: metadata::read(engine, document.id).await?,
        });
    }
    Ok(StoredMailboxes {
        mailboxes,
        subscriptions: names::subscriptions(engine, user).await?,
        metadata: metadata::read(engine, oid(user)).await?,
        uid_validity_next: u32::try_from(account.uid_validity_next).unwrap_or(u32::MAX),
    })
}

pub(crate) async fn import(engine: &Engine, user: UserId, mailboxes: StoredMailboxes) -> Result<()> {
    let mut work = Import { user: oid(user), stored: &mailboxes };
    let replaced = engine.transaction_for(u64::MAX, &mut work).await.map_err(Failure::into_error)?;
    for mailbox in replaced {
        removals::clear(engine, mailbox).await?;
    }
    engine.notices.tell_mailboxes([MailboxChange::Mailboxes { user }]);
    Ok(())
}

struct Import<'a> {
    user: oid::ObjectId,
    stored: &'a StoredMailboxes,
}

impl Work for Import<'_> {
    /// The mailboxes that were there before.
    type Output = Vec<oid::ObjectId>;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let account = account(engine, session, self.user).await?;
        let before = removals::all_of(engine, session, self.user).await?;
        let known: BTreeSet<_> = before.iter().map(|mailbox| mailbox.id).collect();
        let wanted: BTreeSet<_> = self.stored.mailboxes.iter().map(|mailbox| oid(mailbox.record.id)).collect();
        if known == wanted {
            return Ok(Vec::new());
        }
        if before.iter().any(|mailbox| mailbox.messages > 0) {
            return Err(StoreError::Exists(format!("mail of user {}", self.user)).into());
        }
        removals::detach(engine, session, &before).await?;
        for mailbox in &self.stored.mailboxes {
            insert(engine, session, self.user, mailbox).await?;
        }
        self.replace_the_rest(engine, session).await?;
        let set = doc! {
            "mailboxes": signed(wanted.len() as u64),
            "subscriptions": signed(self.stored.subscriptions.len() as u64),
            "annotations": signed(self.stored.metadata.len() as u64),
            "uidValidityNext": i64::from(self.stored.uid_validity_next).max(account.uid_validity_next),
        };
        update_account(engine, session, self.user, doc! { "$set": set }).await?;
        Additions::default().write(engine, session, stripe).await?;
        Ok(known.into_iter().collect())
    }
}

impl Import<'_> {
    async fn replace_the_rest(&self, engine: &Engine, session: &mut ClientSession) -> std::result::Result<(), Failure> {
        let subscriptions = engine.collection::<Document>(SUBSCRIPTIONS);
        subscriptions.delete_many(doc! { "_id": key_range(self.user) }).session(&mut *session).await?;
        let names = self.stored.subscriptions.iter().map(|name| names::subscription(self.user, name.as_str()));
        insert_all(engine, session, SUBSCRIPTIONS, names.collect()).await?;
        let annotations = engine.collection::<Document>(METADATA);
        annotations.delete_many(doc! { "_id": key_range(self.user) }).session(&mut *session).await?;
        insert_metadata(engine, session, self.user, &self.stored.metadata).await
    }
}

/// Writes a mailbox without entries.
async fn insert(
    engine: &Engine,
    session: &mut ClientSession,
    user: oid::ObjectId,
    stored: &StoredMailbox,
) -> std::result::Result<(), Failure> {
    let record = &stored.record;
    let mailbox = oid(record.id);
    let expunged = stored.expunged.iter().map(|(modseq, uids)| ExpungedDocument::new(mailbox, signed(*modseq), uids));
    let expunged: Vec<ExpungedDocument> = expunged.collect();
    let document = MailboxDocument {
        id: mailbox,
        user,
        name: record.name.as_str().to_owned(),
        special_use: record.special_use.map(|special_use: SpecialUse| special_use.as_str().to_owned()),
        uid_validity: i64::from(record.uid_validity),
        uid_next: i64::from(record.uid_next),
        highest_modseq: signed(record.highest_modseq),
        recent_from: i64::from(record.recent_from),
        keywords: record.keywords.iter().map(|keyword| keyword.as_str().to_owned()).collect(),
        // These come with the entries.
        messages: 0,
        unseen: 0,
        deleted: 0,
        bytes: 0,
        deleted_bytes: 0,
        expunged_kept: expunged.iter().map(|expunged| expunged.count).sum(),
        expunged_since: signed(stored.expunged_since),
        annotations: signed(stored.metadata.len() as u64),
        created_at: date(record.created_at),
    };
    engine.collection(MAILBOXES).insert_one(document).session(&mut *session).await?;
    insert_all(engine, session, EXPUNGED, expunged).await?;
    insert_metadata(engine, session, mailbox, &stored.metadata).await
}

async fn insert_metadata(
    engine: &Engine,
    session: &mut ClientSession,
    of: oid::ObjectId,
    entries: &[MetadataEntry],
) -> std::result::Result<(), Failure> {
    let documents = entries.iter().map(|entry| metadata::document(of, entry)).collect();
    insert_all(engine, session, METADATA, documents).await
}

async fn insert_all<T: serde::Serialize + Send + Sync>(
    engine: &Engine,
    session: &mut ClientSession,
    collection: &str,
    documents: Vec<T>,
) -> std::result::Result<(), Failure> {
    if !documents.is_empty() {
        engine.collection::<T>(collection).insert_many(documents).session(session).await?;
    }
    Ok(())
}

pub(crate) async fn export_entries(
    engine: &Engine,
    mailbox: MailboxId,
    after: u32,
    count: usize,
) -> Result<Vec<Entry>> {
    let mailbox = super::read::by_id(engine, mailbox).await?.ok_or_else(|| missing(oid(mailbox)))?.id;
    if count == 0 {
        return Ok(Vec::new());
    }
    let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
    let entries = engine.collection::<EntryDocument>(ENTRIES);
    let find = entries
        .find(doc! { "_id": entry_range(mailbox, first, u32::MAX) })
        .sort(doc! { "_id": 1 })
        .limit(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(engine.select(collect(find)).await?.iter().map(EntryDocument::entry).collect())
}

pub(crate) async fn import_entries(engine: &Engine, mailbox: MailboxId, entries: Vec<Entry>) -> Result<usize> {
    let mut work = ImportEntries { mailbox: oid(mailbox), entries: &entries };
    let (user, count) = engine.transaction_for(entries.len() as u64, &mut work).await.map_err(Failure::into_error)?;
    if count > 0 {
        engine.notices.tell_mailboxes([MailboxChange::Messages { user, mailbox }]);
    }
    Ok(count)
}

struct ImportEntries<'a> {
    mailbox: oid::ObjectId,
    entries: &'a [Entry],
}

impl Work for ImportEntries<'_> {
    type Output = (UserId, usize);

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let mailboxes = engine.collection::<MailboxDocument>(MAILBOXES);
        let found = mailboxes.find_one(doc! { "_id": self.mailbox }).session(&mut *session).await?;
        let mut mailbox = found.ok_or_else(|| missing(self.mailbox))?;
        let before = (mailbox.messages, mailbox.bytes);
        let keys: Vec<_> = self.entries.iter().map(|entry| entry_key(self.mailbox, entry.uid)).collect();
        let known: Vec<EntryDocument> = find(engine, session, ENTRIES, doc! { "_id": { "$in": keys } }).await?;
        let mut known: HashSet<u32> = known.iter().map(EntryDocument::uid).collect();
        let new = self.entries.iter().filter(|entry| known.insert(entry.uid));
        let (mut documents, mut references) = (Vec::new(), BTreeMap::<oid::ObjectId, i64>::new());
        for entry in new {
            mailbox.count(entry.flags, i64::from(entry.size), 1);
            *references.entry(oid(entry.email)).or_default() += 1;
            documents.push(EntryDocument::of(self.mailbox, entry));
        }
        let (user, count) = (crate::codes::id(mailbox.user), documents.len());
        if count == 0 {
            return Ok((user, 0));
        }
        check_stored(engine, session, references.keys().copied().collect()).await?;
        insert_all(engine, session, ENTRIES, documents).await?;
        // One that was never filed before has no document there yet.
        let born = doc! { "isListed": true, "staysOnRecord": true, "hasFiles": true };
        let refer = references.into_iter().map(|(email, count)| {
            let update = doc! { "$inc": { "references": count }, "$setOnInsert": born.clone() };
            doc! { "q": { "_id": email }, "u": update, "upsert": true }
        });
        update_all(engine, session, DIGESTS, refer.collect()).await?;
        let MailboxDocument { messages, unseen, deleted, bytes, deleted_bytes, .. } = mailbox;
        let set = doc! {
            "messages": messages, "unseen": unseen, "deleted": deleted, "bytes": bytes, "deletedBytes": deleted_bytes,
        };
        let update = doc! { "q": { "_id": self.mailbox }, "u": { "$set": set } };
        update_all(engine, session, MAILBOXES, vec![update]).await?;
        let more = doc! { "messages": messages - before.0, "bytes": bytes - before.1 };
        update_account(engine, session, mailbox.user, doc! { "$inc": more }).await?;
        Additions::default().write(engine, session, stripe).await?;
        Ok((user, count))
    }
}

/// That all of these e-mails are stored. Nobody deletes any meanwhile.
async fn check_stored(
    engine: &Engine,
    session: &mut ClientSession,
    emails: Vec<oid::ObjectId>,
) -> std::result::Result<(), Failure> {
    let stored = engine.collection::<Document>(EMAILS);
    let find = stored.find(doc! { "_id": { "$in": &emails } }).projection(doc! { "_id": 1 });
    let mut cursor = find.session(&mut *session).await?;
    let mut found = HashSet::with_capacity(emails.len());
    while let Some(email) = cursor.next(&mut *session).await {
        found.extend(email?.get_object_id("_id").ok());
    }
    match emails.iter().find(|email| !found.contains(*email)) {
        Some(email) => Err(StoreError::Missing(format!("e-mail {email}")).into()),
        None => Ok(()),
    }
}

impl EntryDocument {
    fn of(mailbox: oid::ObjectId, entry: &Entry) -> Self {
        let millis = |at: postrider_core::Timestamp| DateTime::from_millis(at.as_millis());
        Self {
            key: entry_key(mailbox, entry.uid),
            mailbox,
            modseq: signed(entry.modseq),
            flags: entry.flags.bits() as i64,
            is_deleted: super::ledger::is_deleted(entry.flags),
            email: oid(entry.email),
            size: i64::from(entry.size),
            internal_date: millis(entry.internal_date),
            saved_at: millis(entry.saved_at),
        }
    }
}
