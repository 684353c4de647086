//! Which deliveries a claim is to take.
//!
//! Where little is due, all of it is looked at. Where much is, the server skips from domain to domain in an index of what nobody
//! holds, from where the last claim ended, and each domain with something due is asked for its part: so no domain starves, and
//! what waits for later costs a step for each domain at most. So that nodes seldom want the same, each prefers its part of what
//! there is, and takes what is another's only when that one has left it for a while.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::Hint;
use postrider_core::Timestamp;
use postrider_store::{ClaimRequest, Membership, StoreError};
use serde::Deserialize;

use crate::claim::BEGINNING;
use crate::codes::date;
use crate::engine::Engine;
use crate::files::collect;
use crate::schema::DELIVERIES;

type Result<T> = std::result::Result<T, StoreError>;

/// Up to so many due deliveries are looked at one by one.
const FEW_MAX: usize = 2_000;

/// Domains that are asked at the same time.
const DOMAINS_AT_ONCE: usize = 16;

/// Domains that one claim looks at, at most: the rest is for the next.
const DOMAINS_MAX: usize = 2_000;

/// What is due this long is taken by whichever node comes first.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// A delivery that is due.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Due {
    #[serde(rename = "_id")]
    key: String,
    domain: String,
    ready_at: DateTime,
}

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

/// What a node could claim.
pub(crate) struct Plan {
    pub(crate) keys: Vec<String>,
    pub(crate) more: bool,
    /// The domain behind which the next claim begins.
    pub(crate) cursor: String,
}

/// Chooses deliveries, going on where the last claim ended.
pub(crate) async fn plan(
    engine: &Engine,
    request: &ClaimRequest,
    membership: Membership,
    cursor: &str,
) -> Result<Plan> {
    let (few, ranked) =
        futures_util::try_join!(due(engine, request.now, Line::All, FEW_MAX + 1), ranks(engine, request.now))?;
    let has_ranked = !ranked.is_empty();
    let is_all = few.len() <= FEW_MAX;
    let mut candidates = if is_all {
        candidates_of(request, membership, cursor, in_line(few, &ranked))
    } else {
        candidates(engine, request, cursor).await?
    };
    let domains_max = if is_all { request.limit } else { domains_max(request) };
    let is_more_domains = candidates.len() > domains_max;
    candidates.truncate(domains_max);
    let next_cursor = match candidates.last() {
        // Those that were not served come first next time.
        Some(last) if is_more_domains => last.domain.clone(),
        _ => cursor.to_owned(),
    };
    let mut chosen = Vec::new();
    if !is_all {
        let share = (request.limit / candidates.len().max(1)).max(1);
        look(engine, request, membership, has_ranked, &mut candidates, share).await?;
        serve(&mut candidates, request.limit, &mut chosen);
        let left = request.limit - chosen.len();
        let mut open: Vec<Candidate> = candidates.extract_if(.., |candidate| candidate.may_have_more()).collect();
        if left > 0 && !open.is_empty() {
            // Looked at again, for keys behind those that are chosen.
            look(engine, request, membership, has_ranked, &mut open, share + left).await?;
            let taken: HashSet<String> = chosen.iter().cloned().collect();
            open.iter_mut().for_each(|candidate| candidate.keys.retain(|key| !taken.contains(key)));
        }
        candidates.extend(open);
    }
    serve(&mut candidates, request.limit, &mut chosen);
    let more = is_more_domains || candidates.iter().any(|candidate| candidate.can_serve() || candidate.may_have_more());
    Ok(Plan { keys: chosen, more, cursor: next_cursor })
}

/// Domains that one claim serves where much is due.
fn domains_max(request: &ClaimRequest) -> usize {
    request.limit.min(DOMAINS_MAX)
}

impl Candidate {
    fn can_serve(&self) -> bool {
        self.allowance > 0 && !self.keys.is_empty()
    }

    fn may_have_more(&self) -> bool {
        self.allowance > 0 && self.has_more
    }
}

