//! An e-mail as its documents will be.
//!
//! `emails` has the shape that other programs read: sender, recipients, subject, text, html, attachments, raw, createdAt.
//! Postrider's own fields stand behind these. What does not fit into one document goes to GridFS.

use bytes::Bytes;
use mongodb::bson::raw::{RawBson, RawDocumentBuf, cstr};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{self, Binary, DateTime, Document, RawBinaryRef, doc, oid};
use postrider_core::{
    Address, Attachment, Bodies, DeliveryStatus, Direction, EmailStatus, Envelope, Message, ObjectId, Recipient,
};
use postrider_store::{
    DeliveryId, EmailHold, Filing, NewDelivery, NewEmail, NodeId, StoreError, StoredDelivery, StoredEmail,
};

use crate::codes::{self, date, oid};
use crate::documents::{AttemptDocument, DeliveryDocument};
use crate::failure::corrupt;
use crate::guard::Claim;
use crate::mailboxes::DigestDocument;
use crate::outbox::Told;
use crate::requests::RequestDocument;
use crate::search;

/// Contents up to this many bytes stand in the e-mail's document. MongoDB's limit is 16 MiB for the whole of it.
const INLINE_BYTES_MAX: usize = 14 << 20;

/// The limit of a document, less what the server may add to it.
const DOCUMENT_BYTES_MAX: usize = (16 << 20) - (16 << 10);

/// From this size on a message is taken apart on a thread made for blocking work, in bytes.
const PREPARE_INLINE_BYTES_MAX: usize = 256 << 10;

/// What a document takes beside its contents, in bytes: for the size of batches.
const ROW_BYTES: usize = 1_024;

/// An e-mail ready to be written.
#[derive(Debug)]
pub(crate) struct PreparedEmail {
    pub(crate) id: ObjectId,
    pub(crate) status: EmailStatus,
    pub(crate) document: RawDocumentBuf,
    pub(crate) deliveries: Vec<DeliveryDocument>,
    pub(crate) attempts: Vec<AttemptDocument>,
    pub(crate) told: Told,
    pub(crate) request: Option<RequestDocument>,
    /// What must be in GridFS before the document is written.
    pub(crate) files: Vec<File>,
    pub(crate) hold: EmailHold,
    pub(crate) filings: Vec<Filing>,
    /// Of the raw message.
    pub(crate) size: i64,
    pub(crate) created_at: DateTime,
    digest: Option<Bytes>,
    /// Names the claims that it makes.
    claim: oid::ObjectId,
}

/// Content for GridFS.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) id: oid::ObjectId,
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

impl PreparedEmail {
    /// About how much is written for it in its transaction.
    pub(crate) fn bytes(&self) -> usize {
        // Each delivery has the Message-ID, the subject and the envelope with it.
        let told = self.deliveries.first().map_or(0, |delivery| {
            [&delivery.message_id, &delivery.subject].into_iter().flatten().map(String::len).sum::<usize>()
        });
        let rows = (ROW_BYTES + told) * self.deliveries.len() + ROW_BYTES * (1 + self.attempts.len());
        let filed = self.digest.as_ref().map_or(0, Bytes::len) + ROW_BYTES * self.filings.len();
        self.document.as_bytes().len()
            + rows
            + filed
            + self.told.bytes()
            + self.request.as_ref().map_or(0, RequestDocument::bytes)
    }

    /// What is kept beside the document for mailboxes, if so many entries of them refer to it.
    pub(crate) fn digest(&self, references: i64) -> Option<DigestDocument> {
        let is_plain = self.digest.is_none() && self.hold == EmailHold::RECORD && references == 0;
        (!is_plain).then(|| DigestDocument {
            email: oid(self.id),
            references,
            is_listed: self.hold.is_listed,
            stays_on_record: self.hold.stays_on_record,
            has_files: !self.files.is_empty(),
            digest: self
                .digest
                .as_ref()
                .map(|digest| Binary { subtype: BinarySubtype::Generic, bytes: digest.to_vec() }),
        })
    }

    /// The claim that it makes, if it makes one.
    pub(crate) fn claim(&self) -> Option<Claim> {
        let claimed = self.deliveries.iter().filter(|delivery| delivery.owner.is_some());
        let keys: Vec<String> = claimed.map(|delivery| delivery.key.clone()).collect();
        (!keys.is_empty()).then_some(Claim { name: self.claim, keys })
    }

