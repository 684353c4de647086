//! What the documents of e-mails must learn when their deliveries change.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc, oid};
use postrider_core::{DeliveryStatus, EmailStatus, Timestamp};

use crate::codes::{STATUSES, date, delivery_slot};
use crate::counters::{Additions, number, update_all};
use crate::documents::DeliveryState;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::schema::EMAILS;

/// Changes of one transaction, by e-mail.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<oid::ObjectId, Change>);

#[derive(Debug)]
struct Change {
    /// How many deliveries the e-mail has.
    of: u32,
    /// The first status of the first delivery that changed, and the last of the last: all that counts where there is one.
    old: DeliveryStatus,
    new: DeliveryStatus,
    counts: [i64; STATUSES.len()],
    updated_at: Timestamp,
    /// Where one was attempted: the address that the last attempt left from.
    attempted: Option<Option<IpAddr>>,
}

impl Changes {
    /// A delivery has another status now, or the same again.
    pub(crate) fn note(&mut self, delivery: &DeliveryState, new: DeliveryStatus, at: Timestamp) {
        let change = self.0.entry(delivery.email).or_insert(Change {
            of: delivery.of,
            old: delivery.status,
            new,
            counts: [0; STATUSES.len()],
            updated_at: at,
            attempted: None,
        });
        change.new = new;
        change.counts[delivery_slot(delivery.status)] -= 1;
        change.counts[delivery_slot(new)] += 1;
        change.updated_at = change.updated_at.max(at);
    }

    /// As [`Changes::note`], by an attempt that left from this address.
    pub(crate) fn note_attempt(
        &mut self,
        delivery: &DeliveryState,
        new: DeliveryStatus,
        at: Timestamp,
        source_ip: Option<IpAddr>,
    ) {
        self.note(delivery, new, at);
        if let Some(change) = self.0.get_mut(&delivery.email) {
            change.attempted = Some(source_ip);
        }
    }

    /// Brings the e-mails' documents in line with their deliveries.
    pub(crate) async fn write(
        self,
        engine: &Engine,
        session: &mut ClientSession,
        additions: &mut Additions,
    ) -> Result<(), Failure> {
        let several: Vec<oid::ObjectId> =
            self.0.iter().filter(|(_, change)| change.of > 1).map(|(id, _)| *id).collect();
        let counts = counts(engine, session, several).await?;
        let mut updates = Vec::with_capacity(self.0.len());
        for (id, change) in self.0 {
            let (old, new) = match counts.get(&id) {
                Some(before) => (status(before), status(&add(before, &change.counts))),
                None => (EmailStatus::of([change.old]), EmailStatus::of([change.new])),
            };
            if old != new {
                additions.went(old);
                additions.came(new);
            }
            updates.push(doc! { "q": { "_id": id }, "u": change.update(new) });
        }
        update_all(engine, session, EMAILS, updates).await.map(drop)
    }
}

impl Change {
    fn update(&self, status: EmailStatus) -> Document {
        let mut set = doc! { "status": status.as_str() };
        let mut update = doc! { "$max": { "updatedAt": date(self.updated_at) } };
        match self.attempted {
            Some(Some(source_ip)) => drop(set.insert("sourceIp", source_ip.to_string())),
            Some(None) => drop(update.insert("$unset", doc! { "sourceIp": "" })),
            None => {}
        }
        update.insert("$set", set);
        let changed = STATUSES.iter().zip(self.counts).filter(|(_, change)| *change != 0);
        let changed: Document =
            changed.map(|(status, change)| (format!("deliveryCounts.{status}"), Bson::Int64(change))).collect();
        if !changed.is_empty() {
            update.insert("$inc", changed);
        }
        update
    }
}

type Counts = [i64; STATUSES.len()];

/// How many deliveries of each status these e-mails have.
async fn counts(
    engine: &Engine,
    session: &mut ClientSession,
    ids: Vec<oid::ObjectId>,
) -> Result<BTreeMap<oid::ObjectId, Counts>, Failure> {
    let mut counts = BTreeMap::new();
    if ids.is_empty() {
        return Ok(counts);
    }
    let wanted = doc! { "deliveryCounts": 1 };
    let emails = engine.collection::<Document>(EMAILS);
    let mut cursor = emails.find(doc! { "_id": { "$in": ids } }).projection(wanted).session(&mut *session).await?;
    while let Some(email) = cursor.next(&mut *session).await {
        let email = email?;
        let Ok(id) = email.get_object_id("_id") else { continue };
        let by_status = email.get_document("deliveryCounts").cloned().unwrap_or_default();
        counts.insert(id, STATUSES.map(|status| number(&by_status, status.as_str())));
    }
    Ok(counts)
}

fn add(a: &Counts, b: &Counts) -> Counts {
    std::array::from_fn(|i| a[i] + b[i])
}

fn status(counts: &Counts) -> EmailStatus {
    EmailStatus::of(DeliveryStatus::ALL.iter().copied().filter(|&status| counts[delivery_slot(status)] > 0))
}
