//! Whole e-mails, out of this store and into it.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt as _;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use postrider_core::{DeliveryStatus, Message, ObjectId, Recipient, Timestamp};
use postrider_store::{Change, EmailHold, StoreError, StoredDelivery, StoredEmail};

use crate::accept::insert;
use crate::claim::envelope;
use crate::codes::{address, from_document, id, key_range, oid, timestamp};
use crate::counters::{Additions, Stripe};
use crate::documents::{DeliveryDocument, EmailDocument};
use crate::email::{PreparedEmail, prepare_stored};
use crate::engine::{Engine, Work};
use crate::failure::{Failure, corrupt, store_error};
use crate::files::collect;
use crate::mailboxes::{DigestDocument, Ledger};
use crate::record::{attempts, content_of};
use crate::schema::{DELIVERIES, DIGESTS, EMAILS};
use crate::settle::note_domain_errors;

type Result<T> = std::result::Result<T, StoreError>;

/// Messages of one answer, in bytes; one at least.
const EXPORT_BYTES_MAX: usize = 16 << 20;

/// E-mails from behind `after` on, by id.
pub(crate) async fn export(engine: &Engine, after: Option<ObjectId>, count: usize) -> Result<Vec<StoredEmail>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let filter = after.map_or_else(Document::new, |after| doc! { "_id": { "$gt": oid(after) } });
    let emails = engine.collection::<Document>(EMAILS);
    let find = emails
        .find(filter)
        .sort(doc! { "_id": 1 })
        .limit(i64::try_from(count).unwrap_or(i64::MAX))
        .projection(doc! { "text": 0, "html": 0, "attachments.content": 0, "search": 0, "files": 0 });
    let read = async {
        let mut cursor = find.await?;
        let (mut documents, mut bytes) = (Vec::new(), 0);
        while bytes < EXPORT_BYTES_MAX
            && let Some(mut document) = cursor.try_next().await?
        {
            let raw = document.remove("raw");
            bytes += usize::try_from(crate::counters::number(&document, "size")).unwrap_or(0);
            documents.push((document, raw));
        }
        Ok(documents)
    };
    let documents =
        engine.select(async { read.await.map_err(|error: mongodb::error::Error| store_error(&error)) }).await?;
    let ids: Vec<_> = documents.iter().filter_map(|(document, _)| document.get_object_id("_id").ok()).collect();
    let digests = engine.collection::<DigestDocument>(DIGESTS);
    let digests = engine.select(collect(digests.find(doc! { "_id": { "$in": ids } }))).await?;
    let mut digests: HashMap<_, _> = digests.into_iter().map(|digest| (digest.email, digest)).collect();
    let mut exported = Vec::with_capacity(documents.len());
    for (document, raw) in documents {
        let email: EmailDocument = from_document(document)?;
        let digest = digests.remove(&email.id);
        exported.push(stored(engine, email, raw, digest).await?);
    }
    Ok(exported)
}