    /// Whether it has deliveries that any node may claim.
    pub(crate) fn has_unclaimed(&self) -> bool {
        self.deliveries.iter().any(|delivery| delivery.ready_at.is_some())
    }
}

/// Turns an e-mail into documents. `holds` tells which nodes may be given claims.
pub(crate) async fn prepare(email: NewEmail, holds: impl Fn(NodeId) -> bool) -> Result<PreparedEmail, StoreError> {
    let NewEmail {
        id,
        created_at,
        direction,
        envelope,
        instructions,
        authentication,
        message,
        kept,
        deliveries,
        filed,
        events,
        request,
    } = email;
    let claimed_by: Vec<Option<NodeId>> =
        deliveries.iter().map(|delivery| delivery.claimed_by.filter(|&node| holds(node))).collect();
    let stored = |NewDelivery { recipient, due_at, .. }| StoredDelivery {
        recipient,
        status: DeliveryStatus::Queued,
        due_at,
        queued_at: (due_at > created_at).then_some(due_at),
        delay_notified: false,
        attempts: Vec::new(),
        feedback: Vec::new(),
    };
    let deliveries = deliveries.into_iter().map(stored).collect();
    let (digest, filings, stays_on_record) = match filed {
        Some(filed) => (Some(filed.digest), filed.filings, filed.stays_on_record),
        None => (None, Vec::new(), true),
    };
    let stored = StoredEmail {
        id,
        created_at,
        updated_at: created_at,
        direction,
        envelope,
        instructions,
        authentication,
        message,
        kept,
        source_ip: None,
        deliveries,
        hold: EmailHold { is_listed: true, stays_on_record },
        digest,
    };
    let mut prepared = prepare_stored(stored).await?;
    prepared.filings = filings;
    prepared.told.add(id, None, &events);
    prepared.request = request.map(|request| RequestDocument::new(&request, created_at));
    for (delivery, node) in prepared.deliveries.iter_mut().zip(claimed_by) {
        if let Some(node) = node {
            delivery.owner = Some(oid(node));
            delivery.claim = Some(prepared.claim);
            delivery.ready_at = None;
        }
    }
    Ok(prepared)
}

/// Turns an e-mail of another store into documents.
pub(crate) async fn prepare_stored(email: StoredEmail) -> Result<PreparedEmail, StoreError> {
    if email.message.raw.len() <= PREPARE_INLINE_BYTES_MAX {
        return documents(&email);
    }
    tokio::task::spawn_blocking(move || documents(&email))
        .await
        .map_err(|error| StoreError::Unavailable(format!("a message could not be taken apart: {error}")))?
}

fn documents(email: &StoredEmail) -> Result<PreparedEmail, StoreError> {
    let status = EmailStatus::of(email.deliveries.iter().map(|delivery| delivery.status));
    let mut files = Vec::new();
    let mut document = email_document(email, status, false, &mut files)?;
    if document.as_bytes().len() > DOCUMENT_BYTES_MAX && files.is_empty() {
        // Not the contents alone, but with all that stands beside them it is too large.
        document = email_document(email, status, true, &mut files)?;
    }
    let deliveries = (0u32..).zip(&email.deliveries);
    Ok(PreparedEmail {
        id: email.id,
        status,
        document,
        attempts: deliveries.clone().flat_map(|(number, delivery)| attempts(email.id, number, delivery)).collect(),
        deliveries: deliveries.map(|(number, delivery)| delivery_document(email, number, delivery)).collect(),
        files,
        told: Told::default(),
        request: None,
        hold: email.hold,
        filings: Vec::new(),
        size: email.message.raw.len() as i64,
        created_at: date(email.created_at),
        digest: email.digest.clone(),
        claim: oid::ObjectId::new(),
    })
}

