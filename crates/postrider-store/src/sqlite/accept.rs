//! Accepting e-mails.
//!
//! All that takes processor time (compression, JSON) happens on the caller's task, before the writer sees the e-mail.

use std::net::IpAddr;

use bytes::Bytes;
use postrider_core::{
    AuthenticationResult, DeliveryStatus, Direction, EmailStatus, Envelope, Instructions, Message, ObjectId, Recipient,
    Timestamp,
};
use rusqlite::params;

use super::batch::Batch;
use super::checkpoint::ROWS_BYTES;
use super::codes::{self, Blob};
use super::failure::Failure;
use super::mailboxes::append;
use super::sequence::{self, Place};
use super::{outbox, requests};
use crate::error::StoreError;
use crate::records::{Accepted, Change, EmailHold, Filed, NewDelivery, NewEmail, NewEvent, NewRequest, NodeId};

/// Bits of `emails.hold`.
pub(super) const HOLD_NONE: u8 = 0;
pub(super) const HOLD_LISTED: u8 = 1;
pub(super) const HOLD_STAYS: u8 = 2;

/// From this size on a message is compressed on a thread made for blocking work, in bytes.
const COMPRESS_INLINE_BYTES_MAX: usize = 256 << 10;

/// An e-mail on its way in, as its rows will be.
#[derive(Debug)]
pub(super) struct PreparedEmail {
    email: EmailRow,
    deliveries: Vec<PreparedDelivery>,
    filed: Option<Filed>,
    events: Vec<NewEvent>,
    request: Option<NewRequest>,
}

/// The row of an e-mail, and its message.
#[derive(Debug)]
pub(super) struct EmailRow {
    id: ObjectId,
    created_at: i64,
    updated_at: i64,
    direction: u8,
    status: EmailStatus,
    size: i64,
    return_path_bytes: u32,
    is_8bit: bool,
    sender: String,
    recipients: String,
    message_id: Option<String>,
    subject: Option<String>,
    envelope: Option<String>,
    kept: Option<String>,
    attachments: Option<String>,
    source_ip: Option<String>,
    instructions: Option<String>,
    authentication: Option<String>,
    tags: Vec<String>,
    /// Of each of its deliveries.
    rank: i8,
    hold: u8,
    blob: Blob,
}

/// What the row of an e-mail is made of.
pub(super) struct EmailParts<'e> {
    pub(super) id: ObjectId,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) direction: Direction,
    pub(super) status: EmailStatus,
    pub(super) envelope: &'e Envelope,
    pub(super) instructions: &'e Instructions,
    pub(super) authentication: &'e [AuthenticationResult],
    pub(super) message: Message,
    pub(super) kept: &'e [Recipient],
    /// Those who are delivered to elsewhere.
    pub(super) recipients: Vec<&'e Recipient>,
    pub(super) source_ip: Option<IpAddr>,
    /// [`HOLD_LISTED`] and [`HOLD_STAYS`].
    pub(super) hold: u8,
}

#[derive(Debug)]
struct PreparedDelivery {
    recipient: RecipientColumns,
    claimed_by: Option<NodeId>,
    due_at: i64,
}

/// What the row of a delivery says of its recipient.
#[derive(Debug)]
pub(super) struct RecipientColumns {
    pub(super) domain: String,
    pub(super) address: String,
    pub(super) parameters: Option<String>,
}

/// Turns an e-mail into what its rows hold.
pub(super) async fn prepare(email: NewEmail) -> Result<PreparedEmail, StoreError> {
    let parts = EmailParts {
        id: email.id,
        created_at: email.created_at,
        updated_at: email.created_at,
        direction: email.direction,
        status: EmailStatus::of(email.deliveries.iter().map(|_| DeliveryStatus::Queued)),
        envelope: &email.envelope,
        instructions: &email.instructions,
        authentication: &email.authentication,
        message: email.message,
        kept: &email.kept,
        recipients: email.deliveries.iter().map(|delivery| &delivery.recipient).collect(),
        source_ip: None,
        hold: hold(EmailHold {
            is_listed: true,
            stays_on_record: email.filed.as_ref().is_none_or(|filed| filed.stays_on_record),
        }),
    };
    Ok(PreparedEmail {
        email: EmailRow::prepare(parts).await?,
        deliveries: email.deliveries.iter().map(prepare_delivery).collect::<Result<_, _>>()?,
        filed: email.filed,
        events: email.events,
        request: email.request,
    })
}

