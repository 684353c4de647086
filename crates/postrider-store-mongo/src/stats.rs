//! The queue in numbers: from counters, and from indexes that hold only what waits.

use std::collections::{BTreeMap, HashMap};

use mongodb::bson::{Document, doc};
use postrider_core::{EmailStatus, Timestamp};
use postrider_store::{DomainStats, QueueStats, StoreError};

use crate::claim::claimable;
use crate::codes::{self, STATUSES, slot, timestamp};
use crate::counters::{self, number};
use crate::engine::Engine;
use crate::files::collect;
use crate::schema::{DELIVERIES, DOMAINS, EMAILS};

type Result<T> = std::result::Result<T, StoreError>;

/// E-mails by status as it is seen.
pub(crate) struct Counts {
    /// Without those of which something is being sent.
    pub(crate) emails: [i64; STATUSES.len()],
    pub(crate) sending: i64,
}

pub(crate) async fn queue_stats(engine: &Engine, now: Timestamp) -> Result<QueueStats> {
    let (counts, oldest, rates, domains) =
        tokio::try_join!(counts(engine), oldest(engine), counters::rates(engine, now), domains(engine))?;
    let positive = |count: i64| u64::try_from(count).unwrap_or(0);
    let count = |status| positive(counts.emails[slot(status)]);
    let (sent_last_minute, failed_last_minute) = rates;
    Ok(QueueStats {
        queued: count(EmailStatus::Queued),
        sending: positive(counts.sending),
        deferred: count(EmailStatus::Deferred),
        sent: count(EmailStatus::Sent),
        failed: count(EmailStatus::Failed),
        held: count(EmailStatus::Held),
        cancelled: count(EmailStatus::Cancelled),
        received: count(EmailStatus::Received),
        total: positive(counts.emails.iter().sum::<i64>() + counts.sending),
        oldest_queued_seconds: oldest.map(|oldest| now.since(oldest).as_secs()),
        sent_last_minute,
        failed_last_minute,
        domains,
    })
}

/// E-mails by status: as counted, less those of which something is being sent.
pub(crate) async fn counts(engine: &Engine) -> Result<Counts> {
    let mut counts = Counts { emails: counters::emails(engine).await?, sending: 0 };
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let is_queued = doc! { "$cond": [{ "$eq": ["$status", "queued"] }, 1, 0] };
    // A queued delivery makes a queued e-mail, whatever else it has. An e-mail of one delivery has that one's status.
    let group = doc! {
        "_id": "$email", "queued": { "$max": is_queued }, "of": { "$first": "$of" }, "status": { "$first": "$status" },
    };
    let pipeline = vec![
        doc! { "$match": { "owner": { "$exists": true } } },
        doc! { "$group": group },
        doc! { "$group": {
            "_id": { "queued": "$queued", "only": { "$cond": [{ "$gt": ["$of", 1] }, "", "$status"] } },
            "emails": { "$sum": 1 },
        } },
    ];
    let mut is_open = false;
    for group in engine.call(collect(deliveries.aggregate(pipeline))).await? {
        let emails = number(&group, "emails");
        counts.sending += emails;
        let Ok(kind) = group.get_document("_id") else { continue };
        match (number(kind, "queued"), kind.get_str("only").unwrap_or_default().parse::<EmailStatus>()) {
            (1, _) => counts.emails[slot(EmailStatus::Queued)] -= emails,
            (_, Ok(only)) => counts.emails[slot(only)] -= emails,
            (_, Err(_)) => is_open = true,
        }
    }
    if is_open {
        subtract_partly_sent(engine, &mut counts).await?;
    }
    Ok(counts)
}