fn email_document(
    email: &StoredEmail,
    status: EmailStatus,
    is_large: bool,
    files: &mut Vec<File>,
) -> Result<RawDocumentBuf, StoreError> {
    let StoredEmail { id, created_at, message, envelope, .. } = email;
    let summary = &message.summary;
    let sender = envelope.reverse_path.as_str();
    let recipients: Vec<&Address> = recipients(email).collect();
    let Parts { text, html, attachments, raw } = Parts::of(message, is_large, files);
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), oid(*id));
    document.append(cstr!("sender"), sender);
    let addresses: Vec<&str> = recipients.iter().map(|address| address.as_str()).collect();
    document.append(cstr!("recipients"), raw_bson(&addresses)?);
    document.append(cstr!("subject"), optional(summary.subject.as_deref()));
    document.append(cstr!("text"), text);
    document.append(cstr!("html"), html);
    let described = summary.attachments.iter().zip(attachments);
    let described: Vec<Document> = described.map(|(attachment, content)| describe(attachment, content)).collect();
    document.append(cstr!("attachments"), raw_bson(&described)?);
    document.append(cstr!("raw"), raw);
    document.append(cstr!("createdAt"), date(*created_at));

    document.append(cstr!("updatedAt"), date(email.updated_at));
    document.append(cstr!("messageId"), optional(summary.message_id.as_deref()));
    document.append(cstr!("direction"), direction_text(email.direction));
    if email.hold.is_listed {
        document.append(cstr!("status"), status.as_str());
    } else {
        // By having neither a status nor anything to search it is in no list, and in the way of none.
        document.append(cstr!("isListed"), false);
    }
    document.append(cstr!("size"), message.raw.len() as i64);
    document.append(cstr!("returnPathBytes"), i64::from(message.return_path_bytes));
    document.append(cstr!("is8bit"), summary.is_8bit);
    if let Some(envelope) = told_envelope(envelope) {
        document.append(cstr!("envelope"), raw_bson(envelope)?);
    }
    let StoredEmail { instructions, authentication, .. } = email;
    if !instructions.is_empty() {
        document.append(cstr!("instructions"), raw_bson(instructions)?);
    }
    if !instructions.tags.is_empty() && email.hold.is_listed {
        document.append(cstr!("tags"), raw_bson(&instructions.tags)?);
    }
    if !authentication.is_empty() {
        document.append(cstr!("authentication"), raw_bson(authentication)?);
    }
    if !email.kept.is_empty() {
        document.append(cstr!("kept"), raw_bson(&email.kept)?);
    }
    if !email.deliveries.is_empty() && email.hold.is_listed {
        document.append(cstr!("deliveryCounts"), raw_bson(&counts(&email.deliveries))?);
    }
    if let Some(source_ip) = email.source_ip {
        document.append(cstr!("sourceIp"), source_ip.to_string());
    }
    if !files.is_empty() {
        let ids: Vec<oid::ObjectId> = files.iter().map(|file| file.id).collect();
        document.append(cstr!("files"), raw_bson(&ids)?);
    }
    if email.hold.is_listed {
        document.append(cstr!("search"), search::text(envelope.reverse_path.0.as_ref(), &recipients, summary));
    }
    Ok(document)
}

/// The contents of a message as the document holds them: themselves, or the ids of their files.
struct Parts {
    text: RawBson,
    html: RawBson,
    attachments: Vec<bson::Bson>,
    raw: RawBson,
}

impl Parts {
    fn of(message: &Message, is_large: bool, files: &mut Vec<File>) -> Self {
        let Bodies { text, html, attachments } = Bodies::parse(&message.raw);
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = length(&text) + length(&html);
        let contents = message.raw.len() + attachments.iter().map(Vec::len).sum::<usize>();
        let is_large = is_large || contents + texts > INLINE_BYTES_MAX;
        let mut file = |name: &str, content: Vec<u8>| {
            let id = oid::ObjectId::new();
            files.push(File { id, name: name.to_owned(), content });
            id
        };
        let raw = match std::str::from_utf8(&message.raw) {
            _ if is_large => file("raw", message.raw.to_vec()).into(),
            Ok(text) => text.into(),
            Err(_) => RawBinaryRef { subtype: BinarySubtype::Generic, bytes: &message.raw }.to_raw(),
        };
        let mut attachment = |content: Vec<u8>| -> bson::Bson {
            if is_large {
                file("attachment", content).into()
            } else {
                Binary { subtype: BinarySubtype::Generic, bytes: content }.into()
            }
        };
        let attachments = attachments.into_iter().map(&mut attachment).collect();
        // Text that fills a document by itself is rare; then it is a file as well.
        let mut body = |name: &str, text: Option<String>| match text {
            Some(text) if texts > INLINE_BYTES_MAX => file(name, text.into_bytes()).into(),
            Some(text) => RawBson::String(text),
            None => RawBson::Null,
        };
        Self { text: body("text", text), html: body("html", html), attachments, raw }
    }
}

/// Owned, as documents are built of owned values.
trait ToRaw {
    fn to_raw(self) -> RawBson;
}

