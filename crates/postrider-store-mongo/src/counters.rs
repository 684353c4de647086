//! How many e-mails have each status, and how many deliveries ended when.
//!
//! Each transaction counts in documents that no other one writes at the same time, by additions: so neither two nodes nor two
//! transactions of one node are in each other's way, and the sum of all documents is true at every moment. Where there
//! are many of them they are added into one.

use std::collections::BTreeMap;
use std::sync::Mutex;

use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc, oid};
use postrider_core::{EmailStatus, Timestamp};
use postrider_store::StoreError;

use crate::codes::{STATUSES, slot};
use crate::engine::{Engine, Work, lock};
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

/// What a transaction leaves behind in any case: its additions, in documents of this name, and its own mark there, by which one
/// sees whether it was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stripe {
    name: oid::ObjectId,
    mark: oid::ObjectId,
}

impl Stripe {
    fn key(&self) -> String {
        format!("emails:{}", self.name)
    }

    /// Whether the transaction was committed. To be asked when the server has forgotten it, and for one that counted.
    pub(crate) async fn is_committed(&self, engine: &Engine) -> Result<bool, StoreError> {
        let filter = doc! { "_id": self.key(), "last": self.mark };
        let counters = engine.collection::<Document>(COUNTERS);
        Ok(engine.command(counters.find_one(filter)).await?.is_some())
    }
}

/// The stripes of this process that no transaction uses now, by name.
#[derive(Debug, Default)]
pub(crate) struct Stripes(Mutex<Vec<oid::ObjectId>>);

impl Stripes {
    /// A stripe for one transaction alone.
    pub(crate) fn take(&self) -> Stripe {
        let free = lock(&self.0).pop();
        Stripe { name: free.unwrap_or_else(new_name), mark: new_name() }
    }

    /// For a transaction that is over on the server too. Those of others are left: the server may keep them open for a
    /// while, and nobody else could write what they wrote.
    pub(crate) fn give_back(&self, stripe: Stripe) {
        lock(&self.0).push(stripe.name);
    }
}

/// A stripe that was written so long ago was left by its process. Were it not, nothing would be lost. In milliseconds.
const STRIPE_LEFT_MILLIS: i64 = 60_000;

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
    pub(crate) async fn write(
        &self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> Result<(), Failure> {
        let changed = STATUSES.iter().zip(self.emails).filter(|(_, change)| *change != 0);
        let changed: Document =
            changed.map(|(status, change)| (status.as_str().to_owned(), Bson::Int64(change))).collect();
        let mut update = doc! { "$set": { "last": stripe.mark }, "$currentDate": { "at": true } };
        if !changed.is_empty() {
            update.insert("$inc", changed);
        }
        let mut updates = vec![doc! { "q": { "_id": stripe.key() }, "u": update, "upsert": true }];
        for (span, (sent, failed)) in &self.rates {
            let expire_at = DateTime::from_millis(span * RATE_SPAN_MILLIS + RATE_KEPT_MILLIS);
            updates.push(doc! {
                "q": { "_id": format!("rate:{span:015}:{}", stripe.name) },
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

/// Adds the documents that nobody seems to write any more into one, if there are many. Who does all the same counts on in a new
/// one. What does not succeed now is for whoever comes next.
pub(crate) async fn fold(engine: &Engine) {
    let folding = async {
        let count = engine.command(engine.collection::<Document>(COUNTERS).count_documents(stripes())).await?;
        if count as usize > STRIPES_MAX {
            engine.transaction_once(&mut Fold).await.map_err(Failure::into_error)?;
        }
        Ok::<_, StoreError>(())
    };
    if let Err(error) = folding.await {
        tracing::debug!(%error, "the counters of many processes stay as they are");
    }
}

struct Fold;

impl Work for Fold {
    type Output = ();

    async fn run(&mut self, engine: &Engine, session: &mut ClientSession, _: Stripe) -> Result<(), Failure> {
        let counters = engine.collection::<Document>(COUNTERS);
        let mut left = stripes();
        let until = DateTime::from_millis(DateTime::now().timestamp_millis() - STRIPE_LEFT_MILLIS);
        left.insert("at", doc! { "$lt": until });
        let mut cursor = counters.find(left).session(&mut *session).await?;
        let mut found = Vec::new();
        while let Some(stripe) = cursor.next(&mut *session).await {
            found.push(stripe?);
        }
        let keys: Vec<&str> = found.iter().filter_map(|stripe| stripe.get_str("_id").ok()).collect();
        counters.delete_many(doc! { "_id": { "$in": keys } }).session(&mut *session).await?;
        let sums = STATUSES.iter().zip(sum(&found));
        let mut all: Document = sums.map(|(status, count)| (status.as_str().to_owned(), Bson::Int64(count))).collect();
        all.insert("_id", format!("emails:{}", new_name()));
        all.insert("at", until);
        counters.insert_one(all).session(session).await?;
        Ok(())
    }
}

fn new_name() -> oid::ObjectId {
    oid::ObjectId::new()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_transactions_count_in_the_same_place_at_the_same_time() {
        let stripes = Stripes::default();
        let (one, two) = (stripes.take(), stripes.take());
        assert_ne!(one.name, two.name);
        stripes.give_back(one);
        let again = stripes.take();
        assert_eq!(again.name, one.name, "else there would be ever more of them");
        assert_ne!(again.mark, one.mark, "it is another transaction");
        let third = stripes.take();
        assert!(third.name != one.name && third.name != two.name);
    }
}
