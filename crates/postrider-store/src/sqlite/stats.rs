//! The queue in numbers: from counters, and from indexes that hold only what waits.

use std::collections::{BTreeSet, HashMap};

use postrider_core::{EmailStatus, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::batch::{RATE_SPAN_MILLIS, span};
use super::codes::{self, STATUS_CODES, StatusCode};
use super::record;
use crate::error::StoreError;
use crate::records::{DomainStats, QueueStats};

/// The minute that rates tell of, in spans.
const RATE_SPANS: i64 = 60_000 / RATE_SPAN_MILLIS;

pub(super) fn queue_stats(connection: &Connection, now: Timestamp) -> Result<QueueStats, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let sending = record::sending(&transaction)?;
    let counts = counts(&transaction, &sending)?;
    let count = |status| counts[usize::from(codes::email_status_code(status))];
    let (sent_last_minute, failed_last_minute) = rates(&transaction, now)?;
    let sending = sending.len() as u64;
    Ok(QueueStats {
        queued: count(EmailStatus::Queued),
        sending,
        deferred: count(EmailStatus::Deferred),
        sent: count(EmailStatus::Sent),
        failed: count(EmailStatus::Failed),
        held: count(EmailStatus::Held),
        cancelled: count(EmailStatus::Cancelled),
        received: count(EmailStatus::Received),
        total: counts.iter().sum::<u64>() + sending,
        oldest_queued_seconds: oldest(&transaction)?.map(|oldest| now.since(oldest).as_secs()),
        sent_last_minute,
        failed_last_minute,
        domains: domains(&transaction)?,
    })
}

/// E-mails by the code of their status, but for those of which something is being sent.
pub(super) fn counts(connection: &Connection, sending: &BTreeSet<i64>) -> Result<[u64; STATUS_CODES], StoreError> {
    let mut counts = [0i64; STATUS_CODES];
    let mut statement = connection.prepare_cached("SELECT status, emails FROM counters")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(count) = counts.get_mut(usize::from(row.get::<_, StatusCode>(0)?)) {
            *count = row.get(1)?;
        }
    }
    let mut status = connection.prepare_cached("SELECT status FROM emails WHERE seq = ?1")?;
    for seq in sending {
        let code: Option<StatusCode> = status.query_row([seq], |row| row.get(0)).optional()?;
        if let Some(count) = code.and_then(|code| counts.get_mut(usize::from(code))) {
            *count -= 1;
        }
    }
    Ok(counts.map(|count| u64::try_from(count).unwrap_or(0)))
}

/// When the e-mail was accepted that waits longest.
fn oldest(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    // One step into the index for each status: a minimum over both would go through all of it.
    let mut statement = connection.prepare_cached(
        "SELECT min(created_at) FROM emails WHERE seq IN (
             (SELECT min(seq) FROM emails INDEXED BY emails_open WHERE status = 0 AND status <= 4),
             (SELECT min(seq) FROM emails INDEXED BY emails_open WHERE status = 1 AND status <= 4))",
    )?;
    let oldest: Option<i64> = statement.query_row([], |row| row.get(0))?;
    Ok(oldest.map(codes::timestamp))
}

fn rates(connection: &Connection, now: Timestamp) -> Result<(u64, u64), StoreError> {
    let last = span(now);
    let (sent, failed): (i64, i64) = connection
        .prepare_cached(
            "SELECT coalesce(sum(sent), 0), coalesce(sum(failed), 0) FROM rates WHERE span > ?1 AND span <= ?2",
        )?
        .query_row((last.saturating_sub(RATE_SPANS), last), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((u64::try_from(sent).unwrap_or(0), u64::try_from(failed).unwrap_or(0)))
}

fn domains(connection: &Connection) -> Result<Vec<DomainStats>, StoreError> {
    // Both indexes hold all that is asked: no row is read.
    const WAITING: &str = "SELECT domain, count(*) - sum(status), sum(status)
        FROM deliveries INDEXED BY deliveries_claimable WHERE owner IS NULL AND status <= 1 GROUP BY domain";
    const SENDING: &str = "SELECT domain, count(*) - sum(status), sum(status)
        FROM deliveries INDEXED BY deliveries_owned WHERE owner IS NOT NULL AND status <= 1 GROUP BY domain";
    let mut counts: HashMap<String, (i64, i64)> = HashMap::new();
    for sql in [WAITING, SENDING] {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let count = counts.entry(row.get(0)?).or_default();
            count.0 += row.get::<_, i64>(1)?;
            count.1 += row.get::<_, i64>(2)?;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by(|a, b| (b.1.0 + b.1.1).cmp(&(a.1.0 + a.1.1)).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(QueueStats::DOMAINS_MAX);
    counts.into_iter().map(|(domain, (queued, deferred))| domain_stats(connection, &domain, queued, deferred)).collect()
}

fn domain_stats(connection: &Connection, domain: &str, queued: i64, deferred: i64) -> Result<DomainStats, StoreError> {
    let mut statement = connection.prepare_cached("SELECT error FROM domain_errors WHERE domain = ?1")?;
    let last_error = if deferred > 0 { statement.query_row([domain], |row| row.get(0)).optional()? } else { None };
    Ok(DomainStats {
        domain: codes::domain(domain)?,
        queued: u64::try_from(queued).unwrap_or(0),
        deferred: u64::try_from(deferred).unwrap_or(0),
        last_error,
    })
}