impl ToRaw for RawBinaryRef<'_> {
    fn to_raw(self) -> RawBson {
        RawBson::Binary(Binary { subtype: self.subtype, bytes: self.bytes.to_vec() })
    }
}

fn describe(attachment: &Attachment, content: bson::Bson) -> Document {
    doc! {
        "filename": attachment.filename.as_deref(),
        "contentType": &attachment.content_type,
        "content": content,
        "size": attachment.size as i64,
        "contentId": attachment.content_id.as_deref(),
    }
}

fn delivery_document(email: &StoredEmail, number: u32, delivery: &StoredDelivery) -> DeliveryDocument {
    let StoredDelivery { recipient, status, due_at, queued_at, delay_notified, attempts, feedback } = delivery;
    let last = attempts.last();
    let message = &email.message;
    DeliveryDocument {
        key: codes::delivery_key(DeliveryId { email: email.id, number }),
        email: oid(email.id),
        number,
        of: u32::try_from(email.deliveries.len()).unwrap_or(u32::MAX),
        status: *status,
        due_at: date(*due_at),
        ready_at: status.is_waiting().then(|| date(*due_at)),
        owner: None,
        claim: None,
        resting: codes::rests(*status).then_some(true),
        queued_at: date(queued_at.unwrap_or(email.created_at)),
        attempts: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
        delay_notified: *delay_notified,
        last_category: last.and_then(|attempt| attempt.outcome.category()),
        last_error: last.and_then(|attempt| attempt.outcome.error()),
        tried_at: last.map(|attempt| date(attempt.started_at + attempt.duration)),
        domain: recipient.address.domain().as_str().to_owned(),
        recipient: recipient.address.as_str().to_owned(),
        parameters: (recipient.notify.is_some() || recipient.original_recipient.is_some()).then(|| recipient.clone()),
        sender: email.envelope.reverse_path.as_str().to_owned(),
        envelope: told_envelope(&email.envelope).cloned(),
        instructions: (!email.instructions.is_empty()).then(|| email.instructions.clone()),
        rank: Some(i32::from(email.instructions.priority.rank())).filter(|&rank| rank != 0),
        tags: email.instructions.tags.clone(),
        message_id: message.summary.message_id.clone(),
        subject: message.summary.subject.clone(),
        size: message.raw.len() as i64 - i64::from(message.return_path_bytes),
        is_8bit: message.summary.is_8bit,
        created_at: date(email.created_at),
        feedback: feedback.clone(),
    }
}

fn attempts(email: ObjectId, number: u32, delivery: &StoredDelivery) -> Vec<AttemptDocument> {
    let id = DeliveryId { email, number };
    let attempts = (1u32..).zip(&delivery.attempts);
    attempts.map(|(attempt, record)| attempt_document(id, attempt, record.clone())).collect()
}

pub(crate) fn attempt_document(id: DeliveryId, attempt: u32, record: postrider_core::Attempt) -> AttemptDocument {
    AttemptDocument { key: codes::attempt_key(id, attempt), email: oid(id.email), number: id.number, attempt, record }
}

/// Kept ones and delivered ones, kept ones first.
fn recipients(email: &StoredEmail) -> impl Iterator<Item = &Address> {
    let delivered = email.deliveries.iter().map(|delivery| &delivery.recipient);
    email.kept.iter().chain(delivered).map(|recipient: &Recipient| &recipient.address)
}

/// How many deliveries have each status.
fn counts(deliveries: &[StoredDelivery]) -> Document {
    let mut counts = Document::new();
    for delivery in deliveries {
        let name = delivery.status.as_str();
        let count = counts.get_i64(name).unwrap_or(0);
        counts.insert(name, count + 1);
    }
    counts
}

/// The envelope, where it says more than the sender.
fn told_envelope(envelope: &Envelope) -> Option<&Envelope> {
    let plain = Envelope { reverse_path: envelope.reverse_path.clone(), ..Envelope::default() };
    (*envelope != plain).then_some(envelope)
}

pub(crate) fn direction_text(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

fn optional(text: Option<&str>) -> RawBson {
    text.map_or(RawBson::Null, |text| RawBson::String(text.to_owned()))
}

fn raw_bson<T: serde::Serialize + ?Sized>(value: &T) -> Result<RawBson, StoreError> {
    let bson = bson::serialize_to_bson(value).map_err(corrupt)?;
    RawBson::try_from(bson).map_err(corrupt)
}
