//! The outbox: what happened, and who is still to be told of it.

use async_trait::async_trait;
use postrider_core::{ObjectId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::batch::Batch;
use super::checkpoint::ROWS_BYTES;
use super::failure::{Failure, corrupt};
use super::{Result, SqliteStore, codes};
use crate::error::StoreError;
use crate::records::*;
use crate::traits::Outbox;

/// Calls that one commit replays or forgets: some milliseconds of the writer's time.
const PART_CALLS: usize = 500;

/// What an event takes beside its calls, in bytes.
const EVENT_BYTES: usize = 64;

const COLUMNS: &str = "id, endpoint, event, kind, at, email, state, due_at, tries, attempts, data, url";

#[async_trait]
impl Outbox for SqliteStore {
    async fn claim_calls(&self, request: CallClaimRequest) -> Result<Vec<ClaimedCall>> {
        let asked = request.clone();
        // Mostly nothing is due: then nothing is written.
        let due = self.read_small(move |connection| due(connection, &asked)).await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let locked_until = request.now + request.lock;
        let now = request.now;
        let claimed = self.writer.write(ROWS_BYTES, move |batch| {
            let mut claimed = Vec::with_capacity(due.len());
            for seq in &due {
                claimed.extend(take(batch, *seq, now, locked_until)?);
            }
            Ok(claimed)
        });
        claimed.await
    }

    async fn settle_calls(&self, settlements: Vec<CallSettlement>) -> Result<usize> {
        let bytes = settlements.len() * (ROWS_BYTES + CallAttempt::BODY_BYTES_MAX);
        let settled = self.writer.write(bytes, move |batch| {
            let mut recorded = 0;
            for settlement in &settlements {
                recorded += usize::from(settle(batch, settlement)?);
            }
            Ok(recorded)
        });
        settled.await
    }

    async fn calls(&self, filter: &CallFilter, page: u64, limit: u64) -> Result<CallPage> {
        let filter = filter.clone();
        self.read(move |connection| list(connection, &filter, page, limit)).await
    }

    async fn replay_calls(&self, filter: &CallFilter, now: Timestamp) -> Result<u64> {
        let filter = filter.clone();
        let seqs = self.read(move |connection| select(connection, &filter)).await?;
        let mut replayed = 0;
        for part in seqs.chunks(PART_CALLS) {
            let part = part.to_vec();
            let done = self.writer.write(part.len() * 128, move |batch| {
                let mut done = 0;
                for seq in &part {
                    done += batch
                        .connection
                        .prepare_cached(
                            "UPDATE calls SET state = 0, due_at = ?2, tries = 0, locked_until = 0 WHERE seq = ?1",
                        )?
                        .execute((seq, now.as_millis()))?;
                }
                Ok(done)
            });
            replayed += done.await? as u64;
        }
        Ok(replayed)
    }

    async fn drop_calls(&self, endpoint: EndpointId) -> Result<u64> {
        let mut dropped = 0;
        loop {
            let done = self.writer.write(PART_CALLS * 128, move |batch| {
                let sql = "DELETE FROM calls WHERE seq IN
                    (SELECT seq FROM calls WHERE endpoint = ?1 AND state = 0 LIMIT ?2)";
                Ok(batch.connection.prepare_cached(sql)?.execute((endpoint.as_bytes(), PART_CALLS as i64))?)
            });
            let done = done.await?;
            dropped += done as u64;
            if done < PART_CALLS {
                return Ok(dropped);
            }
        }
    }

    async fn events(&self, after: Option<&str>, limit: usize) -> Result<EventPage> {
        let after = after.map(place).transpose()?;
        self.read_small(move |connection| events(connection, after, limit)).await
    }

    async fn sweep_outbox(&self, sweep: OutboxSweep) -> Result<u64> {
        let OutboxSweep { events_before, delivered_before, given_up_before, count } = sweep;
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let swept = self.writer.write(ROWS_BYTES * 4, move |batch| {
            // Events are about in the order of time: what is old stands at the beginning.
            let events = "DELETE FROM events WHERE seq IN
                (SELECT seq FROM (SELECT seq, at FROM events ORDER BY seq LIMIT ?2) WHERE at < ?1)";
            let mut swept = batch.connection.prepare_cached(events)?.execute((events_before.as_millis(), limit))?;
            let calls = "DELETE FROM calls WHERE seq IN (SELECT seq FROM (SELECT seq, at FROM calls WHERE state = ?3
                ORDER BY seq LIMIT ?2) WHERE at < ?1)";
            for (before, state) in [(delivered_before, CallState::Delivered), (given_up_before, CallState::GivenUp)] {
                let parameters = (before.as_millis(), limit, state_code(state));
                swept += batch.connection.prepare_cached(calls)?.execute(parameters)?;
            }
            Ok(swept as u64)
        });
        swept.await
    }
}

