//! Reading e-mails: the row that lists show, one with all its deliveries, the message itself, and deleting one.

use postrider_core::bounce::Feedback;
use postrider_core::{Attempt, DeliveryStatus, EmailStatus, Instructions, ObjectId, Outcome};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::accept;
use super::batch::Batch;
use super::claim::decode_envelope;
use super::codes::{self, StatusCode};
use super::failure::Failure;
use super::sequence;
use crate::error::StoreError;
use crate::records::{DeliveryRecord, EmailDetail, EmailRecord, RawMessage};
use crate::traits::FEEDBACK_PER_DELIVERY_MAX;

/// The e-mails of which some node is sending something now, each with the lowest status code of what is being sent.
#[derive(Debug)]
pub(super) struct Sending(Vec<(i64, StatusCode)>);

impl Sending {
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn contains(&self, seq: i64) -> bool {
        self.0.binary_search_by_key(&seq, |(seq, _)| *seq).is_ok()
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, StatusCode)> {
        self.0.iter().copied()
    }
}

/// The e-mails of which some node is sending something now.
pub(super) fn sending(connection: &Connection) -> rusqlite::Result<Sending> {
    let mut statement = connection
        .prepare_cached("SELECT email, status FROM deliveries INDEXED BY deliveries_owned WHERE owner IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut emails: Vec<(i64, StatusCode)> = Vec::new();
    while let Some(row) = rows.next()? {
        emails.push((row.get(0)?, row.get(1)?));
    }
    emails.sort_unstable();
    emails.dedup_by_key(|(seq, _)| *seq);
    Ok(Sending(emails))
}

/// An e-mail's row as lists show it.
pub(super) fn record(connection: &Connection, seq: i64, is_sending: bool) -> Result<EmailRecord, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, created_at, updated_at, status, direction, size, sender, recipients, message_id, subject,
             attachments, source_ip, instructions
         FROM emails WHERE seq = ?1",
    )?;
    let mut rows = statement.query([seq])?;
    let row = rows.next()?.ok_or_else(|| super::failure::corrupt(format!("row {seq} is in an index but not there")))?;
    let (attempts, due_at): (Option<u32>, Option<i64>) = connection
        .prepare_cached(
            "SELECT max(attempts), min(CASE WHEN status <= 1 AND owner IS NULL THEN due_at END)
             FROM deliveries WHERE email = ?1",
        )?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let status = if is_sending { EmailStatus::Sending } else { codes::email_status(row.get(3)?)? };
    let attachments: Option<String> = row.get(10)?;
    let source_ip: Option<String> = row.get(11)?;
    let instructions: Option<String> = row.get(12)?;
    let instructions: Instructions = codes::from_optional_json(instructions.as_deref())?;
    Ok(EmailRecord {
        id: codes::id(row.get(0)?),
        message_id: row.get(8)?,
        direction: codes::direction(row.get(4)?),
        sender: row.get(6)?,
        recipients: row.get_ref(7)?.as_str().map_err(rusqlite::Error::from)?.lines().map(str::to_owned).collect(),
        subject: row.get(9)?,
        status,
        size: u64::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
        attempts: attempts.unwrap_or(0),
        next_attempt_at: due_at.map(codes::timestamp),
        last_error: if attempts > Some(0) { last_error(connection, seq)? } else { None },
        source_ip: source_ip.and_then(|text| text.parse().ok()),
        created_at: codes::timestamp(row.get(1)?),
        updated_at: codes::timestamp(row.get(2)?),
        attachments: codes::from_optional_json(attachments.as_deref())?,
        tags: instructions.tags,
    })
}

/// Why the last attempt failed of those that its deliveries had which are not sent.
pub(super) fn last_error(connection: &Connection, seq: i64) -> Result<Option<String>, StoreError> {
    last_error_if(connection, seq, |_| true)
}

