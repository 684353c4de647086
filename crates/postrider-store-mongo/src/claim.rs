//! Claiming due deliveries.
//!
//! A claim looks for domains with something due, in an index of what nobody holds, from where the last one ended; takes keys
//! of each in turn; and gives them to the node with one conditional update, which leaves out what another node took
//! meanwhile. What it got it reads back. So that nodes seldom want the same, each prefers its part of what there is, and
//! takes what is another's only when that one has left it for a while.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_core::{Envelope, Recipient, ReversePath, Timestamp};
use postrider_store::{ClaimRequest, Claimed, ClaimedDelivery, ClaimedEmail, Membership, StoreError};

use crate::codes::{address, date, id, oid, timestamp};
use crate::documents::DeliveryDocument;
use crate::engine::Engine;
use crate::failure::closed;
use crate::files::collect;
use crate::guard::{Claim, Guarded};
use crate::nodes;
use crate::schema::DELIVERIES;

type Result<T> = std::result::Result<T, StoreError>;

/// Domains that are asked at the same time.
const DOMAINS_AT_ONCE: usize = 16;

/// Domains that one claim looks at, at most: the rest is for the next.
const DOMAINS_MAX: usize = 2_000;

/// What is due this long is taken by whichever node comes first.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// Before all times.
const BEGINNING: DateTime = DateTime::from_millis(0);

/// All that can be claimed, now or later: put so that the index `claimable` serves it.
pub(crate) fn claimable() -> Document {
    doc! { "domain": { "$gte": "" }, "readyAt": { "$gte": BEGINNING } }
}

/// Where claims of this process are on their way around all domains. One claim at a time: two would want the same.
#[derive(Debug, Default)]
pub(crate) struct Walk(tokio::sync::Mutex<String>);

/// A domain with something due.
#[derive(Debug)]
struct Candidate {
    domain: String,
    /// How many more the node may hold.
    allowance: usize,
    /// How many of it this claim takes already.
    served: usize,
    /// Keys in the order in which they are to be taken.
    keys: Vec<String>,
    /// Whether it has more due than `keys`.
    has_more: bool,
}

pub(crate) async fn claim(engine: &Arc<Engine>, walk: &Walk, request: ClaimRequest) -> Result<Guarded<Claimed>> {
    let mut cursor = walk.0.lock().await;
    if engine.is_closed() {
        return Err(closed());
    }
    let nothing = |more| Guarded::new(Claimed { emails: Vec::new(), more }, None, engine);
    let registered = engine.registered(request.node);
    if registered.is_none() || !nodes::is_registered(engine, request.node).await? {
        tracing::warn!(queue.node = %request.node, "a node without a lease asked for deliveries");
        return Ok(nothing(false));
    }
    let membership = registered.map_or(Membership::ALONE, |registered| registered.membership);
    let plan = plan(engine, &request, membership, &cursor).await?;
    cursor.clone_from(&plan.cursor);
    if plan.keys.is_empty() {
        return Ok(nothing(plan.more));
    }
    let claim = Claim { name: oid::ObjectId::new(), keys: plan.keys };
    match take(engine, &request, &claim, plan.more).await {
        Ok(claimed) => Ok(Guarded::new(claimed, Some(claim), engine)),
        Err(error) => {
            engine.doubt(claim);
            Err(error)
        }
    }
}

/// What a node could claim.
struct Plan {
    keys: Vec<String>,
    more: bool,
    /// The domain behind which the next claim begins.
    cursor: String,
}

async fn plan(engine: &Engine, request: &ClaimRequest, membership: Membership, cursor: &str) -> Result<Plan> {
    let mut candidates = candidates(engine, request, cursor).await?;
    let is_more_domains = candidates.len() > request.limit;
    if is_more_domains {
        candidates.truncate(request.limit);
    }
    let next_cursor = match candidates.last() {
        // Those that were not served come first next time.
        Some(last) if is_more_domains => last.domain.clone(),
        _ => cursor.to_owned(),
    };
    let mut chosen = Vec::new();
    let share = (request.limit / candidates.len().max(1)).max(1);
    look(engine, request, membership, &mut candidates, share).await?;
    serve(&mut candidates, request.limit, share, &mut chosen);
    // What some leave, the others get.
    let left = request.limit - chosen.len();
    if left > 0 && candidates.iter().any(|candidate| candidate.has_more && candidate.allowance > 0) {
        let mut open: Vec<Candidate> =
            candidates.into_iter().filter(|candidate| candidate.has_more && candidate.allowance > 0).collect();
        // Looked at again, for keys behind those that are chosen.
        let wanted = share + left;
        look(engine, request, membership, &mut open, wanted).await?;
        let taken: HashSet<String> = chosen.iter().cloned().collect();
        open.iter_mut().for_each(|candidate| candidate.keys.retain(|key| !taken.contains(key)));
        while chosen.len() < request.limit && open.iter().any(|candidate| candidate.can_serve()) {
            let count = open.iter().filter(|candidate| candidate.can_serve()).count();
            let part = ((request.limit - chosen.len()) / count).max(1);
            serve(&mut open, request.limit, part, &mut chosen);
        }
        candidates = open;
    }
    let has_more =
        |candidate: &Candidate| candidate.allowance > 0 && (candidate.has_more || !candidate.keys.is_empty());
    let more = is_more_domains || candidates.iter().any(has_more);
    Ok(Plan { keys: chosen, more, cursor: next_cursor })
}