/// About how much is written for events.
pub(super) fn bytes<'a>(events: impl IntoIterator<Item = &'a NewEvent>) -> usize {
    events.into_iter().map(|event| EVENT_BYTES + event.calls.len() * (ROWS_BYTES + event.data.len())).sum()
}

/// Writes events about an e-mail, or one of its deliveries, with their calls.
pub(super) fn add<'a>(
    batch: &mut Batch<'_>,
    email: ObjectId,
    delivery: Option<u32>,
    events: impl IntoIterator<Item = &'a NewEvent>,
) -> std::result::Result<(), Failure> {
    for event in events {
        batch
            .connection
            .prepare_cached("INSERT INTO events (id, kind, at, email, delivery) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                event.id.as_bytes(),
                event.kind.as_str(),
                event.at.as_millis(),
                email.as_bytes(),
                delivery
            ])?;
        for call in &event.calls {
            // Behind one that waits for its next try this one would only be looked at in vain. The index is named, for another one
            // seems better to the planner: the one of times, all of which it would go through where an endpoint is down.
            batch
                .connection
                .prepare_cached(
                    "INSERT INTO calls (id, endpoint, event, kind, at, email, state, due_at, locked_until, tries, data, url)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, max(?5, coalesce(
                         (SELECT max(due_at) FROM calls INDEXED BY calls_of_email
                          WHERE endpoint = ?2 AND email = ?6 AND state = 0), 0)), 0, 0, ?7, ?8)",
                )?
                .execute(params![
                    call.id.as_bytes(),
                    call.endpoint.as_bytes(),
                    event.id.as_bytes(),
                    event.kind.as_str(),
                    event.at.as_millis(),
                    email.as_bytes(),
                    event.data,
                    call.url,
                ])?;
        }
    }
    Ok(())
}

/// Calls that could be claimed.
fn due(connection: &Connection, request: &CallClaimRequest) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT c.seq FROM calls AS c INDEXED BY calls_due
         WHERE c.endpoint = ?1 AND c.state = 0 AND c.due_at <= ?2 AND c.locked_until <= ?2 AND NOT EXISTS (
             SELECT 1 FROM calls AS e INDEXED BY calls_of_email
             WHERE e.endpoint = c.endpoint AND e.email = c.email AND e.state = 0 AND e.seq < c.seq)
         ORDER BY c.due_at, c.seq LIMIT ?3",
    )?;
    let mut due = Vec::new();
    for (endpoint, count) in &request.endpoints {
        let limit = i64::try_from(*count).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![endpoint.as_bytes(), request.now.as_millis(), limit])?;
        while let Some(row) = rows.next()? {
            due.push(row.get(0)?);
        }
    }
    Ok(due)
}

