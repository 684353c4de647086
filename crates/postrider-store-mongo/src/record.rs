//! Reading e-mails: what lists show, one with all its deliveries, the message itself.

use std::collections::HashMap;

use bytes::Bytes;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc, oid};
use postrider_core::bounce::Feedback;
use postrider_core::{Attempt, DeliveryStatus, EmailStatus, ObjectId, Outcome};
use postrider_store::{
    DeliveryId, DeliveryRecord, EmailDetail, EmailRecord, FEEDBACK_PER_DELIVERY_MAX, RawMessage, StoreError,
};

use crate::claim::envelope;
use crate::codes::{self, delivery_key, id, key_range, oid, timestamp, to_bson};
use crate::counters::{Stripe, number, update_all};
use crate::documents::{AttemptDocument, DeliveryState, EmailDocument};
use crate::engine::{Engine, Work};
use crate::failure::{Failure, corrupt};
use crate::files::collect;
use crate::schema::{ATTEMPTS, DELIVERIES, EMAILS};
use crate::settle::state_fields;

type Result<T> = std::result::Result<T, StoreError>;

/// All of an e-mail's document but what other programs read it for.
pub(crate) fn without_contents() -> Document {
    doc! { "raw": 0, "text": 0, "html": 0, "attachments.content": 0, "search": 0, "files": 0 }
}

/// One e-mail with all that is kept of it but the message.
pub(crate) async fn detail(engine: &Engine, id: ObjectId) -> Result<Option<EmailDetail>> {
    let Some(email) = document(engine, id).await? else { return Ok(None) };
    let range = doc! { "_id": key_range(id) };
    let deliveries = engine.collection::<DeliveryState>(DELIVERIES);
    let find = deliveries.find(range.clone()).projection(state_fields());
    let mut deliveries = engine.call(collect(find)).await?;
    deliveries.sort_unstable_by_key(|delivery| delivery.number);
    let attempts = attempts(engine, range).await?;
    let records = deliveries.iter().map(|delivery| delivery_record(delivery, &attempts)).collect();
    Ok(Some(EmailDetail {
        envelope: envelope(email.envelope.clone(), &email.sender)?,
        instructions: email.instructions.clone().unwrap_or_default(),
        authentication: email.authentication.clone(),
        email: record(email, &deliveries),
        deliveries: records,
        attempts: attempts.into_iter().map(|attempt| (attempt.number, attempt.record)).collect(),
    }))
}

/// Adds what came back to deliveries that are there. Returns how much.
pub(crate) async fn note_feedback(engine: &Engine, email: ObjectId, feedback: Vec<(u32, Feedback)>) -> Result<usize> {
    let mut work = NoteFeedback { email, feedback: &feedback };
    engine.transaction(&mut work).await.map_err(Failure::into_error)
}

struct NoteFeedback<'a> {
    email: ObjectId,
    feedback: &'a [(u32, Feedback)],
}

impl Work for NoteFeedback<'_> {
    type Output = usize;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        _: Stripe,
    ) -> std::result::Result<usize, Failure> {
        let room = format!("feedback.{}", FEEDBACK_PER_DELIVERY_MAX - 1);
        let mut updates = Vec::with_capacity(self.feedback.len());
        for (number, one) in self.feedback {
            let key = delivery_key(DeliveryId { email: self.email, number: *number });
            let found = doc! { "_id": key, &room: { "$exists": false } };
            updates.push(doc! { "q": found, "u": { "$push": { "feedback": to_bson(one)? } } });
        }
        let noted = update_all(engine, session, DELIVERIES, updates).await?;
        Ok(usize::try_from(noted).unwrap_or(0))
    }
}

/// An e-mail, if it is listed.
pub(crate) fn listed(id: ObjectId) -> Document {
    doc! { "_id": oid(id), "isListed": { "$ne": false } }
}

/// An e-mail's document without the contents.
pub(crate) async fn document(engine: &Engine, id: ObjectId) -> Result<Option<EmailDocument>> {
    let emails = engine.collection::<EmailDocument>(EMAILS);
    engine.command(emails.find_one(listed(id)).projection(without_contents())).await
}

/// Attempts in the order of delivery and attempt.
pub(crate) async fn attempts(engine: &Engine, filter: Document) -> Result<Vec<AttemptDocument>> {
    let mut attempts = engine.call(collect(engine.collection::<AttemptDocument>(ATTEMPTS).find(filter))).await?;
    attempts.sort_unstable_by_key(|attempt| (attempt.email, attempt.number, attempt.attempt));
    Ok(attempts)
}

