//! E-mails whole, out of this database and into it: everything but claims.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use postrider_core::submission::RequestKey;
use postrider_core::{Attempt, EmailStatus, Message, ObjectId, Outcome, Summary};
use rusqlite::{Connection, Row, params};

use super::accept::{self, EmailParts, EmailRow, RecipientColumns};
use super::batch::Batch;
use super::checkpoint::ROWS_BYTES;
use super::claim::decode_envelope;
use super::failure::{Failure, corrupt};
use super::mailboxes::{append, removal, transfer as mailboxes};
use super::{SqliteStore, codes, outbox, record, requests, sequence};
use crate::error::StoreError;
use crate::records::*;
use crate::traits::Transfer;

/// An export ends behind the e-mail whose message reaches this, in bytes.
const EXPORT_BYTES_MAX: usize = 16 << 20;

/// What an entry is in a row of entries, in bytes.
const ENTRY_BYTES: usize = 64;

#[async_trait]
impl Transfer for SqliteStore {
    async fn export(&self, after: Option<ObjectId>, count: usize) -> super::Result<Vec<StoredEmail>> {
        self.read(move |connection| export(connection, after, count)).await
    }

    async fn import(&self, emails: Vec<StoredEmail>) -> super::Result<usize> {
        let mut prepared = Vec::with_capacity(emails.len());
        for email in emails {
            prepared.push(prepare(email).await?);
        }
        let bytes = prepared.iter().map(PreparedTransfer::bytes).sum();
        self.writer.write(bytes, move |batch| import(batch, &prepared)).await
    }

    async fn export_calls(&self, after: Option<CallId>, count: usize) -> super::Result<Vec<CallRecord>> {
        self.read(move |connection| outbox::export(connection, after, count)).await
    }

    async fn import_calls(&self, calls: Vec<CallRecord>) -> super::Result<usize> {
        let bytes = calls.iter().map(|call| ROWS_BYTES + call.data.len()).sum();
        self.writer.write(bytes, move |batch| outbox::import(batch, &calls)).await
    }

    async fn export_requests(
        &self,
        after: Option<(RequestKey, u32)>,
        count: usize,
    ) -> super::Result<Vec<RequestRecord>> {
        self.read(move |connection| requests::export(connection, after, count)).await
    }

    async fn import_requests(&self, requests: Vec<RequestRecord>) -> super::Result<usize> {
        let bytes = requests.len() * ROWS_BYTES;
        self.writer.write(bytes, move |batch| requests::import(batch, &requests)).await
    }

    async fn export_mailboxes(&self, user: UserId) -> super::Result<StoredMailboxes> {
        self.read(move |connection| mailboxes::export(connection, user)).await
    }

    async fn import_mailboxes(&self, user: UserId, mailboxes: StoredMailboxes) -> super::Result<()> {
        self.writer.write(ROWS_BYTES, move |batch| mailboxes::import(batch, user, &mailboxes)).await?;
        removal::purge(&self.writer).await
    }

    async fn export_entries(&self, mailbox: MailboxId, after: u32, count: usize) -> super::Result<Vec<Entry>> {
        self.read(move |connection| mailboxes::export_entries(connection, mailbox, after, count)).await
    }

    async fn import_entries(&self, mailbox: MailboxId, entries: Vec<Entry>) -> super::Result<usize> {
        let bytes = ROWS_BYTES + entries.len() * ENTRY_BYTES;
        self.writer.write(bytes, move |batch| mailboxes::import_entries(batch, mailbox, &entries)).await
    }
}

/// Reads e-mails in the order of their rows.
fn export(connection: &Connection, after: Option<ObjectId>, count: usize) -> Result<Vec<StoredEmail>, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let after = match after {
        None => -1,
        // From one that was deleted the way goes on at the place that it had, or a little before.
        Some(id) => sequence::find(&transaction, id)?.unwrap_or(sequence::slots(id).0 - 1),
    };
    let mut statement = transaction.prepare_cached(
        "SELECT e.seq, e.id, e.created_at, e.updated_at, e.direction, e.sender, e.envelope, e.kept, e.source_ip,
             e.message_id, e.subject, e.attachments, e.is_8bit,
             b.encoding, b.size, b.return_path_bytes, b.content, e.hold, d.content,
             e.instructions, e.authentication
         FROM emails AS e NOT INDEXED JOIN blobs AS b ON b.seq = e.seq LEFT JOIN digests AS d ON d.seq = e.seq
         WHERE e.seq > ?1 ORDER BY e.seq",
    )?;
    let mut rows = statement.query([after])?;
    let (mut emails, mut bytes) = (Vec::new(), 0);
    while emails.len() < count && bytes < EXPORT_BYTES_MAX {
        let Some(row) = rows.next()? else { break };
        let seq = row.get(0)?;
        let email = email(row, deliveries(&transaction, seq)?)?;
        bytes += email.message.raw.len();
        emails.push(email);
    }
    Ok(emails)
}