/// Locks a call, unless somebody else was faster.
fn take(
    batch: &mut Batch<'_>,
    seq: i64,
    now: Timestamp,
    locked_until: Timestamp,
) -> std::result::Result<Option<ClaimedCall>, Failure> {
    let mut statement = batch.connection.prepare_cached(
        "UPDATE calls SET locked_until = ?3 WHERE seq = ?1 AND state = 0 AND due_at <= ?2 AND locked_until <= ?2
         RETURNING id, endpoint, event, kind, at, email, tries, data, url",
    )?;
    let mut rows = statement.query((seq, now.as_millis(), locked_until.as_millis()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(ClaimedCall {
        id: codes::id(row.get(0)?),
        endpoint: codes::id(row.get(1)?),
        event: codes::id(row.get(2)?),
        kind: kind(&row.get::<_, String>(3)?).map_err(Failure::Undo)?,
        at: codes::timestamp(row.get(4)?),
        email: codes::id(row.get(5)?),
        tries: row.get(6)?,
        data: row.get(7)?,
        url: row.get(8)?,
    }))
}

fn settle(batch: &mut Batch<'_>, settlement: &CallSettlement) -> std::result::Result<bool, Failure> {
    let CallSettlement { id, attempt, next } = settlement;
    let found = batch
        .connection
        .prepare_cached("SELECT seq, endpoint, email, attempts FROM calls WHERE id = ?1 AND state = 0")?
        .query_row([id.as_bytes()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, Vec<u8>>(1)?,
                row.get::<_, Vec<u8>>(2)?,
                row.get::<_, Option<String>>(3)?,
            ))
        })
        .optional()?;
    let Some((seq, endpoint, email, attempts)) = found else { return Ok(false) };
    let mut attempts: Vec<CallAttempt> = codes::from_optional_json(attempts.as_deref()).map_err(Failure::Undo)?;
    attempts.push(attempt.clone());
    let surplus = attempts.len().saturating_sub(CALL_ATTEMPTS_MAX);
    attempts.drain(..surplus);
    let (state, due_at) = match next {
        CallNext::Delivered => (CallState::Delivered, None),
        CallNext::GivenUp => (CallState::GivenUp, None),
        CallNext::Retry { at } => (CallState::Waiting, Some(at.as_millis())),
    };
    batch
        .connection
        .prepare_cached(
            "UPDATE calls SET state = ?2, due_at = coalesce(?3, due_at), locked_until = 0, tries = tries + 1, attempts = ?4
             WHERE seq = ?1",
        )?
        .execute(params![seq, state_code(state), due_at, codes::to_json(&attempts).map_err(Failure::Undo)?])?;
    // Those behind it wait as long as it does, and no longer.
    let others = match due_at {
        Some(_) => {
            "UPDATE calls INDEXED BY calls_of_email SET due_at = ?3
             WHERE endpoint = ?1 AND email = ?2 AND state = 0 AND due_at < ?3"
        }
        None => {
            "UPDATE calls INDEXED BY calls_of_email SET due_at = ?3
             WHERE endpoint = ?1 AND email = ?2 AND state = 0 AND due_at > ?3"
        }
    };
    let ended_at = attempt.at.as_millis();
    batch.connection.prepare_cached(others)?.execute(params![endpoint, email, due_at.unwrap_or(ended_at)])?;
    Ok(true)
}

/// What a filter asks, with its values.
fn conditions(filter: &CallFilter) -> (String, Vec<Value>) {
    let mut sql = String::from("1");
    let mut values: Vec<Value> = Vec::new();
    let mut and = |condition: &str, value: Value| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(endpoint) = filter.endpoint {
        and("endpoint = ?", endpoint.as_bytes().to_vec().into());
    }
    if let Some(kind) = filter.kind {
        and("kind = ?", kind.as_str().to_owned().into());
    }
    if let Some(email) = filter.email {
        and("email = ?", email.as_bytes().to_vec().into());
    }
    if let Some(from) = filter.from {
        and("at >= ?", from.as_millis().into());
    }
    if let Some(to) = filter.to {
        and("at < ?", to.as_millis().into());
    }
    if let Some(state) = filter.state {
        // A literal, because the planner must see that a partial index holds it.
        sql.push_str(&format!(" AND state = {}", state_code(state)));
    }
    if !filter.ids.is_empty() {
        let places = vec!["?"; filter.ids.len()].join(", ");
        sql.push_str(&format!(" AND id IN ({places})"));
        values.extend(filter.ids.iter().map(|id| Value::Blob(id.as_bytes().to_vec())));
    }
    (sql, values)
}