/// As [`last_error`], where its record, which is JSON, may be the one that is looked for.
pub(super) fn last_error_if(
    connection: &Connection,
    seq: i64,
    may_be: impl Fn(&str) -> bool,
) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT record FROM attempts WHERE (email, number, attempt) = (
             SELECT email, number, attempts FROM deliveries WHERE email = ?1 AND status != 5 AND attempts > 0
             ORDER BY tried_at DESC, number LIMIT 1)",
    )?;
    let record: Option<String> = statement.query_row([seq], |row| row.get(0)).optional()?;
    let record = record.filter(|record| may_be(record));
    let attempt: Option<Attempt> = record.map(|record| codes::from_json(&record)).transpose()?;
    Ok(attempt.and_then(|attempt| attempt.outcome.error()))
}

/// One e-mail with all that is kept of it but the message.
pub(super) fn detail(connection: &Connection, id: ObjectId) -> Result<Option<EmailDetail>, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let Some(seq) = find_listed(&transaction, id)? else { return Ok(None) };
    let attempts = attempts(&transaction, seq)?;
    let (deliveries, is_sending) = deliveries(&transaction, seq, &attempts)?;
    let (sender, [envelope, instructions, authentication]): (String, [Option<String>; 3]) = transaction
        .prepare_cached("SELECT sender, envelope, instructions, authentication FROM emails WHERE seq = ?1")?
        .query_row([seq], |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?])))?;
    Ok(Some(EmailDetail {
        email: record(&transaction, seq, is_sending)?,
        envelope: decode_envelope(&sender, envelope.as_deref())?,
        instructions: codes::from_optional_json(instructions.as_deref())?,
        authentication: codes::from_optional_json(authentication.as_deref())?,
        deliveries,
        attempts,
    }))
}

/// Up to this size a message is read on the task that asks, in bytes: decoding it takes some tens of microseconds.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// The message, as it was accepted, of an e-mail that is listed.
pub(super) fn raw(connection: &Connection, id: ObjectId) -> Result<Option<RawMessage>, StoreError> {
    Ok(read_raw(connection, id, LISTED_SQL, usize::MAX)?.read())
}

/// As [`raw`], where that does not take long; `None` where it might.
pub(super) fn raw_small(connection: &Connection, id: ObjectId) -> Result<Option<Option<RawMessage>>, StoreError> {
    Ok(read_raw(connection, id, LISTED_SQL, SMALL_BYTES_MAX)?.small())
}

/// As [`raw`], of any e-mail.
pub(super) fn stored(connection: &Connection, id: ObjectId) -> Result<Option<RawMessage>, StoreError> {
    Ok(read_raw(connection, id, STORED_SQL, usize::MAX)?.read())
}

/// As [`raw_small`], of any e-mail.
pub(super) fn stored_small(connection: &Connection, id: ObjectId) -> Result<Option<Option<RawMessage>>, StoreError> {
    Ok(read_raw(connection, id, STORED_SQL, SMALL_BYTES_MAX)?.small())
}

enum Raw {
    None,
    Read(RawMessage),
    /// It has more bytes than were asked for.
    Larger,
}

impl Raw {
    fn read(self) -> Option<RawMessage> {
        match self {
            Self::None | Self::Larger => None,
            Self::Read(message) => Some(message),
        }
    }

    fn small(self) -> Option<Option<RawMessage>> {
        match self {
            Self::Larger => None,
            raw => Some(raw.read()),
        }
    }
}

// Content that is not asked for is not read from the disk either.
const STORED_SQL: &str = "SELECT b.encoding, b.size, b.return_path_bytes, CASE WHEN b.size <= ?4 THEN b.content END
    FROM emails AS e JOIN blobs AS b ON b.seq = e.seq WHERE e.seq BETWEEN ?1 AND ?2 AND e.id = ?3";
const LISTED_SQL: &str = "SELECT b.encoding, b.size, b.return_path_bytes, CASE WHEN b.size <= ?4 THEN b.content END
    FROM emails AS e JOIN blobs AS b ON b.seq = e.seq WHERE e.seq BETWEEN ?1 AND ?2 AND e.id = ?3 AND e.hold & 1";

