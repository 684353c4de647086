//! Orders on many deliveries at once.
//!
//! A reader lists the deliveries that an order may be for; the writer carries it out in parts, so that an order on all of
//! a large queue does not keep the mail that comes and goes meanwhile waiting. Each part looks again at what it changes.

use postrider_core::{DeliveryStatus, ObjectId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::batch::Batch;
use super::codes::{self, StatusCode};
use super::failure::Failure;
use super::sequence;
use crate::error::StoreError;
use crate::records::{Change, Order, Ordered, Selection};

/// Deliveries in one part: some milliseconds of the writer's time.
pub(super) const PART_DELIVERIES: usize = 500;

/// A delivery by its e-mail's row and its number.
pub(super) type Key = (i64, u32);

/// Lists the deliveries of a selection that the order could change.
pub(super) fn select(connection: &Connection, selection: &Selection, order: Order) -> Result<Vec<Key>, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let mut keys = Vec::new();
    if selection.emails.is_empty() {
        select_everywhere(&transaction, selection, order, &mut keys)?;
    } else {
        for id in &selection.emails {
            select_of_email(&transaction, *id, selection, order, &mut keys)?;
        }
        // An id may have been named twice.
        keys.sort_unstable();
        keys.dedup();
    }
    Ok(keys)
}

/// Carries out an order on those of the deliveries that it still applies to.
pub(super) fn carry_out(batch: &mut Batch<'_>, keys: &[Key], order: Order, now: Timestamp) -> Result<Ordered, Failure> {
    let mut ordered = Ordered::default();
    for &(seq, number) in keys {
        let row = batch
            .connection
            .prepare_cached(
                "SELECT status, owner IS NOT NULL, domain, coalesce(queued_at > ?3, 0) FROM deliveries
                 WHERE email = ?1 AND number = ?2",
            )?
            .query_row((seq, number, now.as_millis()), |row| {
                Ok((
                    row.get::<_, StatusCode>(0)?,
                    row.get::<_, bool>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, bool>(3)?,
                ))
            })
            .optional()?;
        let Some((code, is_owned, domain, is_scheduled)) = row else { continue };
        let status = codes::delivery_status(code).map_err(Failure::Undo)?;
        if !applies_to(order).contains(&status) {
            continue;
        }
        if order == Order::Retry && status.is_waiting() && (is_owned || is_scheduled) {
            *if is_owned { &mut ordered.sending } else { &mut ordered.scheduled } += 1;
            continue;
        }
        let next = change(batch, (seq, number), status, order, now)?;
        batch.waits(&domain, Some(status), Some(next));
        if is_owned {
            batch.tell(Change::Orders);
        } else if next.is_waiting() {
            batch.tell(Change::Queue);
        }
        let count = if is_owned && !next.is_waiting() { &mut ordered.recalled } else { &mut ordered.changed };
        *count += 1;
    }
    Ok(ordered)
}

/// The statuses that an order changes something of.
fn applies_to(order: Order) -> &'static [DeliveryStatus] {
    use DeliveryStatus::{Cancelled, Deferred, Failed, Held, Queued};
    match order {
        Order::Retry => &[Queued, Deferred, Failed, Cancelled],
        Order::Hold => &[Queued, Deferred],
        Order::Release => &[Held],
        Order::Cancel => &[Queued, Deferred, Held],
    }
}

/// Gives the delivery its next status.
fn change(
    batch: &mut Batch<'_>,
    (seq, number): Key,
    status: DeliveryStatus,
    order: Order,
    now: Timestamp,
) -> Result<DeliveryStatus, Failure> {
    let now_millis = now.as_millis();
    let (next, due_at, queued_at) = match (order, status) {
        // What is due already keeps its place among what is due.
        (Order::Retry, DeliveryStatus::Queued | DeliveryStatus::Deferred) => (status, Some(now_millis), None),
        (Order::Retry, _) => (DeliveryStatus::Queued, Some(now_millis), Some(now_millis)),
        (Order::Release, _) => (DeliveryStatus::Queued, Some(now_millis), Some(now_millis)),
        (Order::Hold, _) => (DeliveryStatus::Held, None, None),
        (Order::Cancel, _) => (DeliveryStatus::Cancelled, None, None),
    };
    let keeps_place = status.is_waiting();
    batch
        .connection
        .prepare_cached(
            "UPDATE deliveries SET status = ?3,
                 queued_at = CASE WHEN ?5 IS NULL THEN queued_at WHEN ?7 THEN max(?5, coalesce(queued_at, ?5)) ELSE ?5 END,
                 due_at = CASE WHEN ?4 IS NULL THEN due_at WHEN ?6 THEN min(due_at, ?4)
                     WHEN ?7 THEN max(?4, coalesce(queued_at, ?4)) ELSE ?4 END
             WHERE email = ?1 AND number = ?2",
        )?
        .execute(params![
            seq,
            number,
            codes::delivery_status_code(next),
            due_at,
            queued_at,
            keeps_place,
            matches!(order, Order::Release | Order::Retry),
        ])?;
    batch.changed(seq, now);
    Ok(next)
}

