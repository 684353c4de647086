//! A user's mailboxes whole, out of this database and into it.

use postrider_core::mailbox::SpecialUse;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::entries::{self, Chunk, Stored};
use super::touched::insert_expunged;
use super::{expunge, metadata, names, read, removal};
use crate::error::StoreError;
use crate::records::*;
use crate::sqlite::batch::Batch;
use crate::sqlite::failure::Failure;
use crate::sqlite::sequence;

pub(in crate::sqlite) fn export(connection: &Connection, user: UserId) -> Result<StoredMailboxes, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let uid_validity_next = transaction
        .prepare_cached("SELECT uid_validity_next FROM users WHERE id = ?1")?
        .query_row([user.as_bytes()], |row| row.get(0))
        .optional()?;
    let uid_validity_next = uid_validity_next.ok_or_else(|| StoreError::Missing(format!("user {user}")))?;
    let mut mailboxes = Vec::new();
    for found in read::all(&transaction, user)? {
        mailboxes.push(StoredMailbox {
            expunged: read::expunged_since(&transaction, found.number, 0)?,
            expunged_since: found.expunged_since,
            metadata: metadata::all(&transaction, user, found.number)?,
            record: found.record,
        });
    }
    Ok(StoredMailboxes {
        mailboxes,
        subscriptions: names::subscriptions(&transaction, user)?,
        metadata: metadata::all(&transaction, user, metadata::ALL_MAIL)?,
        uid_validity_next,
    })
}

pub(in crate::sqlite) fn import(batch: &mut Batch<'_>, user: UserId, stored: &StoredMailboxes) -> Result<(), Failure> {
    let connection = batch.connection;
    names::require_user(connection, user)?;
    let is_meant = |id| stored.mailboxes.iter().any(|mailbox| mailbox.record.id == id);
    let (mut others, mut kept) = (Vec::new(), Vec::new());
    for id in read::ids(connection, user)? {
        let slot = batch.mailboxes.existing(id)?;
        if is_meant(id) {
            kept.push(slot);
        } else if batch.mailboxes[slot].counts.messages > 0 {
            return Err(Failure::Refused(StoreError::Exists(format!("mail of user {user}"))));
        } else {
            others.push(slot);
        }
    }
    for slot in others {
        removal::detach(batch, slot)?;
    }
    for slot in kept {
        batch.mailboxes.write(slot)?;
    }
    for mailbox in &stored.mailboxes {
        put(connection, user, mailbox)?;
    }
    connection.prepare_cached("DELETE FROM subscriptions WHERE user = ?1")?.execute([user.as_bytes()])?;
    for name in &stored.subscriptions {
        let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO subscriptions VALUES (?1, ?2)")?;
        insert.execute((user.as_bytes(), name.as_str()))?;
    }
    put_metadata(connection, user, metadata::ALL_MAIL, &stored.metadata)?;
    connection
        .prepare_cached("UPDATE users SET uid_validity_next = ?2 WHERE id = ?1")?
        .execute((user.as_bytes(), stored.uid_validity_next))?;
    batch.mailboxes.tell(MailboxChange::Mailboxes { user });
    Ok(())
}

/// Writes a mailbox. The counts of one that is there are of the entries that it has already.
fn put(connection: &Connection, user: UserId, stored: &StoredMailbox) -> Result<(), Failure> {
    let MailboxRecord { id, name, special_use, uid_validity, uid_next, highest_modseq, keywords, created_at, .. } =
        &stored.record;
    let kept: u64 = stored.expunged.iter().map(|(_, uids)| uids.len()).sum();
    let number: i64 = connection
        .prepare_cached(
            "INSERT INTO mailboxes (id, user, name, special_use, uid_validity, uid_next, modseq, keywords, recent_from,
                 expunged_since, expunged_kept, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (id) DO UPDATE SET name = ?3, special_use = ?4, uid_validity = ?5, uid_next = ?6, modseq = ?7,
                 keywords = ?8, recent_from = ?9, expunged_since = ?10, expunged_kept = ?11, created_at = ?12
             RETURNING number",
        )?
        .query_row(
            params![
                id.as_bytes(),
                user.as_bytes(),
                name.as_str(),
                special_use.map(SpecialUse::as_str),
                uid_validity,
                uid_next,
                *highest_modseq as i64,
                read::keywords_text(keywords),
                stored.record.recent_from,
                stored.expunged_since as i64,
                kept as i64,
                created_at.as_millis(),
            ],
            |row| row.get(0),
        )?;
    connection.prepare_cached("DELETE FROM expunged WHERE mailbox = ?1")?.execute([number])?;
    for (modseq, uids) in &stored.expunged {
        insert_expunged(connection, number, *modseq, uids)?;
    }
    put_metadata(connection, user, number, &stored.metadata)
}

fn put_metadata(connection: &Connection, user: UserId, number: i64, entries: &[MetadataEntry]) -> Result<(), Failure> {
    connection
        .prepare_cached("DELETE FROM metadata WHERE user = ?1 AND mailbox = ?2")?
        .execute((user.as_bytes(), number))?;
    for MetadataEntry { name, value } in entries {
        metadata::insert(connection, user, number, name, value)?;
    }
    Ok(())
}

/// Entries of a mailbox by UID, from behind `after` on.
pub(in crate::sqlite) fn export_entries(
    connection: &Connection,
    mailbox: MailboxId,
    after: u32,
    count: usize,
) -> Result<Vec<Entry>, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let Some(found) = read::by_id(&transaction, mailbox)? else {
        return Err(StoreError::Missing(format!("mailbox {mailbox}")));
    };
    let last = entries::keys(found.number).1;
    // Each row has one entry at least, and the first may have none behind `after`.
    let chunks = entries::read(&transaction, entries::key(found.number, after), last, count.saturating_add(1))?;
    let entries = chunks.iter().flat_map(Chunk::entries).map(|stored| stored.entry);
    Ok(entries.filter(|entry| entry.uid > after).take(count).collect())
}

/// Stores entries as they are, but for those whose UID is there. Returns how many are new.
pub(in crate::sqlite) fn import_entries(
    batch: &mut Batch<'_>,
    mailbox: MailboxId,
    entries: &[Entry],
) -> Result<usize, Failure> {
    let connection = batch.connection;
    let slot = batch.mailboxes.existing(mailbox)?;
    batch.mailboxes.settle(slot)?;
    let number = batch.mailboxes[slot].number;
    let (mut new, mut chunk) = (0, None::<Chunk>);
    for entry in entries {
        let Some(seq) = sequence::find(connection, entry.email)? else {
            return Err(Failure::Undo(StoreError::Missing(format!("e-mail {}", entry.email))));
        };
        let key = entries::key(number, entry.uid);
        if chunk.as_ref().is_none_or(|chunk| chunk.key != key) {
            if let Some(chunk) = chunk.take() {
                chunk.write(connection)?;
            }
            chunk = Chunk::read(connection, key)?;
        }
        if chunk.get_or_insert_with(|| Chunk::new(key)).insert(&Stored { entry: *entry, seq }) {
            expunge::refer(batch, seq, 1)?;
            batch.mailboxes.count(slot, entry, 1);
            new += 1;
        }
    }
    if let Some(chunk) = chunk {
        chunk.write(connection)?;
    }
    if new > 0 {
        let change = MailboxChange::Messages { user: batch.mailboxes[slot].user, mailbox };
        batch.mailboxes.tell(change);
    }
    Ok(new)
}
