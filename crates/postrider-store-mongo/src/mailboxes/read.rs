//! Reading mailboxes and stored messages.
//!
//! What must be of one moment is read in a transaction that writes nothing: all of it is what the last commit before its first
//! read has left.

use std::collections::HashMap;

use bytes::Bytes;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc, oid};
use postrider_core::ObjectId;
use postrider_core::mailbox::{MailboxName, UidSet};
use postrider_store::{Entry, MailboxDelta, MailboxId, MailboxRecord, Modseq, OpenMailbox, StoreError, Usage, UserId};

use super::documents::{
    AccountDocument, DigestDocument, EntryDocument, ExpungedDocument, MailboxDocument, entry_range, expunged_after,
    signed,
};
use super::ledger::{find, missing};
use crate::codes::{id, oid};
use crate::counters::Stripe;
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::files::collect;
use crate::record::content_of;
use crate::schema::{ACCOUNTS, DIGESTS, EMAILS, ENTRIES, EXPUNGED, MAILBOXES};

type Result<T> = std::result::Result<T, StoreError>;

/// A mailbox with all its entries may take as long as so many of these.
const OPEN_ENTRIES: u64 = 100_000;

pub(crate) async fn mailboxes(engine: &Engine, user: UserId) -> Result<Vec<MailboxRecord>> {
    let mailboxes = engine.collection::<MailboxDocument>(MAILBOXES);
    let mut documents = engine.call(collect(mailboxes.find(doc! { "user": oid(user) }))).await?;
    documents.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    documents.iter().map(MailboxDocument::record).collect()
}

pub(crate) async fn mailbox(engine: &Engine, user: UserId, name: &MailboxName) -> Result<Option<MailboxRecord>> {
    let filter = doc! { "user": oid(user), "name": name.as_str() };
    let found = engine.command(engine.collection::<MailboxDocument>(MAILBOXES).find_one(filter)).await?;
    found.as_ref().map(MailboxDocument::record).transpose()
}

pub(crate) async fn by_id(engine: &Engine, mailbox: MailboxId) -> Result<Option<MailboxDocument>> {
    engine.command(engine.collection(MAILBOXES).find_one(doc! { "_id": oid(mailbox) })).await
}

pub(crate) async fn usage(engine: &Engine, user: UserId) -> Result<Usage> {
    let accounts = engine.collection::<AccountDocument>(ACCOUNTS);
    let account = engine.command(accounts.find_one(doc! { "_id": oid(user) })).await?;
    Ok(account.map(|account| account.usage()).unwrap_or_default())
}

pub(crate) async fn open(engine: &Engine, mailbox: MailboxId) -> Result<Option<OpenMailbox>> {
    let read = engine.transaction_for(OPEN_ENTRIES, &mut Open { mailbox: oid(mailbox) }).await;
    let Some((document, entries)) = read.map_err(Failure::into_error)? else { return Ok(None) };
    Ok(Some(OpenMailbox { record: document.record()?, entries }))
}

struct Open {
    mailbox: oid::ObjectId,
}

impl Work for Open {
    type Output = Option<(MailboxDocument, Vec<Entry>)>;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        _: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let Some(document) = document(engine, session, self.mailbox).await? else { return Ok(None) };
        let mut entries = Vec::with_capacity(usize::try_from(document.messages).unwrap_or(0));
        let filter = doc! { "_id": entry_range(self.mailbox, 0, u32::MAX) };
        let collection = engine.collection::<EntryDocument>(ENTRIES);
        let mut cursor = collection.find(filter).sort(doc! { "_id": 1 }).session(&mut *session).await?;
        while let Some(entry) = cursor.next(&mut *session).await {
            entries.push(entry?.entry());
        }
        Ok(Some((document, entries)))
    }
}

async fn document(
    engine: &Engine,
    session: &mut ClientSession,
    mailbox: oid::ObjectId,
) -> std::result::Result<Option<MailboxDocument>, Failure> {
    let mailboxes = engine.collection::<MailboxDocument>(MAILBOXES);
    Ok(mailboxes.find_one(doc! { "_id": mailbox }).session(session).await?)
}