impl Candidate {
    fn can_serve(&self) -> bool {
        self.allowance > 0 && !self.keys.is_empty()
    }
}

/// Takes up to `share` of each candidate's keys.
fn serve(candidates: &mut [Candidate], limit: usize, share: usize, chosen: &mut Vec<String>) {
    for candidate in candidates {
        let count = share.min(candidate.allowance).min(limit - chosen.len()).min(candidate.keys.len());
        chosen.extend(candidate.keys.drain(..count));
        candidate.allowance -= count;
        candidate.served += count;
    }
}

/// The domains with something due that the node may claim, from behind the cursor on and around: one more than could be
/// served, to know whether there are more.
async fn candidates(engine: &Engine, request: &ClaimRequest, cursor: &str) -> Result<Vec<Candidate>> {
    let held: HashMap<&str, usize> = request.held.iter().map(|(domain, count)| (domain.as_str(), *count)).collect();
    let full = held.values().filter(|&&count| count >= request.per_domain_max).count();
    let wanted = (request.limit + 1).min(DOMAINS_MAX);
    let mut found = domains(engine, request.now, doc! { "$gt": cursor }, wanted + full).await?;
    if found.len() < wanted + full && !cursor.is_empty() {
        found.extend(domains(engine, request.now, doc! { "$lte": cursor }, wanted + full - found.len()).await?);
    }
    let candidate = |domain: String| Candidate {
        allowance: request.per_domain_max.saturating_sub(held.get(domain.as_str()).copied().unwrap_or(0)),
        domain,
        served: 0,
        keys: Vec::new(),
        has_more: false,
    };
    let mut candidates: Vec<_> = found.into_iter().map(candidate).collect();
    candidates.retain(|candidate| candidate.allowance > 0);
    candidates.truncate(wanted);
    Ok(candidates)
}

/// Domains with something due, in order. The server skips from domain to domain in the index.
async fn domains(engine: &Engine, now: Timestamp, range: Document, limit: usize) -> Result<Vec<String>> {
    let due = doc! { "$lte": date(now) };
    let pipeline = vec![
        doc! { "$match": { "domain": range, "readyAt": { "$gte": BEGINNING } } },
        doc! { "$sort": { "domain": 1, "readyAt": 1 } },
        doc! { "$group": { "_id": "$domain", "first": { "$first": "$readyAt" } } },
        doc! { "$match": { "first": due } },
        doc! { "$sort": { "_id": 1 } },
        doc! { "$limit": i64::try_from(limit).unwrap_or(i64::MAX) },
    ];
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let found: Vec<Document> = engine.call(collect(deliveries.aggregate(pipeline))).await?;
    Ok(found.into_iter().filter_map(|domain| Some(domain.get_str("_id").ok()?.to_owned())).collect())
}

/// Looks up the keys that are due in each domain, those due longest first.
async fn look(
    engine: &Engine,
    request: &ClaimRequest,
    membership: Membership,
    candidates: &mut [Candidate],
    share: usize,
) -> Result<()> {
    let looks = candidates.iter().map(|candidate| {
        let count = share.min(candidate.allowance + candidate.served);
        (candidate.domain.clone(), count)
    });
    let looks: Vec<(String, usize)> = looks.collect();
    let results: Vec<(Vec<String>, bool)> = stream::iter(looks)
        .map(|(domain, count)| due_keys(engine, request.now, membership, domain, count))
        .buffered(DOMAINS_AT_ONCE)
        .try_collect()
        .await?;
    for (candidate, (keys, has_more)) in candidates.iter_mut().zip(results) {
        (candidate.keys, candidate.has_more) = (keys, has_more);
    }
    Ok(())
}

