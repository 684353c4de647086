//! Mailboxes that go: their rows first, then their entries in parts, so that however many these are others can write
//! meanwhile. What a crash or a dropped call leaves over goes with the next removal, or when the store is opened.

use std::sync::Arc;

use rusqlite::OptionalExtension as _;

use super::touched::Slot;
use super::{entries, expunge, read};
use crate::records::{MailboxChange, UserId};
use crate::sqlite::Result;
use crate::sqlite::batch::Batch;
use crate::sqlite::checkpoint::ROWS_BYTES;
use crate::sqlite::failure::Failure;
use crate::sqlite::writer::Writer;

/// Rows of entries that go in one part.
const PART_CHUNKS: usize = 8;

/// Takes a mailbox out of its user's; the entries are left over.
pub(in crate::sqlite) fn detach(batch: &mut Batch<'_>, slot: Slot) -> std::result::Result<(), Failure> {
    batch.mailboxes.settle(slot)?;
    let mailbox = &batch.mailboxes[slot];
    let (number, user, id) = (mailbox.number, mailbox.user, mailbox.id);
    let connection = batch.connection;
    connection.prepare_cached("INSERT INTO removed_mailboxes VALUES (?1)")?.execute([number])?;
    connection.prepare_cached("DELETE FROM mailboxes WHERE number = ?1")?.execute([number])?;
    connection
        .prepare_cached("DELETE FROM metadata WHERE user = ?1 AND mailbox = ?2")?
        .execute((user.as_bytes(), number))?;
    batch.mailboxes.forget(slot);
    batch.mailboxes.tell(MailboxChange::Messages { user, mailbox: id });
    Ok(())
}

/// Takes all mailboxes from a user.
pub(in crate::sqlite) fn detach_all(batch: &mut Batch<'_>, user: UserId) -> std::result::Result<(), Failure> {
    for id in read::ids(batch.connection, user)? {
        if let Some(slot) = batch.mailboxes.find(id)? {
            detach(batch, slot)?;
        }
    }
    Ok(())
}

/// Takes away a part of what is left over. Returns whether there is more.
pub(in crate::sqlite) fn purge_part(batch: &mut Batch<'_>) -> std::result::Result<bool, Failure> {
    let connection = batch.connection;
    let number: Option<i64> = connection
        .prepare_cached("SELECT number FROM removed_mailboxes LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(number) = number else { return Ok(false) };
    let (first, last) = entries::keys(number);
    let chunks = entries::read(connection, first, last, PART_CHUNKS)?;
    for chunk in &chunks {
        for stored in chunk.entries() {
            expunge::release(batch, stored.seq, 1)?;
        }
        connection.prepare_cached("DELETE FROM entries WHERE chunk = ?1")?.execute([chunk.key])?;
    }
    if chunks.len() < PART_CHUNKS {
        connection.prepare_cached("DELETE FROM expunged WHERE mailbox = ?1")?.execute([number])?;
        connection.prepare_cached("DELETE FROM removed_mailboxes WHERE number = ?1")?.execute([number])?;
    }
    Ok(true)
}

/// Takes away all that is left over.
pub(in crate::sqlite) async fn purge(writer: &Writer) -> Result<()> {
    while writer.write(ROWS_BYTES * PART_CHUNKS, purge_part).await? {}
    Ok(())
}

/// Begins to take away what is left over; nobody waits for it.
pub(in crate::sqlite) fn purge_by_and_by(writer: &Arc<Writer>) {
    let next = Arc::downgrade(writer);
    let then = move |more| {
        if more && let Some(writer) = next.upgrade() {
            purge_by_and_by(&writer);
        }
    };
    // A writer that is overloaded does it after the next removal.
    let _ = writer.write_then_forget(purge_part, then);
}
