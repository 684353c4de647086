//! The suppression list.

use async_trait::async_trait;
use postrider_core::Address;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::batch::Batch;
use super::checkpoint::ROWS_BYTES;
use super::failure::{Failure, corrupt};
use super::{Result, SqliteStore, codes, users};
use crate::records::{Change, Suppression, SuppressionFilter, SuppressionPage};
use crate::traits::Suppressions;

const COLUMNS: &str = "address, reason, email, text, created_at";

/// What a list is restricted to. `instr` knows no wildcards.
const MATCHES: &str = "(?1 IS NULL OR instr(key, ?1) > 0) AND (?2 IS NULL OR reason = ?2)";

#[async_trait]
impl Suppressions for SqliteStore {
    async fn suppress(&self, suppressions: Vec<Suppression>) -> Result<usize> {
        let bytes = ROWS_BYTES * suppressions.len();
        self.writer.write(bytes, move |batch| add(batch, &suppressions)).await
    }

    async fn suppressed(&self, addresses: &[Address]) -> Result<Vec<Option<Suppression>>> {
        let keys: Vec<String> = addresses.iter().map(users::key).collect();
        self.read_small(move |connection| keys.iter().map(|key| find(connection, key)).collect()).await
    }

    async fn suppressions(&self, filter: &SuppressionFilter, page: u64, limit: u64) -> Result<SuppressionPage> {
        let filter = filter.clone();
        self.read(move |connection| list(connection, &filter, page, limit)).await
    }

    async fn unsuppress(&self, address: &Address) -> Result<bool> {
        let key = users::key(address);
        let removed = self.writer.write(ROWS_BYTES, move |batch| {
            let sql = "DELETE FROM suppressions WHERE key = ?1";
            let is_removed = batch.connection.prepare_cached(sql)?.execute([&key])? > 0;
            if is_removed {
                batch.tell(Change::Suppressions);
            }
            Ok(is_removed)
        });
        removed.await
    }
}

/// Lists those that are not listed. Returns how many.
pub(super) fn add(batch: &mut Batch<'_>, suppressions: &[Suppression]) -> std::result::Result<usize, Failure> {
    let mut added = 0;
    for Suppression { address, reason, email, text, created_at } in suppressions {
        added += batch
            .connection
            .prepare_cached(
                "INSERT INTO suppressions (key, address, reason, email, text, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                users::key(address),
                users::shown(address),
                reason.as_str(),
                email.as_ref().map(|email| email.as_bytes()),
                text,
                created_at.as_millis(),
            ])?;
    }
    if added > 0 {
        batch.tell(Change::Suppressions);
    }
    Ok(added)
}

fn find(connection: &Connection, key: &str) -> Result<Option<Suppression>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM suppressions WHERE key = ?1"))?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(suppression).transpose()
}

fn list(connection: &Connection, filter: &SuppressionFilter, page: u64, limit: u64) -> Result<SuppressionPage> {
    let transaction = connection.unchecked_transaction()?;
    let query = filter.query.as_ref().map(|query| query.to_ascii_lowercase());
    let reason = filter.reason.map(|reason| reason.as_str());
    let total: i64 = transaction
        .prepare_cached(&format!("SELECT count(*) FROM suppressions WHERE {MATCHES}"))?
        .query_row(params![query, reason], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let skipped = page.saturating_sub(1).saturating_mul(limit);
    let (limit, skipped) = (i64::try_from(limit).unwrap_or(i64::MAX), i64::try_from(skipped).unwrap_or(i64::MAX));
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM suppressions WHERE {MATCHES} ORDER BY created_at DESC, key DESC LIMIT ?3 OFFSET ?4"
    ))?;
    let mut rows = statement.query(params![query, reason, limit, skipped])?;
    let mut suppressions = Vec::new();
    while let Some(row) = rows.next()? {
        suppressions.push(suppression(row)?);
    }
    Ok(SuppressionPage { suppressions, total: u64::try_from(total).unwrap_or(0) })
}

fn suppression(row: &Row<'_>) -> Result<Suppression> {
    let (address, reason): (String, String) = (row.get(0)?, row.get(1)?);
    Ok(Suppression {
        address: codes::address(&address)?,
        reason: reason.parse().map_err(corrupt)?,
        email: row.get::<_, Option<[u8; 12]>>(2)?.map(codes::id),
        text: row.get(3)?,
        created_at: codes::timestamp(row.get(4)?),
    })
}