/// What the node holds already.
struct Held<'a> {
    by_domain: HashMap<&'a str, usize>,
    per_domain_max: usize,
}

impl<'a> Held<'a> {
    fn of(request: &'a ClaimRequest) -> Self {
        let by_domain = request.held.iter().map(|(domain, count)| (domain.as_str(), *count)).collect();
        Self { by_domain, per_domain_max: request.per_domain_max }
    }

    /// How many more of this domain it may hold.
    fn allowance(&self, domain: &str) -> usize {
        self.per_domain_max.saturating_sub(self.by_domain.get(domain).copied().unwrap_or(0))
    }

    /// Domains of which it may hold no more.
    fn full(&self) -> usize {
        self.by_domain.values().filter(|&&count| count >= self.per_domain_max).count()
    }
}

/// Takes keys of all candidates in turn, an equal part of each; what some leave, the others get.
fn serve(candidates: &mut [Candidate], limit: usize, chosen: &mut Vec<String>) {
    loop {
        let open = candidates.iter().filter(|candidate| candidate.can_serve()).count();
        let left = limit - chosen.len();
        if left == 0 || open == 0 {
            return;
        }
        let share = (left / open).max(1);
        for candidate in candidates.iter_mut() {
            let count = share.min(candidate.allowance).min(limit - chosen.len()).min(candidate.keys.len());
            chosen.extend(candidate.keys.drain(..count));
            candidate.allowance -= count;
            candidate.served += count;
        }
    }
}

/// The domains of all that is due, with their keys, from behind the cursor on and around.
fn candidates_of(request: &ClaimRequest, membership: Membership, cursor: &str, all_due: Vec<Due>) -> Vec<Candidate> {
    let mut by_domain: BTreeMap<String, Vec<Due>> = BTreeMap::new();
    for due in all_due {
        by_domain.entry(due.domain.clone()).or_default().push(due);
    }
    let behind = by_domain.split_off(&format!("{cursor}\0"));
    let held = Held::of(request);
    let candidate = |(domain, due): (String, Vec<Due>)| Candidate {
        allowance: held.allowance(&domain),
        domain,
        served: 0,
        keys: prefer(membership, request.now, due),
        has_more: false,
    };
    behind.into_iter().chain(by_domain).map(candidate).filter(Candidate::can_serve).collect()
}

