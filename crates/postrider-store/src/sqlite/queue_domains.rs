//! The queue by recipient domain: a page of those that have deliveries which are not final.

use std::collections::HashMap;

use postrider_core::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::codes;
use crate::error::StoreError;
use crate::records::{QueueDomain, QueueDomainFilter, QueueDomainPage};

/// What waits, by domain, is counted as it comes and goes. With what nodes have taken on, which is taken from there again.
const COUNTED: &str = "FROM domain_counters WHERE (queued > 0 OR deferred > 0) AND domain >= ?1
    AND substr(domain, 1, length(?1)) = ?1";

/// What waits for no time: what nodes have taken on, which is not much, and what is held.
const OTHERS_SQL: &str = "
    SELECT domain, -(status = 0), -(status = 1), 1, -(status = 2) FROM deliveries INDEXED BY deliveries_owned
        WHERE owner IS NOT NULL AND substr(domain, 1, length(?1)) = ?1
    UNION ALL
    SELECT domain, 0, 0, 0, count(*) FROM deliveries INDEXED BY deliveries_resting
        WHERE status = 2 AND status BETWEEN 2 AND 4 AND substr(domain, 1, length(?1)) = ?1 GROUP BY domain";

/// All that waits for a domain is gone through, so it must be in the index.
const WAITING_SQL: &str = "
    SELECT min(due_at), min(email) FROM deliveries INDEXED BY deliveries_claimable
    WHERE domain = ?1 AND owner IS NULL AND status <= 1";

/// The most first. `page` counts from 1.
pub(super) fn page(
    connection: &Connection,
    filter: &QueueDomainFilter,
    page: u64,
    limit: u64,
) -> Result<QueueDomainPage, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let prefix = filter.prefix.as_deref().unwrap_or_default().to_ascii_lowercase();
    let others = others(&transaction, &prefix)?;
    let skipped = page.saturating_sub(1).saturating_mul(limit);
    // The counters alone are sorted by SQLite, which keeps no more of them than are asked for: with ten thousand domains that
    // takes a tenth of the time of counting both together. One with something beside its counters may stand elsewhere.
    let asked = skipped.saturating_add(limit).saturating_add(others.len() as u64);
    let mut counts: Vec<(String, Counts)> = most_waiting(&transaction, &prefix, asked)?;
    counts.retain(|(domain, _)| !others.contains_key(domain));
    let counted: i64 =
        transaction.prepare_cached(&format!("SELECT count(*) {COUNTED}"))?.query_row([&prefix], |row| row.get(0))?;
    let mut total = counted;
    for (domain, beside) in others {
        let waiting = waiting(&transaction, &domain)?;
        total -= i64::from(waiting.is_some());
        let all = waiting.unwrap_or_default().and(beside);
        if all.depth() > 0 {
            total += 1;
            counts.push((domain, all));
        }
    }
    counts.sort_unstable_by(|a, b| b.1.depth().cmp(&a.1.depth()).then_with(|| a.0.cmp(&b.0)));
    let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let shown = counts.into_iter().skip(at(skipped)).take(at(limit));
    let domains = shown.map(|(domain, counts)| described(&transaction, &domain, counts)).collect::<Result<_, _>>()?;
    Ok(QueueDomainPage { domains, total: u64::try_from(total).unwrap_or(0) })
}

/// Deliveries to a domain that are not final.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    queued: i64,
    deferred: i64,
    sending: i64,
    held: i64,
    /// Those that were tried, taken on or not.
    tried: i64,
}

impl Counts {
    fn waiting(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let deferred = row.get(first + 1)?;
        Ok(Self { queued: row.get(first)?, deferred, tried: deferred, ..Self::default() })
    }

    fn and(self, other: Self) -> Self {
        Self {
            queued: self.queued + other.queued,
            deferred: self.deferred + other.deferred,
            sending: self.sending + other.sending,
            held: self.held + other.held,
            tried: self.tried + other.tried,
        }
    }

    fn depth(self) -> i64 {
        self.queued + self.deferred + self.sending + self.held
    }
}