impl PreparedEmail {
    /// About how much is written for it.
    pub(super) fn bytes(&self) -> usize {
        let filed = self.filed.as_ref().map_or(0, |filed| filed.digest.len());
        let request = self.request.as_ref().map_or(0, |request| request.answer.len() + 128);
        self.email.bytes() + self.deliveries.len() * 256 + filed + outbox::bytes(&self.events) + request
    }
}

impl EmailRow {
    pub(super) async fn prepare(parts: EmailParts<'_>) -> Result<Self, StoreError> {
        let EmailParts { envelope, instructions, authentication, kept, message, .. } = parts;
        let recipients = lines(kept.iter().chain(parts.recipients));
        let summary = message.summary;
        Ok(Self {
            id: parts.id,
            created_at: parts.created_at.as_millis(),
            updated_at: parts.updated_at.as_millis(),
            direction: codes::direction_code(parts.direction),
            status: parts.status,
            size: message.raw.len() as i64,
            return_path_bytes: message.return_path_bytes,
            is_8bit: summary.is_8bit,
            sender: envelope.reverse_path.as_str().to_owned(),
            recipients,
            message_id: summary.message_id,
            subject: summary.subject,
            envelope: envelope_json(envelope)?,
            kept: if kept.is_empty() { None } else { Some(codes::to_json(kept)?) },
            attachments: if summary.attachments.is_empty() {
                None
            } else {
                Some(codes::to_json(&summary.attachments)?)
            },
            source_ip: parts.source_ip.map(|ip| ip.to_string()),
            instructions: (!instructions.is_empty()).then(|| codes::to_json(instructions)).transpose()?,
            authentication: (!authentication.is_empty()).then(|| codes::to_json(authentication)).transpose()?,
            tags: instructions.tags.clone(),
            rank: instructions.priority.rank(),
            hold: parts.hold,
            blob: compress(&message.raw).await?,
        })
    }

    pub(super) fn id(&self) -> ObjectId {
        self.id
    }

    pub(super) fn bytes(&self) -> usize {
        self.blob.content.len() + ROWS_BYTES
    }

    /// What [`Instructions::priority`] makes of its deliveries' place in line.
    pub(super) fn rank(&self) -> i8 {
        self.rank
    }

    /// Of the message, in bytes.
    pub(super) fn size(&self) -> u32 {
        u32::try_from(self.size).unwrap_or(u32::MAX)
    }

    /// Writes the row and the message, to which so many entries refer; `None`, and nothing is written, if there is no place
    /// for its id.
    pub(super) fn insert(&self, batch: &mut Batch<'_>, entries: usize) -> rusqlite::Result<Option<i64>> {
        let Place::Free(seq) = sequence::place(batch.connection, self.id)? else { return Ok(None) };
        self.insert_at(batch, seq, entries)?;
        Ok(Some(seq))
    }

    fn insert_at(&self, batch: &mut Batch<'_>, seq: i64, entries: usize) -> rusqlite::Result<()> {
        batch
            .connection
            .prepare_cached(
                "INSERT INTO emails (seq, id, created_at, updated_at, status, direction, size, return_path_bytes, is_8bit,
                     sender, recipients, message_id, subject, envelope, kept, attachments, source_ip, entries, hold,
                     instructions, authentication)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
            )?
            .execute(params![
                seq,
                self.id.as_bytes(),
                self.created_at,
                self.updated_at,
                codes::email_status_code(self.status),
                self.direction,
                self.size,
                self.return_path_bytes,
                self.is_8bit,
                self.sender,
                self.recipients,
                self.message_id,
                self.subject,
                self.envelope,
                self.kept,
                self.attachments,
                self.source_ip,
                entries as i64,
                self.hold,
                self.instructions,
                self.authentication,
            ])?;
        for tag in &self.tags {
            batch.connection.prepare_cached("INSERT INTO tags VALUES (?1, ?2)")?.execute((tag, seq))?;
        }
        let content: &[u8] = &self.blob.content;
        batch.connection.prepare_cached("INSERT INTO blobs VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            seq,
            self.blob.encoding,
            self.size,
            self.return_path_bytes,
            content,
        ])?;
        if self.hold & HOLD_LISTED != 0 {
            batch.count(seq, self.status);
        }
        Ok(())
    }
}

pub(super) fn hold(hold: EmailHold) -> u8 {
    let bit = |is_set, bit| if is_set { bit } else { HOLD_NONE };
    bit(hold.is_listed, HOLD_LISTED) | bit(hold.stays_on_record, HOLD_STAYS)
}