fn email(row: &Row<'_>, deliveries: Vec<StoredDelivery>) -> Result<StoredEmail, StoreError> {
    let optional = |column| -> rusqlite::Result<Option<String>> { row.get(column) };
    let (kept, source_ip, attachments) = (optional(7)?, optional(8)?, optional(11)?);
    let summary = Summary {
        message_id: row.get(9)?,
        subject: row.get(10)?,
        attachments: attachments.as_deref().map_or(Ok(Vec::new()), codes::from_json)?,
        is_8bit: row.get(12)?,
    };
    let size = usize::try_from(row.get::<_, i64>(14)?).map_err(corrupt)?;
    let content = row.get_ref(16)?.as_blob().map_err(rusqlite::Error::from)?;
    let raw = codes::decode_blob(row.get(13)?, content, size)?;
    let sender: String = row.get(5)?;
    let hold: u8 = row.get(17)?;
    Ok(StoredEmail {
        id: codes::id(row.get(1)?),
        created_at: codes::timestamp(row.get(2)?),
        updated_at: codes::timestamp(row.get(3)?),
        direction: codes::direction(row.get(4)?),
        envelope: decode_envelope(&sender, optional(6)?.as_deref())?,
        instructions: codes::from_optional_json(optional(19)?.as_deref())?,
        authentication: codes::from_optional_json(optional(20)?.as_deref())?,
        message: Message { raw, return_path_bytes: row.get(15)?, summary },
        kept: kept.as_deref().map_or(Ok(Vec::new()), codes::from_json)?,
        source_ip: source_ip.and_then(|text| text.parse().ok()),
        deliveries,
        hold: EmailHold { is_listed: hold & accept::HOLD_LISTED != 0, stays_on_record: hold & accept::HOLD_STAYS != 0 },
        digest: row.get::<_, Option<Vec<u8>>>(18)?.map(Bytes::from),
    })
}