/// The domains with something due that the node may claim, from behind the cursor on and around: one more than could be
/// served, to know whether there are more.
async fn candidates(engine: &Engine, request: &ClaimRequest, cursor: &str) -> Result<Vec<Candidate>> {
    let held = Held::of(request);
    let full = held.full();
    let wanted = domains_max(request) + 1;
    let mut found = domains(engine, request.now, doc! { "$gt": cursor }, wanted + full).await?;
    if found.len() < wanted + full && !cursor.is_empty() {
        found.extend(domains(engine, request.now, doc! { "$lte": cursor }, wanted + full - found.len()).await?);
    }
    let candidate = |domain: String| Candidate {
        allowance: held.allowance(&domain),
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
    has_ranked: bool,
    candidates: &mut [Candidate],
    share: usize,
) -> Result<()> {
    let looks = candidates.iter().map(|candidate| {
        let count = share.min(candidate.allowance + candidate.served);
        (candidate.domain.clone(), count)
    });
    let looks: Vec<(String, usize)> = looks.collect();
    let results: Vec<(Vec<String>, bool)> = stream::iter(looks)
        .map(|(domain, count)| due_keys(engine, request.now, membership, has_ranked, domain, count))
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
    has_ranked: bool,
    domain: String,
    count: usize,
) -> Result<(Vec<String>, bool)> {
    let nodes = membership.nodes.max(1) as usize;
    // Enough that this node's part of them is what it wants, as a rule.
    let limit =
        if nodes == 1 { count } else { count.saturating_mul(nodes).saturating_add(count / 2) }.saturating_add(1);
    let found = if has_ranked {
        due_by_rank(engine, now, &domain, limit).await?
    } else {
        due(engine, now, Line::Domain(&domain), limit).await?
    };
    let has_more = found.len() == limit;
    let mut keys = prefer(membership, now, found);
    keys.truncate(limit.saturating_sub(1).max(1));
    Ok((keys, has_more))
}

/// What is due in a domain: the urgent, then what is neither urgent nor can wait, then what can.
async fn due_by_rank(engine: &Engine, now: Timestamp, domain: &str, limit: usize) -> Result<Vec<Due>> {
    let mut found = Vec::new();
    for rank in [doc! { "$lt": 0 }.into(), Bson::Null, doc! { "$gt": 0 }.into()] {
        if found.len() < limit {
            found.extend(due(engine, now, Line::Ranked(domain, rank), limit - found.len()).await?);
        }
    }
    Ok(found)
}

/// The ranks of what is due and has one: of so many that one more than [`FEW_MAX`] tells that there are more.
async fn ranks(engine: &Engine, now: Timestamp) -> Result<HashMap<String, i32>> {
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let find = deliveries
        .find(doc! { "rank": { "$exists": true }, "readyAt": { "$gte": BEGINNING, "$lte": date(now) } })
        .limit(FEW_MAX as i64 + 1)
        .projection(doc! { "_id": 1, "rank": 1 })
        .hint(Hint::Name("ranked".into()));
    let found = engine.call(collect(find)).await?;
    let rank = |delivery: Document| Some((delivery.get_str("_id").ok()?.to_owned(), delivery.get_i32("rank").ok()?));
    Ok(found.into_iter().filter_map(rank).collect())
}

/// What is due, the most urgent first, and of these what is due longest.
fn in_line(mut due: Vec<Due>, ranks: &HashMap<String, i32>) -> Vec<Due> {
    if !ranks.is_empty() {
        due.sort_by_key(|due| ranks.get(&due.key).copied().unwrap_or(0));
    }
    due
}

/// Of what it is asked what is due.
enum Line<'a> {
    All,
    Domain(&'a str),
    /// Of a domain, what has such a rank.
    Ranked(&'a str, Bson),
}

/// What is due, due longest first, or as the ranks say.
async fn due(engine: &Engine, now: Timestamp, line: Line<'_>, limit: usize) -> Result<Vec<Due>> {
    let mut filter = doc! { "readyAt": { "$gte": BEGINNING, "$lte": date(now) } };
    let mut sort = doc! { "readyAt": 1, "_id": 1 };
    // Of a domain with little that is due, the index of all would show what others have.
    let index = match line {
        Line::All => "due",
        Line::Domain(domain) => {
            filter.insert("domain", domain);
            "claimable"
        }
        Line::Ranked(domain, rank) => {
            filter.insert("domain", domain);
            filter.insert("rank", rank);
            sort = doc! { "rank": 1, "readyAt": 1, "_id": 1 };
            "lines"
        }
    };
    let deliveries = engine.collection::<Due>(DELIVERIES);
    let find = deliveries
        .find(filter)
        .sort(sort)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .projection(doc! { "_id": 1, "readyAt": 1, "domain": 1 })
        .hint(Hint::Name(index.into()));
    engine.call(collect(find)).await
}

/// The keys that this node should take, in this order: its own part, or else what others have left for a while, from the end
/// that they come to last.
fn prefer(membership: Membership, now: Timestamp, due: Vec<Due>) -> Vec<String> {
    if membership.nodes <= 1 {
        return due.into_iter().map(|due| due.key).collect();
    }
    let (mine, others): (Vec<Due>, Vec<Due>) = due.into_iter().partition(|due| membership.share(1, &due.key) == 1);
    let left_since = date(now - LEFT_ALONE);
    let left_alone = others.into_iter().rev().filter(|due| due.ready_at <= left_since);
    let taken: Vec<Due> = if mine.is_empty() { left_alone.collect() } else { mine };
    taken.into_iter().map(|due| due.key).collect()
}
