//! The audit log.

use async_trait::async_trait;
use postrider_core::Timestamp;
use rusqlite::{Connection, Row, params};

use super::checkpoint::ROWS_BYTES;
use super::failure::corrupt;
use super::{Result, SqliteStore, codes};
use crate::records::{AuditActor, AuditConclusion, AuditEntry, AuditFilter, AuditId, AuditPage};
use crate::traits::AuditLog;

const COLUMNS: &str = "id, at, actor, token, peer, action, target, outcome, details";

/// What a list is restricted to. `instr` knows no wildcards.
const MATCHES: &str = "(?1 IS NULL OR instr(lower(actor), ?1) > 0 OR lower(hex(token)) = ?1)
    AND (?2 IS NULL OR action = ?2 OR substr(action, 1, length(?2) + 1) = ?2 || '.')
    AND (?3 IS NULL OR instr(lower(target), ?3) > 0)
    AND at >= ?4 AND at < ?5";

#[async_trait]
impl AuditLog for SqliteStore {
    async fn audit(&self, entries: Vec<AuditEntry>) -> Result<usize> {
        let bytes = entries.iter().map(|entry| ROWS_BYTES + entry.details.as_ref().map_or(0, String::len)).sum();
        let written = self.writer.write(bytes, move |batch| {
            let sql = format!(
                "INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING"
            );
            let mut written = 0;
            for entry in &entries {
                written += batch.connection.prepare_cached(&sql)?.execute(params![
                    entry.id.as_bytes(),
                    entry.at.as_millis(),
                    entry.actor.name,
                    entry.actor.token.as_ref().map(|token| token.as_bytes()),
                    entry.peer.map(|peer| peer.to_string()),
                    entry.action,
                    entry.target,
                    entry.outcome.map(|outcome| outcome.as_str()),
                    entry.details,
                ])?;
            }
            Ok(written)
        });
        written.await
    }

    async fn conclude_audit(&self, id: AuditId, conclusion: AuditConclusion) -> Result<bool> {
        let bytes = ROWS_BYTES + conclusion.details.as_ref().map_or(0, String::len);
        let concluded = self.writer.write(bytes, move |batch| {
            let sql = "UPDATE audit SET outcome = ?2, target = coalesce(?3, target), details = coalesce(?4, details)
                       WHERE id = ?1";
            let AuditConclusion { outcome, target, details } = &conclusion;
            let changed = batch.connection.prepare_cached(sql)?.execute(params![
                id.as_bytes(),
                outcome.as_str(),
                target,
                details
            ])?;
            Ok(changed > 0)
        });
        concluded.await
    }

    async fn audit_entries(&self, filter: &AuditFilter, page: u64, limit: u64) -> Result<AuditPage> {
        let filter = filter.clone();
        self.read(move |connection| list(connection, &filter, page, limit)).await
    }

    async fn sweep_audit(&self, before: Timestamp, count: usize) -> Result<u64> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let swept = self.writer.write(ROWS_BYTES, move |batch| {
            let sql = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ?1 ORDER BY at LIMIT ?2)";
            Ok(batch.connection.prepare_cached(sql)?.execute(params![before.as_millis(), count])? as u64)
        });
        swept.await
    }
}

fn list(connection: &Connection, filter: &AuditFilter, page: u64, limit: u64) -> Result<AuditPage> {
    let transaction = connection.unchecked_transaction()?;
    let lower = |text: &Option<String>| text.as_ref().map(|text| text.to_ascii_lowercase());
    let (actor, target) = (lower(&filter.actor), lower(&filter.target));
    let from = filter.from.map_or(i64::MIN, Timestamp::as_millis);
    let to = filter.to.map_or(i64::MAX, Timestamp::as_millis);
    let total: i64 = transaction
        .prepare_cached(&format!("SELECT count(*) FROM audit WHERE {MATCHES}"))?
        .query_row(params![actor, filter.action, target, from, to], |row| row.get(0))?;
    let skipped = page.saturating_sub(1).saturating_mul(limit);
    let (limit, skipped) = (i64::try_from(limit).unwrap_or(i64::MAX), i64::try_from(skipped).unwrap_or(i64::MAX));
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM audit WHERE {MATCHES} ORDER BY at DESC, id DESC LIMIT ?6 OFFSET ?7"
    ))?;
    let mut rows = statement.query(params![actor, filter.action, target, from, to, limit, skipped])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(AuditPage { entries, total: u64::try_from(total).unwrap_or(0) })
}

fn entry(row: &Row<'_>) -> Result<AuditEntry> {
    let (peer, outcome): (Option<String>, Option<String>) = (row.get(4)?, row.get(7)?);
    Ok(AuditEntry {
        id: codes::id(row.get(0)?),
        at: codes::timestamp(row.get(1)?),
        actor: AuditActor { name: row.get(2)?, token: row.get::<_, Option<[u8; 12]>>(3)?.map(codes::id) },
        peer: peer.map(|peer| peer.parse()).transpose().map_err(corrupt)?,
        action: row.get(5)?,
        target: row.get(6)?,
        outcome: outcome.map(|outcome| outcome.parse()).transpose().map_err(corrupt)?,
        details: row.get(8)?,
    })
}