pub(crate) async fn delta(engine: &Engine, mailbox: MailboxId, since: Modseq) -> Result<Option<MailboxDelta>> {
    // Mostly nothing happened: then there is nothing that must be of the same moment.
    let Some(document) = by_id(engine, mailbox).await? else { return Ok(None) };
    let since = signed(since);
    let read = if document.highest_modseq <= since {
        Some((document, Vec::new(), Vec::new()))
    } else {
        let mut work = Delta { mailbox: oid(mailbox), since };
        engine.transaction_for(OPEN_ENTRIES, &mut work).await.map_err(Failure::into_error)?
    };
    let Some((document, changed, expunged)) = read else { return Ok(None) };
    let mut changed: Vec<Entry> = changed.iter().map(EntryDocument::entry).collect();
    changed.sort_unstable_by_key(|entry| entry.uid);
    Ok(Some(MailboxDelta {
        record: document.record()?,
        changed,
        expunged: UidSet::from_ranges(expunged.iter().flat_map(ExpungedDocument::uids)),
        is_complete: since >= document.expunged_since,
    }))
}

struct Delta {
    mailbox: oid::ObjectId,
    since: i64,
}

impl Work for Delta {
    type Output = Option<(MailboxDocument, Vec<EntryDocument>, Vec<ExpungedDocument>)>;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        _: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let Some(document) = document(engine, session, self.mailbox).await? else { return Ok(None) };
        let filter = doc! { "mailbox": self.mailbox, "modseq": { "$gt": self.since } };
        let changed = find(engine, session, ENTRIES, filter).await?;
        let filter = doc! { "_id": expunged_after(self.mailbox, self.since) };
        let expunged = find(engine, session, EXPUNGED, filter).await?;
        Ok(Some((document, changed, expunged)))
    }
}

/// See [`postrider_store::Mailboxes::take_recent`].
pub(crate) async fn take_recent(engine: &Engine, mailbox: MailboxId) -> Result<u32> {
    let mailboxes = engine.collection::<MailboxDocument>(MAILBOXES);
    loop {
        let document = by_id(engine, mailbox).await?.ok_or_else(|| missing(oid(mailbox)))?;
        let MailboxDocument { recent_from, uid_next, .. } = document;
        let is_taken = recent_from >= uid_next || {
            let filter = doc! { "_id": oid(mailbox), "recentFrom": recent_from };
            let update = doc! { "$set": { "recentFrom": uid_next } };
            engine.command(mailboxes.update_one(filter, update)).await?.matched_count > 0
        };
        // Else another session was faster, and these are its.
        if is_taken {
            return Ok(u32::try_from(recent_from).unwrap_or(u32::MAX));
        }
    }
}

pub(crate) async fn digests(engine: &Engine, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>> {
    let digests = engine.collection::<DigestDocument>(DIGESTS);
    let ids: Vec<_> = emails.iter().copied().map(oid).collect();
    let found = engine.call(collect(digests.find(doc! { "_id": { "$in": ids } }))).await?;
    let digest = |document: DigestDocument| Some((id(document.email), Bytes::from(document.digest?.bytes)));
    let by_email: HashMap<ObjectId, Bytes> = found.into_iter().filter_map(digest).collect();
    Ok(emails.iter().map(|email| by_email.get(email).cloned()).collect())
}

pub(crate) async fn messages(engine: &Engine, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>> {
    let ids: Vec<_> = emails.iter().copied().map(oid).collect();
    let stored = engine.collection::<Document>(EMAILS);
    let find = stored.find(doc! { "_id": { "$in": ids } }).projection(doc! { "raw": 1 });
    let found = engine.select(collect(find)).await?;
    let mut by_email: HashMap<ObjectId, Bytes> = HashMap::new();
    for mut email in found {
        let raw = email.remove("raw");
        let Some(Bson::ObjectId(email)) = email.remove("_id") else { continue };
        if let Some(raw) = content_of(engine, raw).await? {
            by_email.insert(id(email), raw);
        }
    }
    Ok(emails.iter().map(|email| by_email.get(email).cloned()).collect())
}