/// Those that have most waiting, with nothing taken from that yet.
fn most_waiting(connection: &Connection, prefix: &str, limit: u64) -> rusqlite::Result<Vec<(String, Counts)>> {
    let sql = format!("SELECT domain, queued, deferred {COUNTED} ORDER BY queued + deferred DESC, domain LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    statement.query_map((prefix, limit), |row| Ok((row.get(0)?, Counts::waiting(row, 1)?)))?.collect()
}

/// `None`: nothing waits there.
fn waiting(connection: &Connection, domain: &str) -> rusqlite::Result<Option<Counts>> {
    connection
        .prepare_cached(
            "SELECT queued, deferred FROM domain_counters WHERE domain = ?1 AND (queued > 0 OR deferred > 0)",
        )?
        .query_row([domain], |row| Counts::waiting(row, 0))
        .optional()
}

/// What is to be added to the counters, or taken from them.
fn others(connection: &Connection, prefix: &str) -> rusqlite::Result<HashMap<String, Counts>> {
    let mut statement = connection.prepare_cached(OTHERS_SQL)?;
    let mut rows = statement.query([prefix])?;
    let mut others = HashMap::<String, Counts>::new();
    while let Some(row) = rows.next()? {
        let counts =
            Counts { queued: row.get(1)?, deferred: row.get(2)?, sending: row.get(3)?, held: row.get(4)?, tried: 0 };
        let all = others.entry(row.get(0)?).or_default();
        *all = all.and(counts);
    }
    Ok(others)
}

fn described(connection: &Connection, domain: &str, counts: Counts) -> Result<QueueDomain, StoreError> {
    let (next_attempt_at, oldest_at) = times(connection, domain)?;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(QueueDomain {
        domain: codes::domain(domain)?,
        queued: count(counts.queued),
        deferred: count(counts.deferred),
        sending: count(counts.sending),
        held: count(counts.held),
        oldest_at,
        next_attempt_at,
        last_error: if counts.tried > 0 { last_error(connection, domain)? } else { None },
    })
}

/// When the next delivery that nobody has taken on is due, and when the oldest e-mail of all was accepted.
fn times(connection: &Connection, domain: &str) -> rusqlite::Result<(Option<Timestamp>, Option<Timestamp>)> {
    let (due_at, waiting): (Option<i64>, Option<i64>) =
        connection.prepare_cached(WAITING_SQL)?.query_row([domain], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let owned: Option<i64> = connection
        .prepare_cached(
            "SELECT min(email) FROM deliveries INDEXED BY deliveries_owned
             WHERE owner IN (SELECT number FROM nodes) AND owner IS NOT NULL AND domain = ?1",
        )?
        .query_row([domain], |row| row.get(0))?;
    let held: Option<i64> = connection
        .prepare_cached(
            "SELECT min(email) FROM deliveries INDEXED BY deliveries_resting
             WHERE status = 2 AND status BETWEEN 2 AND 4 AND domain = ?1",
        )?
        .query_row([domain], |row| row.get(0))?;
    // E-mails are numbered as they come.
    let oldest = [waiting, owned, held].into_iter().flatten().min();
    let created_at: Option<i64> = connection
        .prepare_cached("SELECT created_at FROM emails WHERE seq = ?1")?
        .query_row([oldest], |row| row.get(0))
        .optional()?;
    Ok((due_at.map(codes::timestamp), created_at.map(codes::timestamp)))
}

fn last_error(connection: &Connection, domain: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT error FROM domain_errors WHERE domain = ?1")?;
    statement.query_row([domain], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests {
    use crate::{SqliteOptions, SqliteStore};

    use super::*;

    #[test]
    fn what_waits_is_answered_from_the_index_alone() {
        let folder = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
        let connection = Connection::open(folder.path().join("postrider.db")).unwrap();
        let plan: String = connection
            .query_row(&format!("EXPLAIN QUERY PLAN {WAITING_SQL}"), ["example.org"], |row| row.get("detail"))
            .unwrap();
        assert!(plan.contains("USING COVERING INDEX deliveries_claimable"), "{plan}");
    }
}
