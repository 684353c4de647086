//! Reading mailboxes: their records, all that is in one, what changed in it, and what is kept of its messages.

use bytes::Bytes;
use postrider_core::ObjectId;
use postrider_core::mailbox::{Keyword, MailboxName, UidSet};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::entries;
use crate::error::StoreError;
use crate::records::*;
use crate::sqlite::failure::corrupt;
use crate::sqlite::{codes, record, sequence};

const COLUMNS: &str = "number, id, user, name, special_use, uid_validity, uid_next, modseq, keywords, messages, unseen,
    deleted, bytes, deleted_bytes, created_at, recent_from, expunged_since";

/// A mailbox's row.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) number: i64,
    pub(super) record: MailboxRecord,
    pub(super) expunged_since: Modseq,
}

pub(super) fn all(connection: &Connection, user: UserId) -> Result<Vec<Found>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM mailboxes WHERE user = ?1 ORDER BY name"))?;
    let mut rows = statement.query([user.as_bytes()])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(found(row)?);
    }
    Ok(all)
}

/// The mailboxes of a user.
pub(super) fn ids(connection: &Connection, user: UserId) -> Result<Vec<MailboxId>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM mailboxes WHERE user = ?1")?;
    let ids = statement.query_map([user.as_bytes()], |row| Ok(codes::id(row.get(0)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

pub(super) fn by_name(connection: &Connection, user: UserId, name: &MailboxName) -> Result<Option<Found>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM mailboxes WHERE user = ?1 AND name = ?2"))?;
    let mut rows = statement.query((user.as_bytes(), name.as_str()))?;
    rows.next()?.map(found).transpose()
}

pub(super) fn by_id(connection: &Connection, id: MailboxId) -> Result<Option<Found>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM mailboxes WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_bytes()])?;
    rows.next()?.map(found).transpose()
}

pub(super) fn open(connection: &Connection, id: MailboxId) -> Result<Option<OpenMailbox>, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let Some(found) = by_id(&transaction, id)? else { return Ok(None) };
    let entries = entries::changed_since(&transaction, found.number, None, found.record.counts.messages)?;
    Ok(Some(OpenMailbox { record: found.record, entries }))
}

/// Up to so many messages a mailbox's changes are read on the task that asks: some hundred rows are passed over.
const SMALL_MESSAGES_MAX: u64 = 20_000;

/// As [`delta`], where that does not take long; `None` where it might.
pub(super) fn delta_small(
    connection: &Connection,
    id: MailboxId,
    since: Modseq,
) -> Result<Option<Option<MailboxDelta>>, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let Some(found) = by_id(&transaction, id)? else { return Ok(Some(None)) };
    if found.record.counts.messages > SMALL_MESSAGES_MAX {
        return Ok(None);
    }
    delta_of(&transaction, found, since).map(|delta| Some(Some(delta)))
}

pub(super) fn delta(connection: &Connection, id: MailboxId, since: Modseq) -> Result<Option<MailboxDelta>, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    by_id(&transaction, id)?.map(|found| delta_of(&transaction, found, since)).transpose()
}

fn delta_of(transaction: &Connection, found: Found, since: Modseq) -> Result<MailboxDelta, StoreError> {
    if since >= found.record.highest_modseq {
        let (changed, expunged) = (Vec::new(), UidSet::new());
        return Ok(MailboxDelta { record: found.record, changed, expunged, is_complete: true });
    }
    let changed = entries::changed_since(transaction, found.number, Some(since), 0)?;
    let expunged = expunged_since(transaction, found.number, since)?;
    let ranges = expunged.iter().flat_map(|(_, uids)| uids.ranges()).copied();
    Ok(MailboxDelta {
        expunged: UidSet::from_ranges(ranges),
        is_complete: since >= found.expunged_since,
        record: found.record,
        changed,
    })
}

