//! The queue in numbers: from counters, and from indexes that hold only what waits.

use postrider_core::{EmailStatus, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::batch::{RATE_SPAN_MILLIS, span};
use super::codes::{self, STATUS_CODES, StatusCode};
use super::record::{self, Sending};
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
    let sending = sending.len();
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
pub(super) fn counts(connection: &Connection, sending: &Sending) -> Result<[u64; STATUS_CODES], StoreError> {
    let mut counts = [0i64; STATUS_CODES];
    let mut statement = connection.prepare_cached("SELECT status, emails FROM counters")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(count) = counts.get_mut(usize::from(row.get::<_, StatusCode>(0)?)) {
            *count = row.get(1)?;
        }
    }
    let mut status = connection.prepare_cached("SELECT status FROM emails WHERE seq = ?1")?;
    for (seq, lowest) in sending.iter() {
        // A queued delivery makes a queued e-mail, whatever else it has; most that are being sent are so.
        let code: Option<StatusCode> =
            if lowest == 0 { Some(0) } else { status.query_row([seq], |row| row.get(0)).optional()? };
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
    let mut statement = connection.prepare_cached(
        "SELECT c.domain, c.queued, c.deferred, CASE WHEN c.deferred > 0 THEN e.error END
         FROM (SELECT domain, queued, deferred FROM domain_counters WHERE queued > 0 OR deferred > 0
               ORDER BY queued + deferred DESC, domain LIMIT ?1) AS c
             LEFT JOIN domain_errors AS e ON e.domain = c.domain
         ORDER BY c.queued + c.deferred DESC, c.domain",
    )?;
    let mut rows = statement.query([QueueStats::DOMAINS_MAX as i64])?;
    let mut domains = Vec::new();
    while let Some(row) = rows.next()? {
        domains.push(DomainStats {
            domain: codes::domain(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?,
            queued: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
            deferred: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
            last_error: row.get(3)?,
        });
    }
    Ok(domains)
}
