//! The queue by recipient domain: a page of those that have deliveries which are not final.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_store::{QueueDomain, QueueDomainFilter, QueueDomainPage, StoreError};

use crate::claim::claimable;
use crate::codes::{self, timestamp};
use crate::counters::number;
use crate::engine::Engine;
use crate::files::collect;
use crate::schema::{DELIVERIES, EMAILS};
use crate::stats::last_errors;

type Result<T> = std::result::Result<T, StoreError>;

/// What is counted of a domain.
#[derive(Debug, Default)]
struct Counted {
    queued: u64,
    deferred: u64,
    sending: u64,
    held: u64,
    /// Deferred, also where a node has it.
    tried: u64,
    ready_at: Option<DateTime>,
    oldest: Option<oid::ObjectId>,
}

impl Counted {
    fn depth(&self) -> u64 {
        self.queued + self.deferred + self.sending + self.held
    }
}

/// The most first. `page` counts from 1.
pub(crate) async fn page(
    engine: &Engine,
    filter: &QueueDomainFilter,
    page: u64,
    limit: u64,
) -> Result<QueueDomainPage> {
    let prefix = filter.prefix.as_deref().unwrap_or_default().to_ascii_lowercase();
    let mut counted: BTreeMap<String, Counted> = BTreeMap::new();
    // Each condition is that of an index which holds nothing else.
    let owned = doc! { "owner": { "$exists": true } };
    let held = doc! { "resting": true, "status": "held", "owner": { "$exists": false } };
    for (condition, is_owned) in [(claimable(), false), (owned, true), (held, false)] {
        let group = doc! {
            "_id": { "domain": "$domain", "status": "$status" },
            "deliveries": { "$sum": 1 },
            "readyAt": { "$min": "$readyAt" },
            "oldest": { "$min": "$email" },
        };
        let pipeline = vec![doc! { "$match": condition }, doc! { "$group": group }];
        let deliveries = engine.collection::<Document>(DELIVERIES);
        for group in engine.call(collect(deliveries.aggregate(pipeline))).await? {
            let Ok(key) = group.get_document("_id") else { continue };
            let Some(domain) = key.get_str("domain").ok().filter(|domain| domain.starts_with(&prefix)) else {
                continue;
            };
            count(counted.entry(domain.to_owned()).or_default(), &group, key.get_str("status").ok(), is_owned);
        }
    }
    let total = counted.len() as u64;
    let mut most: Vec<(String, Counted)> = counted.into_iter().collect();
    most.sort_by_key(|(_, counted)| Reverse(counted.depth()));
    let skipped = usize::try_from(page.saturating_sub(1).saturating_mul(limit)).unwrap_or(usize::MAX);
    let shown: Vec<_> = most.into_iter().skip(skipped).take(usize::try_from(limit).unwrap_or(usize::MAX)).collect();
    let tried = shown.iter().filter(|(_, counted)| counted.tried > 0).map(|(domain, _)| domain.as_str()).collect();
    let mut errors = last_errors(engine, tried).await?;
    let accepted = accepted_at(engine, shown.iter().filter_map(|(_, counted)| counted.oldest).collect()).await?;
    let domains = shown.into_iter().map(|(domain, counted)| {
        Ok(QueueDomain {
            domain: codes::domain(&domain)?,
            queued: counted.queued,
            deferred: counted.deferred,
            sending: counted.sending,
            held: counted.held,
            oldest_at: counted.oldest.and_then(|email| accepted.get(&email)).copied().map(timestamp),
            next_attempt_at: counted.ready_at.map(timestamp),
            last_error: errors.remove(&domain),
        })
    });
    Ok(QueueDomainPage { domains: domains.collect::<Result<_>>()?, total })
}

fn count(counted: &mut Counted, group: &Document, status: Option<&str>, is_owned: bool) {
    let deliveries = u64::try_from(number(group, "deliveries")).unwrap_or(0);
    counted.tried += if status == Some("deferred") { deliveries } else { 0 };
    match status {
        _ if is_owned => counted.sending += deliveries,
        Some("queued") => counted.queued += deliveries,
        Some("deferred") => counted.deferred += deliveries,
        _ => counted.held += deliveries,
    }
    counted.ready_at = counted.ready_at.into_iter().chain(group.get_datetime("readyAt").ok().copied()).min();
    // Ids begin with the time.
    counted.oldest = counted.oldest.into_iter().chain(group.get_object_id("oldest")).min();
}

/// When these e-mails were accepted.
async fn accepted_at(engine: &Engine, ids: Vec<oid::ObjectId>) -> Result<HashMap<oid::ObjectId, DateTime>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let emails = engine.collection::<Document>(EMAILS);
    let find = emails.find(doc! { "_id": { "$in": ids } }).projection(doc! { "createdAt": 1 });
    let found = engine.call(collect(find)).await?;
    let time = |email: Document| Some((email.get_object_id("_id").ok()?, *email.get_datetime("createdAt").ok()?));
    Ok(found.into_iter().filter_map(time).collect())
}
