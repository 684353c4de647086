//! The documents of mailboxes, as they are written and read. What they are for, docs/mongodb.md says.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, doc, oid};
use postrider_core::mailbox::{Flags, Keyword, MailboxName, SpecialUse, UidSet};
use postrider_store::{Entry, MailboxCounts, MailboxRecord, Modseq, Quota, StoreError, Usage};
use serde::{Deserialize, Serialize};

use crate::codes::{id, timestamp};
use crate::failure::corrupt;

/// A mailbox. Whatever changes its entries changes this in the same transaction.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MailboxDocument {
    #[serde(rename = "_id")]
    pub(crate) id: oid::ObjectId,
    pub(crate) user: oid::ObjectId,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) special_use: Option<String>,
    pub(crate) uid_validity: i64,
    pub(crate) uid_next: i64,
    pub(crate) highest_modseq: i64,
    /// See [`postrider_store::Mailboxes::take_recent`].
    pub(crate) recent_from: i64,
    pub(crate) keywords: Vec<String>,
    pub(crate) messages: i64,
    pub(crate) unseen: i64,
    pub(crate) deleted: i64,
    pub(crate) bytes: i64,
    pub(crate) deleted_bytes: i64,
    /// UIDs in the documents of what was expunged.
    pub(crate) expunged_kept: i64,
    /// These documents tell all that was expunged after this modseq.
    pub(crate) expunged_since: i64,
    /// How many annotations it has.
    pub(crate) annotations: i64,
    pub(crate) created_at: DateTime,
}

impl MailboxDocument {
    pub(crate) fn record(&self) -> Result<MailboxRecord, StoreError> {
        let wrong = |what: &str| corrupt(format!("mailbox {}: {what}", self.id));
        let special_use = self.special_use.as_deref().map(str::parse::<SpecialUse>).transpose();
        Ok(MailboxRecord {
            id: id(self.id),
            user: id(self.user),
            name: self.name()?,
            special_use: special_use.map_err(|_| wrong("no such special use"))?,
            uid_validity: u32::try_from(self.uid_validity).map_err(|_| wrong("no UIDVALIDITY"))?,
            uid_next: u32::try_from(self.uid_next).map_err(|_| wrong("no UIDNEXT"))?,
            recent_from: u32::try_from(self.recent_from).unwrap_or(u32::MAX),
            highest_modseq: modseq(self.highest_modseq),
            keywords: self.keywords()?,
            counts: MailboxCounts {
                messages: positive(self.messages),
                unseen: positive(self.unseen),
                deleted: positive(self.deleted),
                bytes: positive(self.bytes),
                deleted_bytes: positive(self.deleted_bytes),
            },
            created_at: timestamp(self.created_at),
        })
    }

    pub(crate) fn name(&self) -> Result<MailboxName, StoreError> {
        MailboxName::parse(&self.name).map_err(|error| corrupt(format!("mailbox {}: {error}", self.id)))
    }

    pub(crate) fn keywords(&self) -> Result<Vec<Keyword>, StoreError> {
        let parse = |text: &String| text.parse::<Keyword>();
        let keywords: Result<_, _> = self.keywords.iter().map(parse).collect();
        keywords.map_err(|error| corrupt(format!("mailbox {}: {error}", self.id)))
    }
}

/// What a user keeps, and may keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccountDocument {
    /// The user's id.
    #[serde(rename = "_id")]
    pub(crate) user: oid::ObjectId,
    pub(crate) quota: QuotaDocument,
    pub(crate) bytes: i64,
    pub(crate) messages: i64,
    /// How many of each the user has.
    pub(crate) mailboxes: i64,
    pub(crate) subscriptions: i64,
    pub(crate) annotations: i64,
    /// Greater than that of each mailbox that there ever was.
    pub(crate) uid_validity_next: i64,
}

impl AccountDocument {
    pub(crate) fn usage(&self) -> Usage {
        Usage { bytes: positive(self.bytes), messages: positive(self.messages) }
    }
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QuotaDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    messages: Option<i64>,
}

impl From<Quota> for QuotaDocument {
    fn from(quota: Quota) -> Self {
        // What is more than any disk holds is as good as the most that a number here can be.
        let clipped = |max: Option<u64>| max.map(|max| i64::try_from(max).unwrap_or(i64::MAX));
        Self { bytes: clipped(quota.bytes), messages: clipped(quota.messages) }
    }
}

impl From<QuotaDocument> for Quota {
    fn from(document: QuotaDocument) -> Self {
        Self { bytes: document.bytes.map(positive), messages: document.messages.map(positive) }
    }
}

