//! Mailboxes that are gone, and their entries, which go after them.
//!
//! A mailbox may have more entries than one transaction should change. So first the mailbox goes, with a note that its entries
//! are to follow, and then they do, in parts. Who dies between leaves the note, and a sweep goes on from there.

use std::collections::BTreeMap;

use mongodb::ClientSession;
use mongodb::bson::{Document, doc, oid};
use postrider_store::{MailboxChange, MailboxId, StoreError};

use super::documents::{EntryDocument, MailboxDocument, entry_range, expunged_after};
use super::ledger::{Written, find, remove_unkept};
use super::names::{key_range, update_account};
use crate::codes::{id, oid};
use crate::counters::{Additions, Stripe, update_all};
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::files::collect;
use crate::schema::{DIGESTS, ENTRIES, EXPUNGED, MAILBOXES, METADATA, REMOVALS};

type Result<T> = std::result::Result<T, StoreError>;

/// Entries that go in one transaction.
const PART: i64 = 500;

/// Notes that one look takes up.
const NOTES: i64 = 100;

/// Deletes a mailbox with all its entries; `false` if there is none.
pub(crate) async fn delete(engine: &Engine, mailbox: MailboxId) -> Result<bool> {
    let mailbox = oid(mailbox);
    let turn = engine.courtesy.turn(engine.courtesy.with_kin(mailbox).collect()).await;
    let deleted = engine.transaction(&mut Delete { mailbox }).await.map_err(Failure::into_error)?;
    drop(turn);
    let Some(user) = deleted.map(id) else { return Ok(false) };
    let changes = [MailboxChange::Mailboxes { user }, MailboxChange::Messages { user, mailbox: id(mailbox) }];
    engine.notices.tell_mailboxes(changes);
    if let Err(error) = clear(engine, mailbox).await {
        tracing::warn!(%error, "the messages of a deleted mailbox are left to the next sweep");
    }
    Ok(true)
}

struct Delete {
    mailbox: oid::ObjectId,
}

impl Work for Delete {
    /// Whose it was.
    type Output = Option<oid::ObjectId>;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let filter = doc! { "_id": self.mailbox };
        let mailboxes = engine.collection::<MailboxDocument>(MAILBOXES);
        let Some(mailbox) = mailboxes.find_one(filter).session(&mut *session).await? else { return Ok(None) };
        let change = doc! { "mailboxes": -1_i64, "bytes": -mailbox.bytes, "messages": -mailbox.messages };
        update_account(engine, session, mailbox.user, doc! { "$inc": change }).await?;
        detach(engine, session, std::slice::from_ref(&mailbox)).await?;
        Additions::default().write(engine, session, stripe).await?;
        Ok(Some(mailbox.user))
    }
}

/// Takes mailboxes away, and notes that their entries are to follow.
pub(crate) async fn detach(
    engine: &Engine,
    session: &mut ClientSession,
    mailboxes: &[MailboxDocument],
) -> std::result::Result<(), Failure> {
    let ids: Vec<_> = mailboxes.iter().map(|mailbox| mailbox.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let collection = engine.collection::<Document>(MAILBOXES);
    collection.delete_many(doc! { "_id": { "$in": &ids } }).session(&mut *session).await?;
    let notes: Vec<Document> = ids.iter().map(|mailbox| doc! { "_id": mailbox }).collect();
    engine.collection::<Document>(REMOVALS).insert_many(notes).session(&mut *session).await?;
    Ok(())
}

/// Lets the entries of a mailbox that is gone follow it, and all else that was its.
pub(crate) async fn clear(engine: &Engine, mailbox: oid::ObjectId) -> Result<()> {
    loop {
        let (entries, written) = engine.transaction(&mut Clear { mailbox }).await.map_err(Failure::into_error)?;
        written.finish(engine).await;
        if entries == 0 {
            break;
        }
    }
    for (collection, filter) in [
        (EXPUNGED, doc! { "_id": expunged_after(mailbox, 0) }),
        (METADATA, doc! { "_id": key_range(mailbox) }),
        (REMOVALS, doc! { "_id": mailbox }),
    ] {
        engine.command(engine.collection::<Document>(collection).delete_many(filter)).await?;
    }
    Ok(())
}

struct Clear {
    mailbox: oid::ObjectId,
}

impl Work for Clear {
    type Output = (usize, Written);

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let collection = engine.collection::<EntryDocument>(ENTRIES);
        let filter = doc! { "_id": entry_range(self.mailbox, 0, u32::MAX) };
        let mut cursor = collection.find(filter).limit(PART).session(&mut *session).await?;
        let (mut keys, mut references) = (Vec::new(), BTreeMap::<oid::ObjectId, i64>::new());
        while let Some(entry) = cursor.next(&mut *session).await {
            let entry = entry?;
            *references.entry(entry.email).or_default() -= 1;
            keys.push(entry.key);
        }
        drop(cursor);
        let (mut additions, mut written) = (Additions::default(), Written::default());
        if keys.is_empty() {
            return Ok((0, written));
        }
        collection.delete_many(doc! { "_id": { "$in": &keys } }).session(&mut *session).await?;
        let update = |(email, change): (&oid::ObjectId, &i64)| {
            doc! { "q": { "_id": email }, "u": { "$inc": { "references": change } } }
        };
        update_all(engine, session, DIGESTS, references.iter().map(update).collect()).await?;
        let emails: Vec<_> = references.into_keys().collect();
        remove_unkept(engine, session, &emails, &mut additions, &mut written).await?;
        additions.write(engine, session, stripe).await?;
        Ok((keys.len(), written))
    }
}

/// Goes on with what others have left. Returns how many mailboxes it was.
pub(crate) async fn sweep(engine: &Engine) -> Result<u64> {
    let mut swept = 0;
    loop {
        let collection = engine.collection::<Document>(REMOVALS);
        let notes = engine
            .call(collect(collection.find(doc! { "_id": { "$gt": oid::ObjectId::from_bytes([0; 12]) } }).limit(NOTES)))
            .await?;
        let mailboxes: Vec<_> = notes.iter().filter_map(|note| note.get_object_id("_id").ok()).collect();
        if mailboxes.is_empty() {
            return Ok(swept);
        }
        for mailbox in mailboxes {
            clear(engine, mailbox).await?;
            swept += 1;
        }
    }
}

/// All mailboxes of a user, for a transaction that takes them away.
pub(crate) async fn all_of(
    engine: &Engine,
    session: &mut ClientSession,
    user: oid::ObjectId,
) -> std::result::Result<Vec<MailboxDocument>, Failure> {
    find(engine, session, MAILBOXES, doc! { "user": user }).await
}