fn read_raw(connection: &Connection, id: ObjectId, sql: &str, bytes_max: usize) -> Result<Raw, StoreError> {
    let (first, last) = sequence::slots(id);
    let mut statement = connection.prepare_cached(sql)?;
    let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
    let mut rows = statement.query((first, last, id.as_bytes(), bytes_max))?;
    let Some(row) = rows.next()? else { return Ok(Raw::None) };
    let Some(content) = row.get_ref(3)?.as_blob_or_null().map_err(rusqlite::Error::from)? else {
        return Ok(Raw::Larger);
    };
    let size = usize::try_from(row.get::<_, i64>(1)?).map_err(super::failure::corrupt)?;
    let raw = codes::decode_blob(row.get(0)?, content, size)?;
    Ok(Raw::Read(RawMessage { raw, return_path_bytes: row.get(2)? }))
}

/// The row of an e-mail that is listed.
fn find_listed(connection: &Connection, id: ObjectId) -> rusqlite::Result<Option<i64>> {
    let Some(seq) = sequence::find(connection, id)? else { return Ok(None) };
    let mut statement = connection.prepare_cached("SELECT 1 FROM emails WHERE seq = ?1 AND hold & 1")?;
    Ok(statement.exists([seq])?.then_some(seq))
}

/// Takes an e-mail from the record: with all that belongs to it, or but for the message where mailboxes have that.
pub(super) fn delete(batch: &mut Batch<'_>, id: ObjectId) -> Result<bool, Failure> {
    let Some(seq) = find_listed(batch.connection, id)? else { return Ok(false) };
    let entries: i64 = batch
        .connection
        .prepare_cached("SELECT entries FROM emails WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))?;
    if entries <= 0 {
        purge(batch, seq)?;
        return Ok(true);
    }
    let (status_code, instructions): (StatusCode, Option<String>) = batch
        .connection
        .prepare_cached("SELECT status, instructions FROM emails WHERE seq = ?1")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    batch.forget(seq, status_code);
    purge_tags(batch, seq, instructions.as_deref())?;
    purge_deliveries(batch, seq)?;
    batch
        .connection
        .prepare_cached("UPDATE emails SET status = ?2, hold = ?3, instructions = NULL WHERE seq = ?1")?
        .execute((seq, codes::email_status_code(EmailStatus::Received), accept::HOLD_NONE))?;
    Ok(true)
}

/// Deletes an e-mail and all that belongs to it.
pub(super) fn purge(batch: &mut Batch<'_>, seq: i64) -> Result<(), Failure> {
    let deleted: Option<(StatusCode, u8, Option<String>)> = batch
        .connection
        .prepare_cached("DELETE FROM emails WHERE seq = ?1 RETURNING status, hold, instructions")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((status_code, hold, instructions)) = deleted else { return Ok(()) };
    purge_tags(batch, seq, instructions.as_deref())?;
    for table in ["DELETE FROM blobs WHERE seq = ?1", "DELETE FROM digests WHERE seq = ?1"] {
        batch.connection.prepare_cached(table)?.execute([seq])?;
    }
    // What has that status has no deliveries.
    if status_code != codes::email_status_code(EmailStatus::Received) {
        purge_deliveries(batch, seq)?;
    }
    if hold & accept::HOLD_LISTED != 0 {
        batch.forget(seq, status_code);
    }
    Ok(())
}

fn purge_tags(batch: &mut Batch<'_>, seq: i64, instructions: Option<&str>) -> Result<(), Failure> {
    let instructions: Instructions = codes::from_optional_json(instructions).map_err(Failure::Undo)?;
    for tag in instructions.tags {
        batch.connection.prepare_cached("DELETE FROM tags WHERE tag = ?1 AND email = ?2")?.execute((tag, seq))?;
    }
    Ok(())
}

fn purge_deliveries(batch: &mut Batch<'_>, seq: i64) -> Result<(), Failure> {
    {
        let mut statement = batch
            .connection
            .prepare_cached("SELECT domain, status FROM deliveries WHERE email = ?1 AND status <= 1")?;
        let mut rows = statement.query([seq])?;
        while let Some(row) = rows.next()? {
            let status = codes::delivery_status(row.get(1)?).map_err(Failure::Undo)?;
            batch.waits(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?, Some(status), None);
        }
    }
    for table in ["DELETE FROM deliveries WHERE email = ?1", "DELETE FROM attempts WHERE email = ?1"] {
        batch.connection.prepare_cached(table)?.execute([seq])?;
    }
    Ok(())
}

fn attempts(connection: &Connection, seq: i64) -> Result<Vec<(u32, Attempt)>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT number, record FROM attempts WHERE email = ?1 ORDER BY number, attempt")?;
    let mut rows = statement.query([seq])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        let record = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        attempts.push((row.get(0)?, codes::from_json(record)?));
    }
    Ok(attempts)
}