/// A message in a mailbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryDocument {
    /// Of mailbox and UID ([`entry_key`]).
    #[serde(rename = "_id")]
    pub(crate) key: String,
    pub(crate) mailbox: oid::ObjectId,
    pub(crate) modseq: i64,
    /// The bits of [`Flags`].
    pub(crate) flags: i64,
    /// While it has the flag: the index of what an expunge takes has just these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) is_deleted: Option<bool>,
    pub(crate) email: oid::ObjectId,
    pub(crate) size: i64,
    pub(crate) internal_date: DateTime,
    pub(crate) saved_at: DateTime,
}

impl EntryDocument {
    pub(crate) fn uid(&self) -> u32 {
        self.key.rsplit_once(':').and_then(|(_, uid)| u32::from_str_radix(uid, 16).ok()).unwrap_or(0)
    }

    pub(crate) fn flags(&self) -> Flags {
        bits(self.flags)
    }

    pub(crate) fn entry(&self) -> Entry {
        Entry {
            uid: self.uid(),
            modseq: modseq(self.modseq),
            flags: self.flags(),
            email: id(self.email),
            size: u32::try_from(self.size).unwrap_or(u32::MAX),
            internal_date: timestamp(self.internal_date),
            saved_at: timestamp(self.saved_at),
        }
    }
}

/// What one commit expunged from a mailbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExpungedDocument {
    /// Of mailbox and modseq ([`expunged_key`]).
    #[serde(rename = "_id")]
    pub(crate) key: String,
    pub(crate) modseq: i64,
    pub(crate) count: i64,
    /// First and last of each range, four bytes each, the highest first.
    uids: Binary,
}

impl ExpungedDocument {
    pub(crate) fn new(mailbox: oid::ObjectId, modseq: i64, uids: &UidSet) -> Self {
        let numbers = uids.ranges().iter().flat_map(|(first, last)| [*first, *last]);
        Self {
            key: expunged_key(mailbox, modseq),
            modseq,
            count: i64::try_from(uids.len()).unwrap_or(i64::MAX),
            uids: binary(numbers.flat_map(u32::to_be_bytes).collect()),
        }
    }

    pub(crate) fn uids(&self) -> impl Iterator<Item = (u32, u32)> {
        let (ranges, _) = self.uids.bytes.as_chunks::<8>();
        ranges.iter().map(|range| {
            let [a, b, c, d, e, f, g, h] = *range;
            (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
        })
    }
}

/// What mailboxes and lists need of a stored message, and what keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DigestDocument {
    /// The e-mail's.
    #[serde(rename = "_id")]
    pub(crate) email: oid::ObjectId,
    /// Entries of mailboxes that refer to it.
    pub(crate) references: i64,
    pub(crate) is_listed: bool,
    pub(crate) stays_on_record: bool,
    /// Whether contents of it are in GridFS.
    pub(crate) has_files: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Binary>,
}

/// Keys of a mailbox's entries stand together, in the order of UIDs.
pub(crate) fn entry_key(mailbox: oid::ObjectId, uid: u32) -> String {
    format!("{mailbox}:{uid:08x}")
}

/// The entries of a mailbox with UIDs from `first` to `last`.
pub(crate) fn entry_range(mailbox: oid::ObjectId, first: u32, last: u32) -> Document {
    doc! { "$gte": entry_key(mailbox, first), "$lte": entry_key(mailbox, last) }
}

/// Keys of what was expunged from a mailbox stand together, in the order of modseqs.
pub(crate) fn expunged_key(mailbox: oid::ObjectId, modseq: i64) -> String {
    format!("{mailbox}:{modseq:016x}")
}

/// What was expunged from a mailbox after a modseq.
pub(crate) fn expunged_after(mailbox: oid::ObjectId, modseq: i64) -> Document {
    doc! { "$gt": expunged_key(mailbox, modseq), "$lte": expunged_key(mailbox, i64::MAX) }
}

pub(crate) fn binary(bytes: Vec<u8>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes }
}

pub(crate) fn bits(flags: i64) -> Flags {
    Flags::from_bits(flags as u64)
}

pub(crate) fn modseq(number: i64) -> Modseq {
    positive(number)
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_expunged_comes_back() {
        let uids = UidSet::from_ranges([(1, 3), (7, 7), (4_000_000_000, u32::MAX)]);
        let document = ExpungedDocument::new(oid::ObjectId::new(), 7, &uids);
        assert_eq!(UidSet::from_ranges(document.uids()), uids);
        assert_eq!(document.count as u64, uids.len());
    }

    #[test]
    fn keys_are_in_the_order_of_uids() {
        let mailbox = oid::ObjectId::new();
        let key = |uid| entry_key(mailbox, uid);
        assert!(key(1) < key(255) && key(255) < key(256) && key(256) < key(u32::MAX));
    }
}