/// E-mails with several deliveries of which no queued ones are being sent: others of theirs say what they are.
async fn subtract_partly_sent(engine: &Engine, counts: &mut Counts) -> Result<()> {
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let is_queued = doc! { "$cond": [{ "$eq": ["$status", "queued"] }, 1, 0] };
    let pipeline = vec![
        doc! { "$match": { "owner": { "$exists": true }, "of": { "$gt": 1 } } },
        doc! { "$group": { "_id": "$email", "queued": { "$max": is_queued } } },
        doc! { "$match": { "queued": 0 } },
    ];
    let found = engine.call(collect(deliveries.aggregate(pipeline))).await?;
    let ids: Vec<_> = found.iter().filter_map(|email| email.get_object_id("_id").ok()).collect();
    let pipeline = vec![
        doc! { "$match": { "_id": { "$in": ids } } },
        doc! { "$group": { "_id": "$status", "emails": { "$sum": 1 } } },
    ];
    for group in engine.call(collect(engine.collection::<Document>(EMAILS).aggregate(pipeline))).await? {
        if let Some(status) = group.get_str("_id").ok().and_then(|status| status.parse().ok()) {
            counts.emails[slot(status)] -= number(&group, "emails");
        }
    }
    Ok(())
}

/// When the e-mail was accepted that waits longest.
async fn oldest(engine: &Engine) -> Result<Option<Timestamp>> {
    let mut oldest = None;
    for status in [EmailStatus::Queued, EmailStatus::Deferred] {
        let emails = engine.collection::<Document>(EMAILS);
        let find = emails
            .find_one(doc! { "status": status.as_str() })
            .sort(doc! { "_id": 1 })
            .projection(doc! { "createdAt": 1 });
        let found = engine.command(find).await?.and_then(|email| email.get_datetime("createdAt").ok().copied());
        let created_at = found.map(timestamp);
        oldest = match (oldest, created_at) {
            (Some(a), Some(b)) => Some(std::cmp::min::<Timestamp>(a, b)),
            (a, b) => a.or(b),
        };
    }
    Ok(oldest)
}

/// Recipient domains with deliveries that wait, most first.
async fn domains(engine: &Engine) -> Result<Vec<DomainStats>> {
    // Either condition is that of an index which holds nothing else.
    let conditions = [claimable(), doc! { "owner": { "$exists": true } }];
    let mut waiting: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for condition in conditions {
        let pipeline = vec![
            doc! { "$match": condition },
            doc! { "$group": { "_id": { "domain": "$domain", "status": "$status" }, "deliveries": { "$sum": 1 } } },
        ];
        let deliveries = engine.collection::<Document>(DELIVERIES);
        for group in engine.call(collect(deliveries.aggregate(pipeline))).await? {
            let Ok(key) = group.get_document("_id") else { continue };
            let Ok(domain) = key.get_str("domain") else { continue };
            let count = u64::try_from(number(&group, "deliveries")).unwrap_or(0);
            match key.get_str("status") {
                Ok("queued") => waiting.entry(domain.to_owned()).or_default().0 += count,
                Ok("deferred") => waiting.entry(domain.to_owned()).or_default().1 += count,
                // Held or cancelled, and a node has not let go of it yet.
                _ => {}
            }
        }
    }
    let mut most: Vec<(String, (u64, u64))> = waiting.into_iter().collect();
    most.sort_by_key(|(_, (queued, deferred))| std::cmp::Reverse(queued + deferred));
    most.truncate(QueueStats::DOMAINS_MAX);
    let deferred = most.iter().filter(|(_, (_, deferred))| *deferred > 0).map(|(domain, _)| domain.as_str());
    let mut errors = last_errors(engine, deferred.collect()).await?;
    let stats = |(domain, (queued, deferred)): (String, (u64, u64))| {
        let last_error = errors.remove(&domain).filter(|_| deferred > 0);
        Ok(DomainStats { domain: codes::domain(&domain)?, queued, deferred, last_error })
    };
    most.into_iter().map(stats).collect()
}

/// Why a delivery to each of these domains was deferred last.
pub(crate) async fn last_errors(engine: &Engine, deferred: Vec<&str>) -> Result<HashMap<String, String>> {
    if deferred.is_empty() {
        return Ok(HashMap::new());
    }
    let domains = engine.collection::<Document>(DOMAINS);
    let find = domains.find(doc! { "_id": { "$in": deferred } });
    let found = engine.call(collect(find)).await?;
    let error =
        |domain: Document| Some((domain.get_str("_id").ok()?.to_owned(), domain.get_str("error").ok()?.to_owned()));
    Ok(found.into_iter().filter_map(error).collect())
}
