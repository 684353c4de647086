//! Accepting e-mails.
//!
//! All that takes processor time (compression, JSON) happens on the caller's task, before the writer sees the e-mail.

use bytes::Bytes;
use postrider_core::{DeliveryStatus, EmailStatus, Envelope, ObjectId, Recipient};
use rusqlite::params;

use super::batch::Batch;
use super::checkpoint::ROWS_BYTES;
use super::codes::{self, Blob};
use super::failure::Failure;
use super::sequence::{self, Place};
use crate::error::StoreError;
use crate::records::{NewDelivery, NewEmail, NodeId};

/// From this size on a message is compressed on a thread made for blocking work, in bytes.
const COMPRESS_INLINE_BYTES_MAX: usize = 256 << 10;

/// An e-mail as its rows will be.
#[derive(Debug)]
pub(super) struct PreparedEmail {
    id: ObjectId,
    created_at: i64,
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
    blob: Blob,
    deliveries: Vec<PreparedDelivery>,
}

#[derive(Debug)]
struct PreparedDelivery {
    domain: String,
    recipient: String,
    parameters: Option<String>,
    claimed_by: Option<NodeId>,
    due_at: i64,
}

/// Turns an e-mail into what its rows hold.
pub(super) async fn prepare(email: NewEmail) -> Result<PreparedEmail, StoreError> {
    let blob = compress(&email.message.raw).await?;
    let NewEmail { id, created_at, direction, envelope, message, kept, deliveries } = email;
    let recipients = kept.iter().chain(deliveries.iter().map(|delivery| &delivery.recipient));
    let summary = message.summary;
    Ok(PreparedEmail {
        id,
        created_at: created_at.as_millis(),
        direction: codes::direction_code(direction),
        status: EmailStatus::of(deliveries.iter().map(|_| DeliveryStatus::Queued)),
        size: message.raw.len() as i64,
        return_path_bytes: message.return_path_bytes,
        is_8bit: summary.is_8bit,
        sender: envelope.reverse_path.as_str().to_owned(),
        recipients: lines(recipients),
        message_id: summary.message_id,
        subject: summary.subject,
        envelope: envelope_json(&envelope)?,
        kept: if kept.is_empty() { None } else { Some(codes::to_json(&kept)?) },
        attachments: if summary.attachments.is_empty() { None } else { Some(codes::to_json(&summary.attachments)?) },
        blob,
        deliveries: deliveries.into_iter().map(prepare_delivery).collect::<Result<_, _>>()?,
    })
}

impl PreparedEmail {
    /// About how much is written for it.
    pub(super) fn bytes(&self) -> usize {
        self.blob.content.len() + ROWS_BYTES + self.deliveries.len() * 256
    }
}

/// Writes an e-mail's rows. Refuses an id that is taken.
pub(super) fn insert(batch: &mut Batch<'_>, email: &PreparedEmail) -> Result<(), Failure> {
    let Place::Free(seq) = sequence::place(batch.connection, email.id)? else {
        return Err(Failure::Refused(StoreError::Exists(format!("e-mail {}", email.id))));
    };
    batch
        .connection
        .prepare_cached(
            "INSERT INTO emails (seq, id, created_at, updated_at, status, direction, size, return_path_bytes, is_8bit,
                 sender, recipients, message_id, subject, envelope, kept, attachments)
             VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            seq,
            email.id.as_bytes(),
            email.created_at,
            codes::email_status_code(email.status),
            email.direction,
            email.size,
            email.return_path_bytes,
            email.is_8bit,
            email.sender,
            email.recipients,
            email.message_id,
            email.subject,
            email.envelope,
            email.kept,
            email.attachments,
        ])?;
    let content: &[u8] = &email.blob.content;
    batch.connection.prepare_cached("INSERT INTO blobs VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        seq,
        email.blob.encoding,
        email.size,
        email.return_path_bytes,
        content,
    ])?;
    for (number, delivery) in (0u32..).zip(&email.deliveries) {
        let owner = delivery.claimed_by.map(|node| batch.node(node)).transpose()?.flatten();
        batch
            .connection
            .prepare_cached("INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, ?7, ?8, NULL, NULL, NULL)")?
            .execute(params![
                seq,
                number,
                codes::delivery_status_code(DeliveryStatus::Queued),
                owner,
                delivery.due_at,
                delivery.domain,
                delivery.recipient,
                delivery.parameters,
            ])?;
        batch.waits(&delivery.domain, None, Some(DeliveryStatus::Queued));
    }
    batch.count(email.status);
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

fn prepare_delivery(delivery: NewDelivery) -> Result<PreparedDelivery, StoreError> {
    let NewDelivery { recipient, claimed_by, due_at } = delivery;
    let is_plain = recipient.notify.is_none() && recipient.original_recipient.is_none();
    Ok(PreparedDelivery {
        domain: recipient.address.domain().as_str().to_owned(),
        recipient: recipient.address.as_str().to_owned(),
        parameters: if is_plain { None } else { Some(codes::to_json(&recipient)?) },
        claimed_by,
        due_at: due_at.as_millis(),
    })
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