/// E-mails as lists show them, in the order of the ids.
pub(crate) async fn records(engine: &Engine, ids: &[oid::ObjectId]) -> Result<Vec<EmailRecord>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let emails = engine.collection::<Document>(EMAILS);
    let find = emails.find(doc! { "_id": { "$in": ids } }).projection(without_contents());
    let documents = engine.call(collect(find)).await?;
    let mut keys = Vec::new();
    for document in &documents {
        let Ok(email) = document.get_object_id("_id") else { continue };
        let counts = document.get_document("deliveryCounts").cloned().unwrap_or_default();
        let deliveries: i64 = counts.keys().map(|status| number(&counts, status)).sum();
        keys.extend((0..deliveries).map(|number| format!("{email}:{number}")));
    }
    let mut by_email: HashMap<oid::ObjectId, Vec<DeliveryState>> = HashMap::new();
    if !keys.is_empty() {
        let filter = doc! { "_id": { "$in": keys } };
        let deliveries = engine.collection::<DeliveryState>(DELIVERIES);
        let find = deliveries.find(filter).projection(state_fields());
        for delivery in engine.call(collect(find)).await? {
            by_email.entry(delivery.email).or_default().push(delivery);
        }
    }
    let mut records: HashMap<ObjectId, EmailRecord> = HashMap::new();
    for document in documents {
        let email: EmailDocument = codes::from_document(document)?;
        let deliveries = by_email.get(&email.id).map(Vec::as_slice).unwrap_or_default();
        records.insert(id(email.id), record(email, deliveries));
    }
    // One that was deleted meanwhile is left out.
    Ok(ids.iter().filter_map(|email| records.remove(&id(*email))).collect())
}

fn record(email: EmailDocument, deliveries: &[DeliveryState]) -> EmailRecord {
    let is_sending = deliveries.iter().any(|delivery| delivery.owner.is_some());
    // Of what was read with the rest, so that a record does not contradict itself where it changes meanwhile.
    let status = match deliveries {
        [] => email.status.unwrap_or(EmailStatus::Received),
        _ => EmailStatus::of(deliveries.iter().map(|delivery| delivery.status)),
    };
    let waiting = deliveries.iter().filter(|delivery| delivery.status.is_waiting() && delivery.owner.is_none());
    let tried = deliveries.iter().filter(|delivery| delivery.status != DeliveryStatus::Sent && delivery.attempts > 0);
    // Of those that were tried at the same moment the first counts.
    let last_tried = tried.min_by_key(|delivery| (std::cmp::Reverse(delivery.tried_at), delivery.number));
    EmailRecord {
        id: id(email.id),
        message_id: email.message_id,
        direction: email.direction,
        sender: email.sender,
        recipients: email.recipients,
        subject: email.subject,
        status: if is_sending { EmailStatus::Sending } else { status },
        size: u64::try_from(email.size).unwrap_or(0),
        attempts: deliveries.iter().map(|delivery| delivery.attempts).max().unwrap_or(0),
        next_attempt_at: waiting.map(|delivery| timestamp(delivery.due_at)).min(),
        last_error: last_tried.and_then(|delivery| delivery.last_error.clone()),
        source_ip: email.source_ip.and_then(|text| text.parse().ok()),
        created_at: timestamp(email.created_at),
        updated_at: timestamp(email.updated_at),
        attachments: email.attachments,
        tags: email.instructions.map(|instructions| instructions.tags).unwrap_or_default(),
    }
}

fn delivery_record(delivery: &DeliveryState, attempts: &[AttemptDocument]) -> DeliveryRecord {
    let is_sending = delivery.owner.is_some();
    let status = delivery.status;
    let last = attempts.iter().rev().find(|attempt| attempt.number == delivery.number);
    let last: Option<&Attempt> = last.map(|attempt| &attempt.record);
    let outcome = last.map(|attempt| &attempt.outcome);
    DeliveryRecord {
        number: delivery.number,
        recipient: delivery.recipient.clone(),
        status: if is_sending { EmailStatus::Sending } else { EmailStatus::of([status]) },
        ordered: (is_sending && !status.is_waiting()).then_some(status),
        node: delivery.owner.map(id),
        attempts: delivery.attempts,
        next_attempt_at: (status.is_waiting() && !is_sending).then(|| timestamp(delivery.due_at)),
        last_response: outcome.and_then(Outcome::reply).cloned(),
        last_error: outcome.and_then(Outcome::error),
        category: outcome.and_then(Outcome::category),
        mx: last.and_then(|attempt| attempt.mx.clone()),
        mx_ip: last.and_then(|attempt| attempt.mx_ip),
        source_ip: last.and_then(|attempt| attempt.source_ip),
        tls: last.and_then(|attempt| attempt.tls.clone()),
        feedback: delivery.feedback.clone(),
    }
}

/// The message, as it was accepted.
pub(crate) async fn raw(engine: &Engine, id: ObjectId) -> Result<Option<RawMessage>> {
    let emails = engine.collection::<Document>(EMAILS);
    let find = emails.find_one(listed(id)).projection(doc! { "raw": 1, "returnPathBytes": 1 });
    let Some(mut email) = engine.command(find).await? else { return Ok(None) };
    let return_path_bytes = u32::try_from(number(&email, "returnPathBytes")).unwrap_or(0);
    let content = email.remove("raw");
    let Some(raw) = content_of(engine, content).await? else {
        return Err(corrupt(format!("e-mail {id} has no message")));
    };
    Ok(Some(RawMessage { raw, return_path_bytes }))
}

/// A content, wherever it is kept.
pub(crate) async fn content_of(engine: &Engine, content: Option<Bson>) -> Result<Option<Bytes>> {
    Ok(match content {
        Some(Bson::String(text)) => Some(text.into_bytes().into()),
        Some(Bson::Binary(binary)) => Some(binary.bytes.into()),
        Some(Bson::ObjectId(file)) => Some(engine.files.get(file).await?),
        _ => None,
    })
}
