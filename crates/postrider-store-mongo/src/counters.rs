//! How many e-mails have each status, and how many deliveries ended when.
//!
//! Each process counts in documents of its own, by additions within the transactions that change what is counted: two
//! nodes never write the same document, and the sum of all is true at every moment. Where many processes have come and
//! gone their documents are added into one.

use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc, oid};
use postrider_core::{EmailStatus, Timestamp};
use postrider_store::StoreError;
use std::collections::BTreeMap;

use crate::codes::{STATUSES, slot};
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::files::collect;
use crate::schema::COUNTERS;

/// A span of the rates, in milliseconds.
const RATE_SPAN_MILLIS: i64 = 10_000;

/// The minute that rates tell of, in spans.
const RATE_SPANS: i64 = 60_000 / RATE_SPAN_MILLIS;

/// How long the server keeps a span, in milliseconds: more than the last minute, for clocks that differ.
const RATE_KEPT_MILLIS: i64 = 600_000;

/// From this many on, the documents of processes are added into one.
const STRIPES_MAX: usize = 32;

/// What a transaction adds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Additions {
    emails: [i64; STATUSES.len()],
    rates: BTreeMap<i64, (i64, i64)>,
}

impl Additions {
    /// An e-mail of this status came.
    pub(crate) fn came(&mut self, status: EmailStatus) {
        self.emails[slot(status)] += 1;
    }

    /// An e-mail of this status went, or has another now.
    pub(crate) fn went(&mut self, status: EmailStatus) {
        self.emails[slot(status)] -= 1;
    }

    pub(crate) fn sent(&mut self, at: Timestamp) {
        self.rates.entry(span(at)).or_default().0 += 1;
    }

    pub(crate) fn failed(&mut self, at: Timestamp) {
        self.rates.entry(span(at)).or_default().1 += 1;
    }

    /// Writes the additions, as the last thing before the commit.
    pub(crate) async fn write(&self, engine: &Engine, session: &mut ClientSession) -> Result<(), Failure> {
        let changed = STATUSES.iter().zip(self.emails).filter(|(_, change)| *change != 0);
        let changed: Document =
            changed.map(|(status, change)| (status.as_str().to_owned(), Bson::Int64(change))).collect();
        let mut updates = Vec::new();
        if !changed.is_empty() {
            let key = format!("emails:{}", engine.stripe);
            updates.push(doc! { "q": { "_id": key }, "u": { "$inc": changed }, "upsert": true });
        }
        for (span, (sent, failed)) in &self.rates {
            let expire_at = DateTime::from_millis(span * RATE_SPAN_MILLIS + RATE_KEPT_MILLIS);
            updates.push(doc! {
                "q": { "_id": format!("rate:{span:015}:{}", engine.stripe) },
                "u": { "$inc": { "sent": sent, "failed": failed }, "$set": { "expireAt": expire_at } },
                "upsert": true,
            });
        }
        update_all(engine, session, COUNTERS, updates).await.map(drop)
    }
}

/// Sends update statements in one command. Returns how many documents they matched.
pub(crate) async fn update_all(
    engine: &Engine,
    session: &mut ClientSession,
    collection: &str,
    updates: Vec<Document>,
) -> Result<i64, Failure> {
    if updates.is_empty() {
        return Ok(0);
    }
    let command = doc! { "update": collection, "updates": updates, "ordered": true };
    let reply = engine.database.run_command(command).session(session).await?;
    if let Ok(errors) = reply.get_array("writeErrors")
        && let Some(error) = errors.first()
    {
        return Err(Failure::Refused(StoreError::Unavailable(format!("an update was refused: {error}"))));
    }
    Ok(number(&reply, "n"))
}

/// E-mails by the slot of their stored status.
pub(crate) async fn emails(engine: &Engine) -> Result<[i64; STATUSES.len()], StoreError> {
    let stripes = engine.call(collect(engine.collection::<Document>(COUNTERS).find(stripes()))).await?;
    Ok(sum(&stripes))
}

/// Deliveries that were sent, and that failed, in the last minute.
pub(crate) async fn rates(engine: &Engine, now: Timestamp) -> Result<(u64, u64), StoreError> {
    let last = span(now);
    let from = format!("rate:{:015}", last.saturating_sub(RATE_SPANS - 1));
    let to = format!("rate:{:015};", last);
    let filter = doc! { "_id": { "$gte": from, "$lt": to } };
    let spans = engine.call(collect(engine.collection::<Document>(COUNTERS).find(filter))).await?;
    let sum = |name| spans.iter().map(|span| u64::try_from(number(span, name)).unwrap_or(0)).sum();
    Ok((sum("sent"), sum("failed")))
}

/// Adds the documents of all processes into one, if there are many. Who counts on meanwhile counts in a new one.
pub(crate) async fn fold(engine: &Engine) -> Result<(), StoreError> {
    let count = engine.command(engine.collection::<Document>(COUNTERS).count_documents(stripes())).await?;
    if count as usize > STRIPES_MAX {
        engine.transaction(&mut Fold).await.map_err(Failure::into_error)?;
    }
    Ok(())
}

struct Fold;

impl Work for Fold {
    type Output = ();

    async fn run(&mut self, engine: &Engine, session: &mut ClientSession) -> Result<(), Failure> {
        let counters = engine.collection::<Document>(COUNTERS);
        let mut cursor = counters.find(stripes()).session(&mut *session).await?;
        let mut found = Vec::new();
        while let Some(stripe) = cursor.next(&mut *session).await {
            found.push(stripe?);
        }
        let keys: Vec<&str> = found.iter().filter_map(|stripe| stripe.get_str("_id").ok()).collect();
        counters.delete_many(doc! { "_id": { "$in": keys } }).session(&mut *session).await?;
        let sums = STATUSES.iter().zip(sum(&found));
        let mut all: Document = sums.map(|(status, count)| (status.as_str().to_owned(), Bson::Int64(count))).collect();
        all.insert("_id", format!("emails:{}", oid::ObjectId::new()));
        counters.insert_one(all).session(session).await?;
        Ok(())
    }
}

fn stripes() -> Document {
    doc! { "_id": { "$gte": "emails:", "$lt": "emails;" } }
}

fn sum(stripes: &[Document]) -> [i64; STATUSES.len()] {
    STATUSES.map(|status| stripes.iter().map(|stripe| number(stripe, status.as_str())).sum())
}

/// A number of a document, however wide; 0 where there is none.
pub(crate) fn number(document: &Document, name: &str) -> i64 {
    match document.get(name) {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        Some(Bson::Double(number)) => *number as i64,
        _ => 0,
    }
}

fn span(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(RATE_SPAN_MILLIS)
}
