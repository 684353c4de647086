//! The users.

use postrider_core::{Address, Timestamp};
use rusqlite::{Connection, Row, params};

use super::batch::Batch;
use super::codes;
use super::failure::{Failure, corrupt};
use crate::error::StoreError;
use crate::records::{Change, Quota, ScramKeys, User, UserId};

const COLUMNS: &str =
    "address, password_hash, scram_salt, scram_iterations, scram_stored_key, scram_server_key, created_at,
    updated_at";

pub(super) fn add(batch: &mut Batch<'_>, user: &User) -> Result<(), Failure> {
    let added = batch
        .connection
        .prepare_cached("INSERT OR IGNORE INTO users VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            key(&user.address),
            format!("{}@{}", user.address.local_part(), user.address.domain_text().to_ascii_lowercase()),
            user.password_hash,
            user.scram.salt,
            user.scram.iterations,
            user.scram.stored_key,
            user.scram.server_key,
            user.created_at.as_millis(),
            user.updated_at.as_millis(),
        ])?;
    if added == 0 {
        return Err(Failure::Refused(StoreError::Exists(format!("user {}", user.address))));
    }
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

pub(super) fn remove(batch: &mut Batch<'_>, address: &Address) -> Result<bool, Failure> {
    let removed = batch.connection.prepare_cached("DELETE FROM users WHERE key = ?1")?.execute([key(address)])?;
    if removed > 0 {
        batch.tell(Change::Directory);
    }
    Ok(removed > 0)
}

/// The address as it is looked up: without the case of ASCII letters, and with one spelling of the domain.
fn key(address: &Address) -> String {
    format!("{}@{}", address.local_part().to_ascii_lowercase(), address.domain())
}

fn user(row: &Row<'_>) -> Result<User, StoreError> {
    let address: String = row.get(0)?;
    let iterations: i64 = row.get(3)?;
    Ok(User {
        id: UserId::default(),
        quota: Quota::default(),
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
