//! Requests that came with a key.

use async_trait::async_trait;
use postrider_core::Timestamp;
use postrider_core::submission::{RequestKey, RequestPart};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::batch::Batch;
use super::checkpoint::ROWS_BYTES;
use super::failure::Failure;
use super::{Result, SqliteStore, codes};
use crate::error::StoreError;
use crate::records::{NewRequest, RequestRecord};
use crate::traits::Requests;

const COLUMNS: &str = "key, number, fingerprint, at, answer";

#[async_trait]
impl Requests for SqliteStore {
    async fn request(&self, key: RequestKey) -> Result<Vec<RequestRecord>> {
        self.read_small(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM requests WHERE key = ?1 ORDER BY number");
            let mut statement = connection.prepare_cached(&sql)?;
            let records = statement.query_map([key], record)?;
            Ok(records.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn sweep_requests(&self, before: Timestamp, count: usize) -> Result<u64> {
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let swept = self.writer.write(ROWS_BYTES * 4, move |batch| {
            let sql = "DELETE FROM requests WHERE (key, number) IN
                (SELECT key, number FROM requests WHERE at < ?1 ORDER BY at LIMIT ?2)";
            Ok(batch.connection.prepare_cached(sql)?.execute((before.as_millis(), limit))? as u64)
        });
        swept.await
    }
}

/// Refuses a part of a request that was carried out.
pub(super) fn check(batch: &Batch<'_>, request: Option<&NewRequest>) -> std::result::Result<(), Failure> {
    let Some(NewRequest { part, .. }) = request else { return Ok(()) };
    let known = batch
        .connection
        .prepare_cached("SELECT 1 FROM requests WHERE key = ?1 AND number = ?2")?
        .query_row((part.key, part.number), |_| Ok(()))
        .optional()?;
    if known.is_some() { Err(Failure::Refused(StoreError::Exists("the request".to_owned()))) } else { Ok(()) }
}

/// Notes what became of a part of a request.
pub(super) fn add(
    batch: &mut Batch<'_>,
    request: Option<&NewRequest>,
    at: Timestamp,
) -> std::result::Result<(), Failure> {
    if let Some(NewRequest { part, answer }) = request {
        insert(batch, *part, at, answer)?;
    }
    Ok(())
}

fn insert(batch: &Batch<'_>, part: RequestPart, at: Timestamp, answer: &str) -> rusqlite::Result<usize> {
    batch
        .connection
        .prepare_cached("INSERT INTO requests VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")?
        .execute(params![part.key, part.number, part.fingerprint, at.as_millis(), answer])
}

pub(super) fn export(
    connection: &Connection,
    after: Option<(RequestKey, u32)>,
    count: usize,
) -> Result<Vec<RequestRecord>> {
    let (key, number) = after.map_or((Vec::new(), 0), |(key, number)| (key.to_vec(), number));
    let sql = format!("SELECT {COLUMNS} FROM requests WHERE (key, number) > (?1, ?2) ORDER BY key, number LIMIT ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let records = statement.query_map((key, number, i64::try_from(count).unwrap_or(i64::MAX)), record)?;
    Ok(records.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn import(batch: &mut Batch<'_>, requests: &[RequestRecord]) -> std::result::Result<usize, Failure> {
    let mut new = 0;
    for RequestRecord { part, at, answer } in requests {
        new += insert(batch, *part, *at, answer)?;
    }
    Ok(new)
}

fn record(row: &Row<'_>) -> rusqlite::Result<RequestRecord> {
    let part = RequestPart { key: row.get(0)?, number: row.get(1)?, fingerprint: row.get(2)? };
    Ok(RequestRecord { part, at: codes::timestamp(row.get(3)?), answer: row.get(4)? })
}