/// The deliveries of an e-mail, and whether a node is sending one of them now.
fn deliveries(
    connection: &Connection,
    seq: i64,
    attempts: &[(u32, Attempt)],
) -> Result<(Vec<DeliveryRecord>, bool), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, status, owner IS NOT NULL, due_at, attempts, recipient, feedback,
             (SELECT id FROM nodes WHERE nodes.number = owner)
         FROM deliveries WHERE email = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([seq])?;
    let (mut deliveries, mut is_any_sending) = (Vec::new(), false);
    while let Some(row) = rows.next()? {
        let is_sending: bool = row.get(2)?;
        is_any_sending |= is_sending;
        // Attempts are in the order of their delivery, so that its last is the one before the next delivery's first.
        let number: u32 = row.get(0)?;
        let end = attempts.partition_point(|(other, _)| *other <= number);
        let last = end.checked_sub(1).and_then(|last| attempts.get(last)).filter(|(other, _)| *other == number);
        deliveries.push(delivery(row, number, is_sending, last.map(|(_, attempt)| attempt))?);
    }
    Ok((deliveries, is_any_sending))
}

fn delivery(
    row: &Row<'_>,
    number: u32,
    is_sending: bool,
    last: Option<&Attempt>,
) -> Result<DeliveryRecord, StoreError> {
    let status: DeliveryStatus = codes::delivery_status(row.get(1)?)?;
    let outcome = last.map(|attempt| &attempt.outcome);
    Ok(DeliveryRecord {
        number,
        recipient: row.get(5)?,
        status: if is_sending { EmailStatus::Sending } else { EmailStatus::of([status]) },
        ordered: (is_sending && !status.is_waiting()).then_some(status),
        node: row.get::<_, Option<_>>(7)?.map(codes::id),
        attempts: row.get(4)?,
        next_attempt_at: if status.is_waiting() && !is_sending { Some(codes::timestamp(row.get(3)?)) } else { None },
        last_response: outcome.and_then(Outcome::reply).cloned(),
        last_error: outcome.and_then(Outcome::error),
        category: outcome.and_then(Outcome::category),
        mx: last.and_then(|attempt| attempt.mx.clone()),
        mx_ip: last.and_then(|attempt| attempt.mx_ip),
        source_ip: last.and_then(|attempt| attempt.source_ip),
        tls: last.and_then(|attempt| attempt.tls.clone()),
        feedback: feedback(row.get(6)?)?,
    })
}

/// What came back, from its column.
pub(super) fn feedback(column: Option<String>) -> Result<Vec<Feedback>, StoreError> {
    column.map_or(Ok(Vec::new()), |json| codes::from_json(&json))
}

/// Adds what came back to deliveries that are there. Returns how much.
pub(super) fn note_feedback(
    batch: &mut Batch<'_>,
    email: ObjectId,
    noted: &[(u32, Feedback)],
) -> Result<usize, Failure> {
    let Some(seq) = sequence::find(batch.connection, email)? else { return Ok(0) };
    let mut count = 0;
    for (number, one) in noted {
        let known: Option<Option<String>> = batch
            .connection
            .prepare_cached("SELECT feedback FROM deliveries WHERE email = ?1 AND number = ?2")?
            .query_row((seq, number), |row| row.get(0))
            .optional()?;
        let Some(known) = known else { continue };
        let mut all = feedback(known)?;
        if all.len() >= FEEDBACK_PER_DELIVERY_MAX {
            continue;
        }
        all.push(one.clone());
        batch
            .connection
            .prepare_cached("UPDATE deliveries SET feedback = ?3 WHERE email = ?1 AND number = ?2")?
            .execute((seq, number, codes::to_json(&all)?))?;
        count += 1;
    }
    Ok(count)
}
