//! The directory: users, domains and aliases. Users are in a file of their own.

use async_trait::async_trait;
use postrider_core::{Address, Domain, Timestamp};
use rusqlite::{Connection, Row, params};

use super::batch::Batch;
use super::checkpoint::ROWS_BYTES;
use super::failure::Failure;
use super::mailboxes::removal;
use super::{Result, SqliteStore, codes, users};
use crate::error::StoreError;
use crate::records::*;
use crate::traits::Directory;

#[async_trait]
impl Directory for SqliteStore {
    async fn add_user(&self, user: User) -> Result<()> {
        self.writer.write(ROWS_BYTES, move |batch| users::add(batch, &user)).await
    }

    async fn user(&self, address: &Address) -> Result<Option<User>> {
        let address = address.clone();
        self.read_small(move |connection| users::find(connection, &address)).await
    }

    async fn users(&self) -> Result<Vec<User>> {
        self.read(users::all).await
    }

    async fn set_password(
        &self,
        address: &Address,
        password_hash: String,
        scram: ScramKeys,
        now: Timestamp,
    ) -> Result<bool> {
        let address = address.clone();
        self.writer
            .write(ROWS_BYTES, move |batch| users::set_password(batch, &address, &password_hash, &scram, now))
            .await
    }

    async fn set_quota(&self, address: &Address, quota: Quota, now: Timestamp) -> Result<bool> {
        let address = address.clone();
        self.writer.write(ROWS_BYTES, move |batch| users::set_quota(batch, &address, quota, now)).await
    }

    async fn set_enabled(&self, address: &Address, is_enabled: bool, now: Timestamp) -> Result<bool> {
        let address = address.clone();
        self.writer.write(ROWS_BYTES, move |batch| users::set_enabled(batch, &address, is_enabled, now)).await
    }

    async fn remove_user(&self, address: &Address) -> Result<bool> {
        let address = address.clone();
        let is_removed = self.writer.write(ROWS_BYTES, move |batch| users::remove(batch, &address)).await?;
        if is_removed {
            removal::purge(&self.writer).await?;
        }
        Ok(is_removed)
    }

    async fn add_domain(&self, domain: DomainRecord) -> Result<()> {
        self.writer.write(ROWS_BYTES, move |batch| add_domain(batch, &domain)).await
    }

    async fn domain(&self, name: &Domain) -> Result<Option<DomainRecord>> {
        let name = name.clone();
        self.read_small(move |connection| find_domain(connection, &name)).await
    }

    async fn domains(&self) -> Result<Vec<DomainRecord>> {
        self.read(all_domains).await
    }

    async fn set_catch_all(&self, name: &Domain, catch_all: Option<Address>, now: Timestamp) -> Result<bool> {
        let name = name.clone();
        let sql = "UPDATE domains SET catch_all = ?2, updated_at = ?3 WHERE name = ?1";
        let set = self.writer.write(ROWS_BYTES, move |batch| {
            let catch_all = catch_all.as_ref().map(Address::as_str);
            change(batch, sql, params![name.as_str(), catch_all, now.as_millis()])
        });
        set.await
    }

    async fn remove_domain(&self, name: &Domain) -> Result<bool> {
        let name = name.clone();
        let sql = "DELETE FROM domains WHERE name = ?1";
        self.writer.write(ROWS_BYTES, move |batch| change(batch, sql, params![name.as_str()])).await
    }

    async fn add_alias(&self, alias: AliasRecord) -> Result<()> {
        self.writer.write(ROWS_BYTES, move |batch| add_alias(batch, &alias)).await
    }

    async fn set_alias_targets(&self, address: &Address, targets: Vec<Address>, now: Timestamp) -> Result<bool> {
        let (key, targets) = (users::key(address), codes::to_json(&targets)?);
        let sql = "UPDATE aliases SET targets = ?2, updated_at = ?3 WHERE key = ?1";
        self.writer.write(ROWS_BYTES, move |batch| change(batch, sql, params![key, targets, now.as_millis()])).await
    }

    async fn alias(&self, address: &Address) -> Result<Option<AliasRecord>> {
        let key = users::key(address);
        self.read_small(move |connection| find_alias(connection, &key)).await
    }

    async fn aliases(&self) -> Result<Vec<AliasRecord>> {
        self.read(all_aliases).await
    }

