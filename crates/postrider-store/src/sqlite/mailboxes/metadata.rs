//! What is noted of mailboxes.

use bytes::Bytes;
use rusqlite::Connection;

use super::{names, read};
use crate::error::StoreError;
use crate::records::*;
use crate::sqlite::batch::Batch;
use crate::sqlite::failure::Failure;
use crate::traits::METADATA_ENTRIES_MAX;

/// Stands for all of a user's mail where a mailbox's number would be.
pub(super) const ALL_MAIL: i64 = 0;

pub(super) fn get(
    connection: &Connection,
    user: UserId,
    mailbox: Option<MailboxId>,
) -> Result<Vec<MetadataEntry>, StoreError> {
    all(connection, user, number(connection, user, mailbox)?)
}

pub(super) fn all(connection: &Connection, user: UserId, number: i64) -> Result<Vec<MetadataEntry>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT name, value FROM metadata WHERE user = ?1 AND mailbox = ?2 ORDER BY name")?;
    let entries = statement.query_map((user.as_bytes(), number), |row| {
        Ok(MetadataEntry { name: row.get(0)?, value: row.get::<_, Vec<u8>>(1)?.into() })
    })?;
    Ok(entries.collect::<Result<_, _>>()?)
}

pub(super) fn set(
    batch: &mut Batch<'_>,
    user: UserId,
    mailbox: Option<MailboxId>,
    entries: &[(String, Option<Bytes>)],
) -> Result<(), Failure> {
    let connection = batch.connection;
    names::require_user(connection, user)?;
    let number = number(connection, user, mailbox).map_err(Failure::Refused)?;
    for (name, value) in entries {
        match value {
            Some(value) => insert(connection, user, number, name, value)?,
            None => {
                connection
                    .prepare_cached("DELETE FROM metadata WHERE user = ?1 AND mailbox = ?2 AND name = ?3")?
                    .execute((user.as_bytes(), number, name))?;
            }
        }
    }
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM metadata WHERE user = ?1 AND mailbox = ?2")?
        .query_row((user.as_bytes(), number), |row| row.get(0))?;
    if usize::try_from(count).is_ok_and(|count| count > METADATA_ENTRIES_MAX) {
        let error = format!("a mailbox has {METADATA_ENTRIES_MAX} annotations at most");
        return Err(Failure::Undo(StoreError::Limit(error)));
    }
    batch.mailboxes.tell(MailboxChange::Mailboxes { user });
    Ok(())
}

pub(super) fn insert(
    connection: &Connection,
    user: UserId,
    number: i64,
    name: &str,
    value: &[u8],
) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR REPLACE INTO metadata VALUES (?1, ?2, ?3, ?4)")?.execute((
        user.as_bytes(),
        number,
        name,
        value,
    ))?;
    Ok(())
}

fn number(connection: &Connection, user: UserId, mailbox: Option<MailboxId>) -> Result<i64, StoreError> {
    let Some(id) = mailbox else { return Ok(ALL_MAIL) };
    let found = read::by_id(connection, id)?.filter(|found| found.record.user == user);
    found.map(|found| found.number).ok_or_else(|| StoreError::Missing(format!("mailbox {id}")))
}