/// Keys of what is due in a domain, for this node to take: `count` and a few more where there are nodes to share with.
async fn due_keys(
    engine: &Engine,
    now: Timestamp,
    membership: Membership,
    domain: String,
    count: usize,
) -> Result<(Vec<String>, bool)> {
    let nodes = membership.nodes.max(1) as usize;
    // Enough that this node's part of them is what it wants, as a rule.
    let limit =
        if nodes == 1 { count } else { count.saturating_mul(nodes).saturating_add(count / 2) }.saturating_add(1);
    let filter = doc! { "domain": domain, "readyAt": { "$gte": BEGINNING, "$lte": date(now) } };
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let find = deliveries
        .find(filter)
        .sort(doc! { "readyAt": 1, "_id": 1 })
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .projection(doc! { "_id": 1, "readyAt": 1 });
    let found: Vec<Document> = engine.call(collect(find)).await?;
    let has_more = found.len() == limit;
    let fresh = date(now - LEFT_ALONE);
    let (mut mine, mut others) = (Vec::new(), Vec::new());
    for delivery in &found {
        let Ok(key) = delivery.get_str("_id") else { continue };
        if is_mine(key, membership) {
            mine.push(key.to_owned());
        } else if delivery.get_datetime("readyAt").is_ok_and(|at| *at <= fresh) {
            others.push(key.to_owned());
        }
    }
    // What is another's and was left for long is taken only for want of one's own, and from the end that the other comes
    // to last.
    if mine.is_empty() {
        mine.extend(others.into_iter().rev());
    }
    mine.truncate(limit.saturating_sub(1).max(1));
    Ok((mine, has_more))
}

/// Whether a delivery is this node's to take first.
fn is_mine(key: &str, membership: Membership) -> bool {
    membership.share(1, key) == 1
}

/// Gives the planned deliveries to the node, and reads back which it got.
async fn take(engine: &Engine, request: &ClaimRequest, claim: &Claim, more: bool) -> Result<Claimed> {
    let deliveries = engine.deliveries();
    let node = oid(request.node);
    let filter = doc! {
        "_id": { "$in": &claim.keys },
        "readyAt": { "$gte": BEGINNING, "$lte": date(request.now) },
        "$expr": { "$lt": ["$$NOW", engine.deadline().await?] },
    };
    let update = doc! { "$set": { "owner": node, "claim": claim.name }, "$unset": { "readyAt": "" } };
    let taken = engine.command(deliveries.update_many(filter, update)).await?.modified_count as usize;
    let missed = claim.keys.len().saturating_sub(taken);
    engine.claim_conflicts.fetch_add(missed as u64, Ordering::Relaxed);
    tracing::debug!(queue.claimed = taken, queue.missed = missed, "claimed");
    let mut claimed = Claimed { emails: Vec::new(), more: more || missed > 0 };
    if taken == 0 {
        return Ok(claimed);
    }
    let got = deliveries.find(doc! { "_id": { "$in": &claim.keys }, "claim": claim.name });
    let got: Vec<DeliveryDocument> = engine.call(collect(got)).await?;
    let mut by_key: HashMap<String, DeliveryDocument> =
        got.into_iter().map(|delivery| (delivery.key.clone(), delivery)).collect();
    let mut places: HashMap<oid::ObjectId, usize> = HashMap::new();
    for delivery in claim.keys.iter().filter_map(|key| by_key.remove(key)) {
        let place = match places.get(&delivery.email) {
            Some(&place) => place,
            None => {
                places.insert(delivery.email, claimed.emails.len());
                claimed.emails.push(claimed_email(&delivery)?);
                claimed.emails.len() - 1
            }
        };
        if let Some(email) = claimed.emails.get_mut(place) {
            email.deliveries.push(claimed_delivery(delivery)?);
        }
    }
    Ok(claimed)
}

fn claimed_email(delivery: &DeliveryDocument) -> Result<ClaimedEmail> {
    Ok(ClaimedEmail {
        id: id(delivery.email),
        created_at: timestamp(delivery.created_at),
        envelope: envelope(delivery.envelope.clone(), &delivery.sender)?,
        message_id: delivery.message_id.clone(),
        size: u64::try_from(delivery.size).unwrap_or(0),
        is_8bit: delivery.is_8bit,
        deliveries: Vec::new(),
    })
}

fn claimed_delivery(delivery: DeliveryDocument) -> Result<ClaimedDelivery> {
    Ok(ClaimedDelivery {
        number: delivery.number,
        recipient: match delivery.parameters {
            Some(recipient) => recipient,
            None => Recipient::new(address(&delivery.recipient)?),
        },
        queued_at: timestamp(delivery.queued_at),
        attempts: delivery.attempts,
        last_category: delivery.last_category,
        delay_notified: delivery.delay_notified,
    })
}

/// The envelope of an e-mail's or delivery's document.
pub(crate) fn envelope(told: Option<Envelope>, sender: &str) -> Result<Envelope> {
    match told {
        Some(envelope) => Ok(envelope),
        None if sender.is_empty() => Ok(Envelope::default()),
        None => Ok(Envelope { reverse_path: ReversePath(Some(address(sender)?)), ..Envelope::default() }),
    }
}