fn list(connection: &Connection, filter: &CallFilter, page: u64, limit: u64) -> Result<CallPage> {
    let transaction = connection.unchecked_transaction()?;
    let (matches, values) = conditions(filter);
    let count = format!("SELECT count(*) FROM calls WHERE {matches}");
    let total: i64 = transaction
        .prepare_cached(&count)?
        .query_row(params_from_iter(&values), |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let skipped = page.saturating_sub(1).saturating_mul(limit);
    let clamp = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let values = values.into_iter().chain([clamp(limit), clamp(skipped)]);
    let sql = format!("SELECT {COLUMNS} FROM calls WHERE {matches} ORDER BY seq DESC LIMIT ? OFFSET ?");
    let mut statement = transaction.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut calls = Vec::new();
    while let Some(row) = rows.next()? {
        calls.push(record(row)?);
    }
    Ok(CallPage { calls, total: u64::try_from(total).unwrap_or(0) })
}

fn select(connection: &Connection, filter: &CallFilter) -> Result<Vec<i64>> {
    let (matches, values) = conditions(filter);
    let mut statement = connection.prepare(&format!("SELECT seq FROM calls WHERE {matches} ORDER BY seq"))?;
    let seqs = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(seqs.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn export(connection: &Connection, after: Option<CallId>, count: usize) -> Result<Vec<CallRecord>> {
    let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM calls WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let mut rows = statement.query(params![after, i64::try_from(count).unwrap_or(i64::MAX)])?;
    let mut calls = Vec::new();
    while let Some(row) = rows.next()? {
        calls.push(record(row)?);
    }
    Ok(calls)
}

pub(super) fn import(batch: &mut Batch<'_>, calls: &[CallRecord]) -> std::result::Result<usize, Failure> {
    let mut new = 0;
    for call in calls {
        let attempts = (!call.attempts.is_empty()).then(|| codes::to_json(&call.attempts)).transpose();
        new += batch
            .connection
            .prepare_cached(
                "INSERT INTO calls (id, endpoint, event, kind, at, email, state, due_at, locked_until, tries, attempts, data, url)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                call.id.as_bytes(),
                call.endpoint.as_bytes(),
                call.event.as_bytes(),
                call.kind.as_str(),
                call.at.as_millis(),
                call.email.as_bytes(),
                state_code(call.state),
                call.due_at.unwrap_or(call.at).as_millis(),
                call.tries,
                attempts.map_err(Failure::Undo)?,
                call.data,
                call.url,
            ])?;
    }
    Ok(new)
}

fn record(row: &Row<'_>) -> Result<CallRecord> {
    let state = match row.get::<_, u8>(6)? {
        0 => CallState::Waiting,
        1 => CallState::Delivered,
        2 => CallState::GivenUp,
        code => return Err(corrupt(format!("{code} is no state of a call"))),
    };
    Ok(CallRecord {
        id: codes::id(row.get(0)?),
        endpoint: codes::id(row.get(1)?),
        event: codes::id(row.get(2)?),
        kind: kind(&row.get::<_, String>(3)?)?,
        at: codes::timestamp(row.get(4)?),
        email: codes::id(row.get(5)?),
        state,
        due_at: (state == CallState::Waiting).then_some(codes::timestamp(row.get(7)?)),
        tries: row.get(8)?,
        attempts: codes::from_optional_json(row.get::<_, Option<String>>(9)?.as_deref())?,
        data: row.get(10)?,
        url: row.get(11)?,
    })
}

fn events(connection: &Connection, after: Option<i64>, limit: usize) -> Result<EventPage> {
    let Some(after) = after else {
        return Ok(EventPage { events: Vec::new(), cursor: last_number(connection)?.to_string() });
    };
    let mut statement = connection
        .prepare_cached("SELECT seq, id, kind, at, email, delivery FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query((after, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let (mut events, mut last) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        events.push(EventRecord {
            cursor: last.to_string(),
            id: codes::id(row.get(1)?),
            kind: kind(&row.get::<_, String>(2)?)?,
            at: codes::timestamp(row.get(3)?),
            email: codes::id(row.get(4)?),
            delivery: row.get(5)?,
        });
    }
    if events.is_empty() && after > last_number(connection)? {
        return Err(no_cursor(&after.to_string()));
    }
    Ok(EventPage { events, cursor: last.to_string() })
}

/// Numbers are never used twice: those to come are behind the highest that there ever was.
fn last_number(connection: &Connection) -> Result<i64> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

fn place(cursor: &str) -> Result<i64> {
    cursor.parse().ok().filter(|&place| place >= 0).ok_or_else(|| no_cursor(cursor))
}

fn no_cursor(cursor: &str) -> StoreError {
    StoreError::Limit(format!("{cursor:?} is no place among the events of this store"))
}

fn state_code(state: CallState) -> u8 {
    match state {
        CallState::Waiting => 0,
        CallState::Delivered => 1,
        CallState::GivenUp => 2,
    }
}

fn kind(text: &str) -> Result<EventKind> {
    text.parse().map_err(corrupt)
}

#[cfg(test)]
mod tests {
    use postrider_core::ObjectId;

    use super::super::{SqliteOptions, SqliteStore};
    use super::*;

    /// However many calls are kept: an e-mail's timeline shows those about it.
    #[test]
    fn calls_about_an_email_are_found_by_an_index() {
        let folder = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
        let connection = Connection::open(folder.path().join("postrider.db")).unwrap();
        let (matches, values) = conditions(&CallFilter { email: Some(ObjectId::default()), ..CallFilter::default() });
        for sql in [
            format!("SELECT count(*) FROM calls WHERE {matches}"),
            format!("SELECT {COLUMNS} FROM calls WHERE {matches} ORDER BY seq DESC"),
        ] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = plan.query_map(params_from_iter(&values), |row| row.get::<_, String>("detail")).unwrap();
            let steps: Vec<String> = steps.map(|step| step.unwrap()).collect();
            assert!(steps.len() == 1 && steps[0].contains("calls_by_email"), "{sql}: {steps:?}");
        }
    }
}
