//! The users.

use postrider_core::{Address, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::batch::Batch;
use super::failure::{Failure, corrupt};
use super::mailboxes::{names, read, removal};
use super::{codes, directory};
use crate::error::StoreError;
use crate::records::{Change, MailboxChange, Quota, ScramKeys, User, UserId};

const COLUMNS: &str =
    "address, password_hash, scram_salt, scram_iterations, scram_stored_key, scram_server_key, created_at,
    updated_at, id, quota_bytes, quota_messages, is_enabled";

pub(super) fn add(batch: &mut Batch<'_>, user: &User) -> Result<(), Failure> {
    let (key, shown) = (key(&user.address), shown(&user.address));
    if is_there(batch.connection, &key)? || directory::is_alias(batch.connection, &key)? {
        return Err(Failure::Refused(StoreError::Exists(format!("user {}", user.address))));
    }
    batch
        .connection
        .prepare_cached(
            "INSERT INTO users (key, address, password_hash, scram_salt, scram_iterations, scram_stored_key,
                 scram_server_key, created_at, updated_at, id, quota_bytes, quota_messages, is_enabled)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            key,
            shown,
            user.password_hash,
            user.scram.salt,
            user.scram.iterations,
            user.scram.stored_key,
            user.scram.server_key,
            user.created_at.as_millis(),
            user.updated_at.as_millis(),
            user.id.as_bytes(),
            user.quota.bytes.map(|limit| limit as i64),
            user.quota.messages.map(|limit| limit as i64),
            user.is_enabled,
        ])?;
    names::add_first(batch, user.id, user.created_at).map_err(Failure::undoing)?;
    batch.mailboxes.forget_users();
    batch.tell(Change::Directory);
    Ok(())
}

pub(super) fn find(connection: &Connection, address: &Address) -> Result<Option<User>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM users WHERE key = ?1"))?;
    let mut rows = statement.query([key(address)])?;
    rows.next()?.map(user).transpose()
}

pub(super) fn all(connection: &Connection) -> Result<Vec<User>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM users ORDER BY key"))?;
    let mut rows = statement.query([])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        users.push(user(row)?);
    }
    Ok(users)
}

pub(super) fn set_password(
    batch: &mut Batch<'_>,
    address: &Address,
    password_hash: &str,
    scram: &ScramKeys,
    now: Timestamp,
) -> Result<bool, Failure> {
    let changed = batch
        .connection
        .prepare_cached(
            "UPDATE users SET password_hash = ?2, scram_salt = ?3, scram_iterations = ?4, scram_stored_key = ?5,
                 scram_server_key = ?6, updated_at = ?7
             WHERE key = ?1",
        )?
        .execute(params![
            key(address),
            password_hash,
            scram.salt,
            scram.iterations,
            scram.stored_key,
            scram.server_key,
            now.as_millis(),
        ])?;
    if changed > 0 {
        batch.tell(Change::Directory);
    }
    Ok(changed > 0)
}

pub(super) fn set_quota(
    batch: &mut Batch<'_>,
    address: &Address,
    quota: Quota,
    now: Timestamp,
) -> Result<bool, Failure> {
    let changed = batch
        .connection
        .prepare_cached("UPDATE users SET quota_bytes = ?2, quota_messages = ?3, updated_at = ?4 WHERE key = ?1")?
        .execute(params![
            key(address),
            quota.bytes.map(|limit| limit as i64),
            quota.messages.map(|limit| limit as i64),
            now.as_millis(),
        ])?;
    if changed > 0 {
        batch.mailboxes.forget_users();
        batch.tell(Change::Directory);
    }
    Ok(changed > 0)
}

pub(super) fn set_enabled(
    batch: &mut Batch<'_>,
    address: &Address,
    is_enabled: bool,
    now: Timestamp,
) -> Result<bool, Failure> {
    let changed = batch
        .connection
        .prepare_cached("UPDATE users SET is_enabled = ?2, updated_at = ?3 WHERE key = ?1")?
        .execute(params![key(address), is_enabled, now.as_millis()])?;
    if changed > 0 {
        batch.tell(Change::Directory);
    }
    Ok(changed > 0)
}

/// Removes a user; what is in the mailboxes goes in parts.
pub(super) fn remove(batch: &mut Batch<'_>, address: &Address) -> Result<bool, Failure> {
    let connection = batch.connection;
    let removed: Option<[u8; 12]> = connection
        .prepare_cached("DELETE FROM users WHERE key = ?1 RETURNING id")?
        .query_row([key(address)], |row| row.get(0))
        .optional()?;
    let Some(id) = removed else { return Ok(false) };
    let user = UserId::from_bytes(id);
    removal::detach_all(batch, user)?;
    for sql in ["DELETE FROM subscriptions WHERE user = ?1", "DELETE FROM metadata WHERE user = ?1"] {
        connection.prepare_cached(sql)?.execute([id])?;
    }
    batch.mailboxes.forget_users();
    batch.mailboxes.tell(MailboxChange::Mailboxes { user });
    batch.tell(Change::Directory);
    Ok(true)
}

/// Whether there is a user of this address.
pub(super) fn is_there(connection: &Connection, key: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM users WHERE key = ?1")?.exists([key])
}

/// The address as it is looked up: without the case of ASCII letters, and with one spelling of the domain.
pub(super) fn key(address: &Address) -> String {
    format!("{}@{}", address.local_part().to_ascii_lowercase(), address.domain())
}

/// The address as it is shown: the domain in lower case.
pub(super) fn shown(address: &Address) -> String {
    format!("{}@{}", address.local_part(), address.domain_text().to_ascii_lowercase())
}

fn user(row: &Row<'_>) -> Result<User, StoreError> {
    let address: String = row.get(0)?;
    let iterations: i64 = row.get(3)?;
    Ok(User {
        id: codes::id(row.get(8)?),
        quota: read::quota(row, 9)?,
        is_enabled: row.get(11)?,
        address: codes::address(&address)?,
        password_hash: row.get(1)?,
        scram: ScramKeys {
            salt: row.get(2)?,
            iterations: u32::try_from(iterations).map_err(corrupt)?,
            stored_key: row.get(4)?,
            server_key: row.get(5)?,
        },
        created_at: codes::timestamp(row.get(6)?),
        updated_at: codes::timestamp(row.get(7)?),
    })
}
