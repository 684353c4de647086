//! Ending claims with what came of them.

use std::net::IpAddr;

use postrider_core::{Attempt, Category, DeliveryStatus, Timestamp};
use rusqlite::{OptionalExtension as _, params};

use super::accept::{self, PreparedEmail};
use super::batch::Batch;
use super::checkpoint::ROWS_BYTES;
use super::codes::{self, StatusCode};
use super::failure::Failure;
use super::{outbox, sequence, suppressions};
use crate::error::StoreError;
use crate::records::{DeliveryId, NewEvent, Next, NodeId, Settle, Settlement, Suppression};

/// Settlements as their rows will be.
#[derive(Debug)]
pub(super) struct PreparedSettle {
    settlements: Vec<PreparedSettlement>,
    notifications: Vec<PreparedEmail>,
    suppressions: Vec<Suppression>,
}

#[derive(Debug)]
struct PreparedSettlement {
    id: DeliveryId,
    /// When the attempt ended.
    at: Timestamp,
    next: Next,
    delay_notified: bool,
    category: Option<Category>,
    source_ip: Option<IpAddr>,
    /// Why it is tried again.
    error: Option<String>,
    record: String,
    event: Option<NewEvent>,
}

pub(super) async fn prepare(settle: Settle) -> Result<PreparedSettle, StoreError> {
    let settlements = settle.settlements.iter().map(prepare_settlement).collect::<Result<_, _>>()?;
    let mut notifications = Vec::with_capacity(settle.notifications.len());
    for email in settle.notifications {
        notifications.push(accept::prepare(email).await?);
    }
    Ok(PreparedSettle { settlements, notifications, suppressions: settle.suppressions })
}

impl PreparedSettle {
    /// About how much is written for it.
    pub(super) fn bytes(&self) -> usize {
        let rows: usize = self
            .settlements
            .iter()
            .map(|settlement| ROWS_BYTES + settlement.record.len() + outbox::bytes(&settlement.event))
            .sum();
        let rows = rows + ROWS_BYTES * self.suppressions.len();
        rows + self.notifications.iter().map(PreparedEmail::bytes).sum::<usize>()
    }
}

/// Records the settlements whose claims the node still holds, and what they cause if there was one. Returns how many.
pub(super) fn settle(batch: &mut Batch<'_>, node: NodeId, settle: &PreparedSettle) -> Result<usize, Failure> {
    let Some(owner) = batch.node(node)? else { return Ok(0) };
    let mut recorded = 0;
    for settlement in &settle.settlements {
        recorded += usize::from(record(batch, owner, settlement)?);
    }
    if recorded > 0 {
        for email in &settle.notifications {
            accept::insert(batch, email).map_err(Failure::undoing)?;
        }
        suppressions::add(batch, &settle.suppressions).map_err(Failure::undoing)?;
    }
    Ok(recorded)
}

fn record(batch: &mut Batch<'_>, owner: i64, settlement: &PreparedSettlement) -> Result<bool, Failure> {
    let Some(seq) = sequence::find(batch.connection, settlement.id.email)? else { return Ok(false) };
    let number = settlement.id.number;
    let held = batch
        .connection
        .prepare_cached(
            "SELECT status, attempts, domain FROM deliveries WHERE email = ?1 AND number = ?2 AND owner = ?3",
        )?
        .query_row((seq, number, owner), |row| {
            Ok((row.get::<_, StatusCode>(0)?, row.get::<_, u32>(1)?, row.get::<_, String>(2)?))
        })
        .optional()?;
    let Some((old_code, attempts, domain)) = held else { return Ok(false) };
    let old = codes::delivery_status(old_code).map_err(Failure::Undo)?;
    let (status, due_at) = match settlement.next {
        Next::Sent => (DeliveryStatus::Sent, None),
        Next::Failed => (DeliveryStatus::Failed, None),
        // An order that came meanwhile stands.
        Next::Retry { at } if old.is_waiting() => (DeliveryStatus::Deferred, Some(at.as_millis())),
        Next::Retry { .. } => (old, None),
    };
    let attempt = attempts.saturating_add(1);
    batch
        .connection
        .prepare_cached(
            "UPDATE deliveries SET status = ?3, owner = NULL, due_at = coalesce(?4, due_at), attempts = ?5,
                 delay_notified = delay_notified OR ?6, last_category = ?7, tried_at = ?8
             WHERE email = ?1 AND number = ?2",
        )?
        .execute(params![
            seq,
            number,
            codes::delivery_status_code(status),
            due_at,
            attempt,
            settlement.delay_notified,
            settlement.category.map(Category::as_str),
            settlement.at.as_millis(),
        ])?;
    batch.connection.prepare_cached("INSERT INTO attempts VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        seq,
        number,
        attempt,
        settlement.record,
    ])?;
    batch.waits(&domain, Some(old), Some(status));
    match settlement.next {
        Next::Sent => batch.count_sent(settlement.at),
        Next::Failed => batch.count_failed(settlement.at),
        Next::Retry { .. } => {
            batch.domain_deferred(domain, settlement.at, settlement.error.clone().unwrap_or_default());
        }
    }
    batch.attempted(seq, settlement.at, settlement.source_ip);
    outbox::add(batch, settlement.id.email, Some(number), &settlement.event)?;
    Ok(true)
}

fn prepare_settlement(settlement: &Settlement) -> Result<PreparedSettlement, StoreError> {
    let attempt: &Attempt = &settlement.attempt;
    Ok(PreparedSettlement {
        id: settlement.id,
        at: attempt.started_at + attempt.duration,
        next: settlement.next,
        delay_notified: settlement.delay_notified,
        category: attempt.outcome.category(),
        source_ip: attempt.source_ip,
        error: if matches!(settlement.next, Next::Retry { .. }) { attempt.outcome.error() } else { None },
        record: codes::to_json(attempt)?,
        event: settlement.event.clone(),
    })
}