/// Writes an e-mail's rows, and its entries in mailboxes. Refuses an id that is taken.
pub(super) fn insert(batch: &mut Batch<'_>, prepared: &PreparedEmail) -> Result<Accepted, Failure> {
    let email = &prepared.email;
    requests::check(batch, prepared.request.as_ref())?;
    let Place::Free(seq) = sequence::place(batch.connection, email.id)? else {
        return Err(Failure::Refused(StoreError::Exists(format!("e-mail {}", email.id))));
    };
    let Some(filed) = &prepared.filed else {
        email.insert_at(batch, seq, 0)?;
        insert_rest(batch, seq, prepared)?;
        return Ok(Accepted::default());
    };
    let created_at = Timestamp::from_millis(email.created_at);
    let (slots, accepted) = append::choose(batch, &filed.filings, (email.size(), created_at))?;
    if slots.is_empty() && !filed.stays_on_record {
        return Ok(accepted);
    }
    email.insert_at(batch, seq, slots.len())?;
    insert_rest(batch, seq, prepared)?;
    if !slots.is_empty() {
        append::insert_digest(batch, (email.id, seq), &filed.digest)?;
        append::file(batch, (email.id, seq), (email.size(), created_at), &slots)?;
    }
    Ok(accepted)
}

/// Writes all of an e-mail that stands beside its row and its entries.
fn insert_rest(batch: &mut Batch<'_>, seq: i64, prepared: &PreparedEmail) -> Result<(), Failure> {
    insert_deliveries(batch, seq, prepared)?;
    outbox::add(batch, prepared.email.id, None, &prepared.events)?;
    requests::add(batch, prepared.request.as_ref(), Timestamp::from_millis(prepared.email.created_at))
}

fn insert_deliveries(batch: &mut Batch<'_>, seq: i64, prepared: &PreparedEmail) -> Result<(), Failure> {
    for (number, delivery) in (0u32..).zip(&prepared.deliveries) {
        let owner = delivery.claimed_by.map(|node| batch.node(node)).transpose()?.flatten();
        batch
            .connection
            .prepare_cached(
                "INSERT INTO deliveries (email, number, status, owner, due_at, attempts, delay_notified, domain, recipient,
                     parameters, rank, queued_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                seq,
                number,
                codes::delivery_status_code(DeliveryStatus::Queued),
                owner,
                delivery.due_at,
                delivery.recipient.domain,
                delivery.recipient.address,
                delivery.recipient.parameters,
                prepared.email.rank,
                (delivery.due_at > prepared.email.created_at).then_some(delivery.due_at),
            ])?;
        batch.waits(&delivery.recipient.domain, None, Some(DeliveryStatus::Queued));
        if owner.is_none() {
            batch.tell(Change::Queue);
        }
    }
    Ok(())
}

async fn compress(raw: &Bytes) -> Result<Blob, StoreError> {
    if raw.len() <= COMPRESS_INLINE_BYTES_MAX {
        return Ok(codes::encode_blob(raw));
    }
    let raw = raw.clone();
    tokio::task::spawn_blocking(move || codes::encode_blob(&raw))
        .await
        .map_err(|error| StoreError::Unavailable(format!("a message could not be compressed: {error}")))
}

fn prepare_delivery(delivery: &NewDelivery) -> Result<PreparedDelivery, StoreError> {
    Ok(PreparedDelivery {
        recipient: RecipientColumns::of(&delivery.recipient)?,
        claimed_by: delivery.claimed_by,
        due_at: delivery.due_at.as_millis(),
    })
}

impl RecipientColumns {
    pub(super) fn of(recipient: &Recipient) -> Result<Self, StoreError> {
        let is_plain = recipient.notify.is_none() && recipient.original_recipient.is_none();
        Ok(Self {
            domain: recipient.address.domain().as_str().to_owned(),
            address: recipient.address.as_str().to_owned(),
            parameters: if is_plain { None } else { Some(codes::to_json(recipient)?) },
        })
    }
}

/// Most envelopes say nothing but the sender, which has its own column.
fn envelope_json(envelope: &Envelope) -> Result<Option<String>, StoreError> {
    let plain = Envelope { reverse_path: envelope.reverse_path.clone(), ..Envelope::default() };
    if *envelope == plain { Ok(None) } else { codes::to_json(envelope).map(Some) }
}

/// Addresses line by line: no address has a line feed in it.
fn lines<'a>(recipients: impl Iterator<Item = &'a Recipient>) -> String {
    let mut text = String::new();
    for recipient in recipients {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(recipient.address.as_str());
    }
    text
}