fn deliveries(connection: &Connection, seq: i64) -> Result<Vec<StoredDelivery>, StoreError> {
    let mut attempts: HashMap<u32, Vec<Attempt>> = HashMap::new();
    let mut statement =
        connection.prepare_cached("SELECT number, record FROM attempts WHERE email = ?1 ORDER BY number, attempt")?;
    let mut rows = statement.query([seq])?;
    while let Some(row) = rows.next()? {
        let record = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        attempts.entry(row.get(0)?).or_default().push(codes::from_json(record)?);
    }
    let mut statement = connection.prepare_cached(
        "SELECT number, recipient, parameters, status, due_at, queued_at, delay_notified, feedback FROM deliveries
         WHERE email = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([seq])?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next()? {
        let (address, parameters): (String, Option<String>) = (row.get(1)?, row.get(2)?);
        let queued_at: Option<i64> = row.get(5)?;
        deliveries.push(StoredDelivery {
            recipient: codes::recipient(&address, parameters.as_deref())?,
            status: codes::delivery_status(row.get(3)?)?,
            due_at: codes::timestamp(row.get(4)?),
            queued_at: queued_at.map(codes::timestamp),
            delay_notified: row.get(6)?,
            attempts: attempts.remove(&row.get(0)?).unwrap_or_default(),
            feedback: record::feedback(row.get(7)?)?,
        });
    }
    Ok(deliveries)
}

/// An e-mail of another store as its rows will be.
#[derive(Debug)]
struct PreparedTransfer {
    email: EmailRow,
    digest: Option<Bytes>,
    deliveries: Vec<PreparedDelivery>,
}

#[derive(Debug)]
struct PreparedDelivery {
    delivery: StoredDelivery,
    recipient: RecipientColumns,
    /// JSON of its attempts.
    records: Vec<String>,
    /// JSON of what came back.
    feedback: Option<String>,
}

impl PreparedTransfer {
    /// About how much is written for it.
    fn bytes(&self) -> usize {
        let records = self.deliveries.iter().flat_map(|delivery| &delivery.records);
        let records: usize = records.map(|record| record.len() + 64).sum();
        self.email.bytes() + self.deliveries.len() * 256 + records + self.digest.as_ref().map_or(0, Bytes::len)
    }
}

/// Turns an e-mail into what its rows hold.
async fn prepare(email: StoredEmail) -> Result<PreparedTransfer, StoreError> {
    let parts = EmailParts {
        id: email.id,
        created_at: email.created_at,
        updated_at: email.updated_at,
        direction: email.direction,
        status: EmailStatus::of(email.deliveries.iter().map(|delivery| delivery.status)),
        envelope: &email.envelope,
        instructions: &email.instructions,
        authentication: &email.authentication,
        message: email.message,
        kept: &email.kept,
        recipients: email.deliveries.iter().map(|delivery| &delivery.recipient).collect(),
        source_ip: email.source_ip,
        hold: accept::hold(email.hold),
    };
    let row = EmailRow::prepare(parts).await?;
    let deliveries = email.deliveries.into_iter().map(|delivery| {
        Ok(PreparedDelivery {
            recipient: RecipientColumns::of(&delivery.recipient)?,
            feedback: Some(&delivery.feedback).filter(|all| !all.is_empty()).map(codes::to_json).transpose()?,
            records: delivery.attempts.iter().map(codes::to_json).collect::<Result<_, _>>()?,
            delivery,
        })
    });
    Ok(PreparedTransfer {
        email: row,
        digest: email.digest,
        deliveries: deliveries.collect::<Result<_, StoreError>>()?,
    })
}

/// Writes the rows of those that are not there. Returns how many these are.
fn import(batch: &mut Batch<'_>, emails: &[PreparedTransfer]) -> Result<usize, Failure> {
    let mut new = 0;
    for prepared in emails {
        if sequence::find(batch.connection, prepared.email.id())?.is_some() {
            continue;
        }
        let Some(seq) = prepared.email.insert(batch, 0)? else {
            let error = format!("too many e-mails share second and counter with {}", prepared.email.id());
            return Err(Failure::Undo(StoreError::Full(error)));
        };
        if let Some(digest) = &prepared.digest {
            append::insert_digest(batch, (prepared.email.id(), seq), digest)?;
        }
        for (number, delivery) in (0u32..).zip(&prepared.deliveries) {
            insert_delivery(batch, (seq, number), prepared.email.rank(), delivery)?;
        }
        new += 1;
    }
    Ok(new)
}

fn insert_delivery(
    batch: &mut Batch<'_>,
    (seq, number): (i64, u32),
    rank: i8,
    prepared: &PreparedDelivery,
) -> Result<(), Failure> {
    let PreparedDelivery { delivery, recipient, records, .. } = prepared;
    let last = delivery.attempts.last();
    batch
        .connection
        .prepare_cached(
            "INSERT INTO deliveries (email, number, status, owner, due_at, attempts, delay_notified, domain, recipient,
                 parameters, last_category, queued_at, tried_at, feedback, rank)
             VALUES (?1, ?2, ?3, NULL, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            seq,
            number,
            codes::delivery_status_code(delivery.status),
            delivery.due_at.as_millis(),
            records.len() as i64,
            delivery.delay_notified,
            recipient.domain,
            recipient.address,
            recipient.parameters,
            last.and_then(|attempt| attempt.outcome.category()).map(|category| category.as_str()),
            delivery.queued_at.map(|at| at.as_millis()),
            last.map(|attempt| (attempt.started_at + attempt.duration).as_millis()),
            prepared.feedback,
            rank,
        ])?;
    for (attempt, record) in (1i64..).zip(records) {
        batch
            .connection
            .prepare_cached("INSERT INTO attempts VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![seq, number, attempt, record])?;
    }
    for attempt in &delivery.attempts {
        if let Outcome::Deferred { .. } = attempt.outcome {
            let at = attempt.started_at + attempt.duration;
            batch.domain_deferred(recipient.domain.clone(), at, attempt.outcome.error().unwrap_or_default());
        }
    }
    batch.waits(&recipient.domain, None, Some(delivery.status));
    if delivery.status.is_waiting() {
        batch.tell(Change::Queue);
    }
    Ok(())
}