    async fn remove_alias(&self, address: &Address) -> Result<bool> {
        let key = users::key(address);
        let sql = "DELETE FROM aliases WHERE key = ?1";
        self.writer.write(ROWS_BYTES, move |batch| change(batch, sql, params![key])).await
    }
}

/// Changes one row; `false` if it is not there.
fn change(batch: &mut Batch<'_>, sql: &str, values: impl rusqlite::Params) -> std::result::Result<bool, Failure> {
    let changed = batch.connection.prepare_cached(sql)?.execute(values)?;
    if changed > 0 {
        batch.tell(Change::Directory);
    }
    Ok(changed > 0)
}

fn add_domain(batch: &mut Batch<'_>, domain: &DomainRecord) -> std::result::Result<(), Failure> {
    let DomainRecord { name, catch_all, created_at, updated_at } = domain;
    let catch_all = catch_all.as_ref().map(Address::as_str);
    let values = params![name.as_str(), catch_all, created_at.as_millis(), updated_at.as_millis()];
    if !change(batch, "INSERT OR IGNORE INTO domains VALUES (?1, ?2, ?3, ?4)", values)? {
        return Err(Failure::Refused(StoreError::Exists(format!("domain {name}"))));
    }
    Ok(())
}

fn find_domain(connection: &Connection, name: &Domain) -> Result<Option<DomainRecord>> {
    let mut statement =
        connection.prepare_cached("SELECT name, catch_all, created_at, updated_at FROM domains WHERE name = ?1")?;
    let mut rows = statement.query([name.as_str()])?;
    rows.next()?.map(domain).transpose()
}

fn all_domains(connection: &Connection) -> Result<Vec<DomainRecord>> {
    let mut statement =
        connection.prepare_cached("SELECT name, catch_all, created_at, updated_at FROM domains ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut domains = Vec::new();
    while let Some(row) = rows.next()? {
        domains.push(domain(row)?);
    }
    Ok(domains)
}

fn domain(row: &Row<'_>) -> Result<DomainRecord> {
    let (name, catch_all): (String, Option<String>) = (row.get(0)?, row.get(1)?);
    Ok(DomainRecord {
        name: codes::domain(&name)?,
        catch_all: catch_all.as_deref().map(codes::address).transpose()?,
        created_at: codes::timestamp(row.get(2)?),
        updated_at: codes::timestamp(row.get(3)?),
    })
}

fn add_alias(batch: &mut Batch<'_>, alias: &AliasRecord) -> std::result::Result<(), Failure> {
    let AliasRecord { address, targets, created_at, updated_at } = alias;
    let key = users::key(address);
    if users::is_there(batch.connection, &key)? {
        return Err(Failure::Refused(StoreError::Exists(format!("user {address}"))));
    }
    let targets = codes::to_json(targets).map_err(Failure::Refused)?;
    let values = params![key, users::shown(address), targets, created_at.as_millis(), updated_at.as_millis()];
    if !change(batch, "INSERT OR IGNORE INTO aliases VALUES (?1, ?2, ?3, ?4, ?5)", values)? {
        return Err(Failure::Refused(StoreError::Exists(format!("alias {address}"))));
    }
    Ok(())
}

fn find_alias(connection: &Connection, key: &str) -> Result<Option<AliasRecord>> {
    let mut statement =
        connection.prepare_cached("SELECT address, targets, created_at, updated_at FROM aliases WHERE key = ?1")?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(alias).transpose()
}

fn all_aliases(connection: &Connection) -> Result<Vec<AliasRecord>> {
    let mut statement =
        connection.prepare_cached("SELECT address, targets, created_at, updated_at FROM aliases ORDER BY key")?;
    let mut rows = statement.query([])?;
    let mut aliases = Vec::new();
    while let Some(row) = rows.next()? {
        aliases.push(alias(row)?);
    }
    Ok(aliases)
}

fn alias(row: &Row<'_>) -> Result<AliasRecord> {
    let (address, targets): (String, String) = (row.get(0)?, row.get(1)?);
    Ok(AliasRecord {
        address: codes::address(&address)?,
        targets: codes::from_json(&targets)?,
        created_at: codes::timestamp(row.get(2)?),
        updated_at: codes::timestamp(row.get(3)?),
    })
}

/// Whether an address is that of an alias.
pub(super) fn is_alias(connection: &Connection, key: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM aliases WHERE key = ?1")?.exists([key])
}