/// What is remembered of expunged UIDs after a modseq, by modseq.
pub(super) fn expunged_since(
    connection: &Connection,
    mailbox: i64,
    since: Modseq,
) -> Result<Vec<(Modseq, UidSet)>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT modseq, uids FROM expunged WHERE mailbox = ?1 AND modseq > ?2 ORDER BY modseq")?;
    let mut rows = statement.query((mailbox, i64::try_from(since).unwrap_or(i64::MAX)))?;
    let mut expunged = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let uid = |bytes: &[u8]| bytes.iter().fold(0, |uid, byte| uid << 8 | u32::from(*byte));
        let ranges = bytes.chunks_exact(8).map(|range| (uid(&range[..4]), uid(&range[4..])));
        expunged.push((row.get::<_, i64>(0)? as u64, UidSet::from_ranges(ranges)));
    }
    Ok(expunged)
}

/// The first UID that is recent, and whether there are any from it on.
pub(super) fn recent(connection: &Connection, id: MailboxId) -> Result<Option<(u32, bool)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT recent_from, uid_next FROM mailboxes WHERE id = ?1")?;
    let recent = statement.query_row([id.as_bytes()], |row| {
        let (from, next): (u32, u32) = (row.get(0)?, row.get(1)?);
        Ok((from, from < next))
    });
    Ok(recent.optional()?)
}

pub(super) fn digests(connection: &Connection, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let mut statement =
        transaction.prepare_cached("SELECT content FROM digests WHERE seq BETWEEN ?1 AND ?2 AND id = ?3")?;
    let mut digests = Vec::with_capacity(emails.len());
    for &email in emails {
        let (first, last) = sequence::slots(email);
        let mut rows = statement.query((first, last, email.as_bytes()))?;
        digests.push(match rows.next()? {
            Some(row) => Some(Bytes::copy_from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)),
            None => None,
        });
    }
    Ok(digests)
}

pub(super) fn messages(connection: &Connection, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    emails.iter().map(|&email| Ok(record::stored(&transaction, email)?.map(|message| message.raw))).collect()
}

/// All messages in all mailboxes of a user.
pub(super) fn usage(connection: &Connection, user: UserId) -> Result<Usage, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT coalesce(sum(bytes), 0), coalesce(sum(messages), 0) FROM mailboxes WHERE user = ?1")?;
    let usage = statement.query_row([user.as_bytes()], |row| {
        let (bytes, messages): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Usage { bytes: bytes as u64, messages: messages as u64 })
    });
    Ok(usage?)
}

/// The quota in this column and the next.
pub(in crate::sqlite) fn quota(row: &Row<'_>, column: usize) -> rusqlite::Result<Quota> {
    let limit = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(|limit| limit as u64));
    Ok(Quota { bytes: limit(column)?, messages: limit(column + 1)? })
}

pub(super) fn keywords(row: &Row<'_>, column: usize) -> Result<Vec<Keyword>, StoreError> {
    let text = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
    text.split_ascii_whitespace().map(|keyword| keyword.parse().map_err(corrupt)).collect()
}

/// Keywords have no spaces in them.
pub(super) fn keywords_text(keywords: &[Keyword]) -> String {
    keywords.iter().map(Keyword::as_str).collect::<Vec<_>>().join(" ")
}

fn found(row: &Row<'_>) -> Result<Found, StoreError> {
    let count = |column| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(column)? as u64) };
    let special_use: Option<String> = row.get(4)?;
    let record = MailboxRecord {
        id: codes::id(row.get(1)?),
        user: codes::id(row.get(2)?),
        name: MailboxName::parse(row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?).map_err(corrupt)?,
        special_use: special_use.map(|text| text.parse().map_err(corrupt)).transpose()?,
        uid_validity: row.get(5)?,
        uid_next: row.get(6)?,
        recent_from: row.get(15)?,
        highest_modseq: count(7)?,
        keywords: keywords(row, 8)?,
        counts: MailboxCounts {
            messages: count(9)?,
            unseen: count(10)?,
            deleted: count(11)?,
            bytes: count(12)?,
            deleted_bytes: count(13)?,
        },
        created_at: codes::timestamp(row.get(14)?),
    };
    Ok(Found { number: row.get(0)?, record, expunged_since: count(16)? })
}
