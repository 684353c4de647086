//! The history: what was done when.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use async_trait::async_trait;
use postrider_core::Timestamp;
use postrider_core::history::{AddressTraffic, Step, Traffic};
use rusqlite::{Connection, Row, params};

use super::checkpoint::ROWS_BYTES;
use super::failure::corrupt;
use super::{Result, SqliteStore, codes};
use crate::records::{AddressHistory, AddressPart, TrafficPart, TrafficSpan};
use crate::traits::History;

/// What a row of either table takes, roughly.
const PART_BYTES: usize = 128;

#[async_trait]
impl History for SqliteStore {
    async fn put_history(&self, traffic: Vec<TrafficPart>, addresses: Vec<AddressPart>) -> Result<()> {
        let bytes = ROWS_BYTES + PART_BYTES * (traffic.len() + addresses.len());
        let written = self.writer.write(bytes, move |batch| {
            traffic.iter().try_for_each(|part| put_traffic(batch.connection, part))?;
            addresses.iter().try_for_each(|part| put_address(batch.connection, part))?;
            Ok(())
        });
        written.await
    }

    async fn history(&self, step: Step, from: Timestamp, to: Timestamp) -> Result<Vec<TrafficSpan>> {
        self.read(move |connection| history(connection, step, from, to)).await
    }

    async fn address_history(&self, from: Timestamp, to: Timestamp) -> Result<Vec<AddressHistory>> {
        self.read(move |connection| address_history(connection, from, to)).await
    }

    async fn sweep_history(&self, before: Timestamp, count: usize) -> Result<u64> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let swept = self.writer.write(ROWS_BYTES, move |batch| {
            let mut swept = 0;
            for step in Step::ALL {
                // The key begins with these: nothing else is read.
                let sql = "DELETE FROM history WHERE (step, at, part) IN (
                    SELECT step, at, part FROM history WHERE step = ?1 AND at < ?2 ORDER BY at LIMIT ?3)";
                let left = count.saturating_sub(swept);
                let deleted =
                    batch.connection.prepare_cached(sql)?.execute(params![step.seconds(), before.as_millis(), left])?;
                swept = swept.saturating_add(i64::try_from(deleted).unwrap_or(i64::MAX));
            }
            let sql = "DELETE FROM address_history WHERE (at, ip, part) IN (
                SELECT at, ip, part FROM address_history WHERE at < ?1 ORDER BY at LIMIT ?2)";
            let of_addresses = batch.connection.prepare_cached(sql)?.execute(params![before.as_millis(), count])?;
            Ok(u64::try_from(swept).unwrap_or(0) + of_addresses as u64)
        });
        swept.await
    }
}

fn put_traffic(connection: &Connection, part: &TrafficPart) -> Result<()> {
    let TrafficPart { step, at, part, traffic } = part;
    let sql = "INSERT OR REPLACE INTO history (step, at, part, accepted, delivered, deferred, failed, latencies)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let latencies = (!traffic.latencies.is_empty()).then(|| codes::to_json(&traffic.latencies)).transpose()?;
    connection.prepare_cached(sql)?.execute(params![
        step.seconds(),
        at.as_millis(),
        part.as_bytes(),
        column(traffic.accepted),
        column(traffic.delivered),
        column(traffic.deferred),
        column(traffic.failed),
        latencies,
    ])?;
    Ok(())
}

fn put_address(connection: &Connection, part: &AddressPart) -> Result<()> {
    let AddressPart { at, ip, part, traffic } = part;
    let sql = "INSERT OR REPLACE INTO address_history (at, ip, part, delivered, deferred, failed, origins)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let origins: BTreeMap<&str, u64> = traffic.by_origin().map(|(origin, count)| (origin.as_str(), count)).collect();
    let origins = (!origins.is_empty()).then(|| codes::to_json(&origins)).transpose()?;
    connection.prepare_cached(sql)?.execute(params![
        at.as_millis(),
        ip.to_string(),
        part.as_bytes(),
        column(traffic.delivered),
        column(traffic.deferred),
        column(traffic.failed),
        origins,
    ])?;
    Ok(())
}

fn history(connection: &Connection, step: Step, from: Timestamp, to: Timestamp) -> Result<Vec<TrafficSpan>> {
    let sql = "SELECT at, accepted, delivered, deferred, failed, latencies FROM history
               WHERE step = ?1 AND at >= ?2 AND at < ?3 ORDER BY at";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![step.seconds(), from.as_millis(), to.as_millis()])?;
    let mut spans: Vec<TrafficSpan> = Vec::new();
    while let Some(row) = rows.next()? {
        let traffic = Traffic {
            accepted: count(row, 1)?,
            delivered: count(row, 2)?,
            deferred: count(row, 3)?,
            failed: count(row, 4)?,
            latencies: codes::from_optional_json(text(row, 5)?)?,
        };
        let at = codes::timestamp(row.get(0)?);
        match spans.last_mut().filter(|span| span.at == at) {
            Some(span) => span.traffic.add(&traffic),
            None => spans.push(TrafficSpan { at, traffic }),
        }
    }
    Ok(spans)
}

fn address_history(connection: &Connection, from: Timestamp, to: Timestamp) -> Result<Vec<AddressHistory>> {
    let sql = "SELECT at, ip, delivered, deferred, failed, origins FROM address_history
               WHERE at >= ?1 AND at < ?2 ORDER BY at";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![from.as_millis(), to.as_millis()])?;
    let mut addresses: BTreeMap<IpAddr, AddressHistory> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let at = codes::timestamp(row.get(0)?);
        let ip: IpAddr = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?.parse().map_err(corrupt)?;
        let mut traffic = AddressTraffic {
            delivered: count(row, 2)?,
            deferred: count(row, 3)?,
            failed: count(row, 4)?,
            ..AddressTraffic::default()
        };
        let origins: HashMap<String, u64> = codes::from_optional_json(text(row, 5)?)?;
        for (origin, attempts) in origins {
            // One that only a newer program knows is left out.
            if let Ok(origin) = origin.parse() {
                traffic.note_origin(origin, attempts);
            }
        }
        let found = addresses.entry(ip).or_insert_with(|| AddressHistory {
            ip,
            traffic: AddressTraffic::default(),
            last_used_at: at,
        });
        found.traffic.add(&traffic);
        found.last_used_at = at;
    }
    Ok(addresses.into_values().collect())
}

fn column(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(row: &Row<'_>, column: usize) -> Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<Option<&'row str>> {
    Ok(row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)?)
}