/// Goes through the indexes of what still moves and what rests: what is sent is most of a database, and no order is for it.
fn select_everywhere(
    connection: &Connection,
    selection: &Selection,
    order: Order,
    keys: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let statuses = applies_to(order).iter().filter(|&&status| selection.status.is_none_or(|only| only == status));
    let (waiting, resting): (Vec<_>, Vec<_>) = statuses.copied().partition(|status| status.is_waiting());
    let mut tables = Vec::new();
    if !waiting.is_empty() {
        tables.push(("deliveries_claimable", "d.owner IS NULL AND d.status <= 1", waiting.clone()));
        tables.push(("deliveries_owned", "d.owner IS NOT NULL", waiting));
    }
    if !resting.is_empty() {
        tables.push(("deliveries_resting", "d.status BETWEEN 2 AND 4", resting));
    }
    for (index, condition, statuses) in tables {
        let codes: Vec<_> = statuses.iter().map(|&status| codes::delivery_status_code(status).to_string()).collect();
        let mut sql = format!(
            "SELECT d.email, d.number FROM deliveries AS d INDEXED BY {index} WHERE {condition} AND d.status IN ({})",
            codes.join(", ")
        );
        let mut values: Vec<Value> = Vec::new();
        if let Some(domain) = &selection.recipient_domain {
            sql.push_str(" AND d.domain = ?");
            values.push(domain.as_str().to_owned().into());
        }
        if let Some(sender) = &selection.sender {
            // `lower` knows ASCII only, as the comparison should.
            sql.push_str(" AND (SELECT lower(sender) FROM emails WHERE seq = d.email) = lower(?)");
            values.push(sender.clone().into());
        }
        if let Some(tag) = &selection.tag {
            sql.push_str(" AND EXISTS (SELECT 1 FROM tags WHERE tag = ? AND email = d.email)");
            values.push(tag.clone().into());
        }
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            keys.push((row.get(0)?, row.get(1)?));
        }
    }
    Ok(())
}

fn select_of_email(
    connection: &Connection,
    id: ObjectId,
    selection: &Selection,
    order: Order,
    keys: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let Some(seq) = sequence::find(connection, id)? else { return Ok(()) };
    if let Some(wanted) = &selection.sender {
        let mut statement = connection.prepare_cached("SELECT sender FROM emails WHERE seq = ?1")?;
        let sender: Option<String> = statement.query_row([seq], |row| row.get(0)).optional()?;
        if !sender.is_some_and(|sender| sender.eq_ignore_ascii_case(wanted)) {
            return Ok(());
        }
    }
    if let Some(tag) = &selection.tag
        && !connection.prepare_cached("SELECT 1 FROM tags WHERE tag = ?1 AND email = ?2")?.exists((tag, seq))?
    {
        return Ok(());
    }
    let mut statement = connection.prepare_cached("SELECT number, status, domain FROM deliveries WHERE email = ?1")?;
    let mut rows = statement.query([seq])?;
    while let Some(row) = rows.next()? {
        let status = codes::delivery_status(row.get(1)?)?;
        let domain = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        if applies_to(order).contains(&status)
            && selection.status.is_none_or(|only| only == status)
            && selection.recipient_domain.as_ref().is_none_or(|only| only.as_str() == domain)
        {
            keys.push((seq, row.get(0)?));
        }
    }
    Ok(())
}