async fn stored(
    engine: &Engine,
    email: EmailDocument,
    raw: Option<Bson>,
    digest: Option<DigestDocument>,
) -> Result<StoredEmail> {
    let email_id = id(email.id);
    let Some(raw) = content_of(engine, raw).await? else {
        return Err(corrupt(format!("e-mail {email_id} has no message")));
    };
    let range = doc! { "_id": key_range(email_id) };
    let deliveries = engine.collection::<DeliveryDocument>(DELIVERIES);
    let find = deliveries.find(range.clone());
    let mut deliveries = engine.call(collect(find)).await?;
    deliveries.sort_unstable_by_key(|delivery| delivery.number);
    let mut attempts_by_number: HashMap<u32, Vec<_>> = HashMap::new();
    for attempt in attempts(engine, range).await? {
        attempts_by_number.entry(attempt.number).or_default().push(attempt.record);
    }
    let delivery = |delivery: DeliveryDocument| -> Result<StoredDelivery> {
        Ok(StoredDelivery {
            recipient: match delivery.parameters {
                Some(recipient) => recipient,
                None => Recipient::new(address(&delivery.recipient)?),
            },
            status: delivery.status,
            due_at: timestamp(delivery.due_at),
            queued_at: (delivery.queued_at != delivery.created_at).then(|| timestamp(delivery.queued_at)),
            delay_notified: delivery.delay_notified,
            attempts: attempts_by_number.remove(&delivery.number).unwrap_or_default(),
            feedback: delivery.feedback,
        })
    };
    Ok(StoredEmail {
        id: email_id,
        created_at: timestamp(email.created_at),
        updated_at: timestamp(email.updated_at),
        direction: email.direction,
        envelope: envelope(email.envelope, &email.sender)?,
        instructions: email.instructions.unwrap_or_default(),
        authentication: email.authentication,
        message: Message::parse(raw, email.return_path_bytes),
        kept: email.kept,
        source_ip: email.source_ip.and_then(|text| text.parse().ok()),
        deliveries: deliveries.into_iter().map(delivery).collect::<Result<_>>()?,
        hold: digest.as_ref().map_or(EmailHold::RECORD, |digest| EmailHold {
            is_listed: digest.is_listed,
            stays_on_record: digest.stays_on_record,
        }),
        digest: digest.and_then(|digest| digest.digest).map(|digest| digest.bytes.into()),
    })
}

/// Stores e-mails as they are, but for those that are there. Returns how many are new.
pub(crate) async fn import(engine: &Engine, emails: Vec<StoredEmail>) -> Result<usize> {
    let ids: Vec<_> = emails.iter().map(|email| oid(email.id)).collect();
    let collection = engine.collection::<Document>(EMAILS);
    let known = collection.find(doc! { "_id": { "$in": ids } }).projection(doc! { "_id": 1 });
    let known = engine.call(collect(known)).await?;
    let mut known: HashSet<_> = known.iter().filter_map(|email| email.get_object_id("_id").ok()).collect();
    let (mut prepared, mut domain_errors) = (Vec::new(), HashMap::new());
    for email in emails.into_iter().filter(|email| known.insert(oid(email.id))) {
        email.deliveries.iter().for_each(|delivery| last_deferral(delivery, &mut domain_errors));
        let email = prepare_stored(email).await?;
        engine.files.put(oid(email.id), &email.files).await?;
        prepared.push(email);
    }
    if prepared.is_empty() {
        return Ok(0);
    }
    engine.transaction(&mut Import { emails: &prepared }).await.map_err(Failure::into_error)?;
    note_domain_errors(engine, domain_errors).await;
    engine.notices.tell(Change::Queue);
    Ok(prepared.len())
}

struct Import<'a> {
    emails: &'a [PreparedEmail],
}

impl Work for Import<'_> {
    type Output = ();

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<(), Failure> {
        let mut additions = Additions::default();
        let emails: Vec<&PreparedEmail> = self.emails.iter().collect();
        insert(engine, session, &emails, &mut Ledger::default(), &mut additions).await?;
        additions.write(engine, session, stripe).await
    }
}

/// Why a delivery was deferred last, where that is later than what is known of its domain.
fn last_deferral(delivery: &StoredDelivery, errors: &mut HashMap<String, (Timestamp, String)>) {
    // The last attempt of one that ended did not defer it.
    let is_over = matches!(delivery.status, DeliveryStatus::Sent | DeliveryStatus::Failed);
    let deferring = delivery.attempts.iter().rev().nth(usize::from(is_over));
    let Some(attempt) = deferring else { return };
    let at = attempt.started_at + attempt.duration;
    let domain = delivery.recipient.address.domain().as_str().to_owned();
    if errors.get(&domain).is_none_or(|(known, _)| *known <= at) {
        errors.insert(domain, (at, attempt.outcome.error().unwrap_or_default()));
    }
}
