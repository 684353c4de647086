//! What users note of their mailboxes, and of all of their mail (RFC 5464).

use bytes::Bytes;
use mongodb::ClientSession;
use mongodb::bson::{Document, doc, oid};
use postrider_store::{METADATA_ENTRIES_MAX, MailboxChange, MailboxId, MetadataEntry, StoreError, UserId};

use super::documents::binary;
use super::names::{account, key_range, update_account};
use crate::codes::oid;
use crate::counters::{Additions, Stripe, update_all};
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::files::collect;
use crate::schema::{MAILBOXES, METADATA};

type Result<T> = std::result::Result<T, StoreError>;

/// An annotation's document: all of a mailbox or user stand together.
pub(crate) fn document(of: oid::ObjectId, entry: &MetadataEntry) -> Document {
    doc! { "_id": format!("{of}:{}", entry.name), "name": &entry.name, "value": binary(entry.value.to_vec()) }
}

pub(crate) fn entry(document: &Document) -> Option<MetadataEntry> {
    let name = document.get_str("name").ok()?.to_owned();
    let value = Bytes::copy_from_slice(document.get_binary_generic("value").ok()?);
    Some(MetadataEntry { name, value })
}

pub(crate) async fn read(engine: &Engine, of: oid::ObjectId) -> Result<Vec<MetadataEntry>> {
    let annotations = engine.collection::<Document>(METADATA);
    let found = engine.call(collect(annotations.find(doc! { "_id": key_range(of) }))).await?;
    let mut entries: Vec<MetadataEntry> = found.iter().filter_map(entry).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

pub(crate) async fn metadata(engine: &Engine, user: UserId, mailbox: Option<MailboxId>) -> Result<Vec<MetadataEntry>> {
    if let Some(mailbox) = mailbox {
        let found = super::read::by_id(engine, mailbox).await?;
        if found.is_none_or(|mailbox| mailbox.user != oid(user)) {
            return Err(super::ledger::missing(oid(mailbox)));
        }
    }
    read(engine, oid(mailbox.unwrap_or(user))).await
}

pub(crate) async fn set(
    engine: &Engine,
    user: UserId,
    mailbox: Option<MailboxId>,
    entries: Vec<(String, Option<Bytes>)>,
) -> Result<()> {
    let mut work = Set { user: oid(user), mailbox: mailbox.map(oid), entries: &entries };
    engine.transaction(&mut work).await.map_err(Failure::into_error)?;
    engine.notices.tell_mailboxes([MailboxChange::Mailboxes { user }]);
    Ok(())
}

struct Set<'a> {
    user: oid::ObjectId,
    mailbox: Option<oid::ObjectId>,
    entries: &'a [(String, Option<Bytes>)],
}

impl Work for Set<'_> {
    type Output = ();

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<(), Failure> {
        let of = self.mailbox.unwrap_or(self.user);
        let mut count = match self.mailbox {
            Some(mailbox) => {
                let filter = doc! { "_id": mailbox, "user": self.user };
                let mailboxes = engine.collection::<super::MailboxDocument>(MAILBOXES);
                let found = mailboxes.find_one(filter).session(&mut *session).await?;
                found.ok_or_else(|| super::ledger::missing(mailbox))?.annotations
            }
            None => account(engine, session, self.user).await?.annotations,
        };
        let collection = engine.collection::<Document>(METADATA);
        for (name, value) in self.entries {
            let filter = doc! { "_id": format!("{of}:{name}") };
            let removed = collection.delete_one(filter).session(&mut *session).await?.deleted_count;
            count -= i64::try_from(removed).unwrap_or(0);
            if let Some(value) = value {
                let entry = MetadataEntry { name: name.clone(), value: value.clone() };
                collection.insert_one(document(of, &entry)).session(&mut *session).await?;
                count += 1;
            }
        }
        if usize::try_from(count).is_ok_and(|count| count > METADATA_ENTRIES_MAX) {
            let text =
                format!("{METADATA_ENTRIES_MAX} annotations are kept of a mailbox, and of a user's mail, at most");
            return Err(StoreError::Limit(text).into());
        }
        let update = doc! { "$set": { "annotations": count }, "$inc": { "annotated": 1_i64 } };
        match self.mailbox {
            Some(mailbox) => {
                update_all(engine, session, MAILBOXES, vec![doc! { "q": { "_id": mailbox }, "u": update }]).await?;
            }
            None => update_account(engine, session, self.user, update).await?,
        }
        Additions::default().write(engine, session, stripe).await
    }
}
