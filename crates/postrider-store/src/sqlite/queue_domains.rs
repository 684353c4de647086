//! The queue by recipient domain: a page of those that have deliveries which are not final.

use postrider_core::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::codes;
use crate::error::StoreError;
use crate::records::{QueueDomain, QueueDomainFilter, QueueDomainPage};

/// Each domain once. What waits is counted with what nodes have taken on, which is not much, and taken from there.
const DOMAINS_SQL: &str = "
    SELECT domain, sum(queued) AS queued, sum(deferred) AS deferred, sum(sending) AS sending, sum(held) AS held,
        sum(tried) AS tried, sum(queued) + sum(deferred) + sum(sending) + sum(held) AS depth
    FROM (SELECT domain, queued, deferred, 0 AS sending, 0 AS held, deferred AS tried FROM domain_counters
              WHERE queued > 0 OR deferred > 0
          UNION ALL
          SELECT domain, -(status = 0), -(status = 1), 1, -(status = 2), 0 FROM deliveries INDEXED BY deliveries_owned
              WHERE owner IS NOT NULL
          UNION ALL
          SELECT domain, 0, 0, 0, count(*), 0 FROM deliveries INDEXED BY deliveries_resting
              WHERE status = 2 AND status BETWEEN 2 AND 4 GROUP BY domain)
    WHERE substr(domain, 1, length(?1)) = ?1
    GROUP BY domain HAVING depth > 0";

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
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let skipped = number(page.saturating_sub(1).saturating_mul(limit));
    // All of them are gone through once, to be counted and sorted.
    let sql = format!("SELECT *, count(*) OVER () FROM ({DOMAINS_SQL}) ORDER BY depth DESC, domain LIMIT ?2 OFFSET ?3");
    let mut statement = transaction.prepare_cached(&sql)?;
    let mut rows = statement.query((&prefix, number(limit), skipped))?;
    let (mut domains, mut total) = (Vec::new(), 0_i64);
    while let Some(row) = rows.next()? {
        total = row.get(7)?;
        let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        let count = |column: usize| Ok::<_, StoreError>(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0));
        let is_deferred = count(5)? > 0;
        let (next_attempt_at, oldest_at) = times(&transaction, name)?;
        domains.push(QueueDomain {
            domain: codes::domain(name)?,
            queued: count(1)?,
            deferred: count(2)?,
            sending: count(3)?,
            held: count(4)?,
            oldest_at,
            next_attempt_at,
            last_error: if is_deferred { last_error(&transaction, name)? } else { None },
        });
    }
    if domains.is_empty() && skipped > 0 {
        let sql = format!("SELECT count(*) FROM ({DOMAINS_SQL})");
        total = transaction.prepare_cached(&sql)?.query_row([&prefix], |row| row.get(0))?;
    }
    Ok(QueueDomainPage { domains, total: u64::try_from(total).unwrap_or(0) })
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
