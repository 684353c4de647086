//! The nodes: their leases, and what becomes of the claims of those that are gone.
//!
//! Whose time decides is the server's ([`LeaseClock`]): every comparison is an expression that the server evaluates.
//! What a node claimed hangs on its registration alone. Whoever renews gives back what is owned by nobody who is registered,
//! so that claims made in the last moment of a lapsed node, and releases that a crash cut off, mend themselves.

use std::time::Instant;

use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc, oid};
use postrider_core::Timestamp;
use postrider_store::{Change, DeliveryId, Membership, NodeId, NodeRecord, Renewal, StoreError};
use serde::{Deserialize, Serialize};

use crate::codes::{date, delivery_key, id, oid, timestamp};
use crate::counters::Stripe;
use crate::documents::DeliveryDocument;
use crate::engine::{Engine, Registered, Work};
use crate::failure::Failure;
use crate::files::collect;
use crate::guard::Claim;
use crate::options::LeaseClock;
use crate::schema::{DELIVERIES, NODES};

type Result<T> = std::result::Result<T, StoreError>;

/// Deliveries that are given back in one transaction.
const RELEASE_PART: usize = 500;

/// Parts that may be in the way of other transactions before the rest is left for later.
const RELEASE_CONFLICTS_MAX: usize = 64;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeDocument {
    #[serde(rename = "_id")]
    id: oid::ObjectId,
    #[serde(default)]
    host: String,
    lease_until: DateTime,
    /// The fingerprint as it is, bit by bit.
    #[serde(default)]
    keeps_to: i64,
}

/// Registers a node or prolongs its lease; `None` if its registration is lost.
pub(crate) async fn renew(engine: &Engine, renewal: Renewal) -> Result<Option<Membership>> {
    if engine.has_lost(renewal.node) {
        return Ok(None);
    }
    let known = engine.registered(renewal.node);
    let asked_at = Instant::now();
    if !prolong(engine, &renewal, known.is_some()).await? {
        engine.note_lost(renewal.node);
        return Ok(None);
    }
    let nodes = forget_lapsed(engine, renewal.now).await?;
    let Some(membership) = membership(&nodes, renewal.node) else {
        engine.note_lost(renewal.node);
        return Ok(None);
    };
    let Renewal { node, lease, keeps_to, .. } = renewal;
    engine.note_registered(node, Registered { holds_until: asked_at + lease, keeps_to, membership });
    if known.is_none_or(|known| known.keeps_to != keeps_to) {
        engine.notices.tell(Change::Nodes);
    }
    Ok(Some(membership))
}

/// The nodes whose leases hold.
pub(crate) async fn list(engine: &Engine, now: Timestamp) -> Result<Vec<NodeRecord>> {
    let filter = doc! { "$expr": { "$gt": ["$leaseUntil", time(engine, now)] } };
    let nodes = engine.collection::<NodeDocument>(NODES);
    let find = nodes.find(filter).sort(doc! { "_id": 1 });
    let nodes = engine.call(collect(find)).await?;
    let record =
        |node: NodeDocument| NodeRecord { id: id(node.id), host: node.host, lease_until: timestamp(node.lease_until) };
    Ok(nodes.into_iter().map(record).collect())
}

/// Whether a node is registered. That its lease may have lapsed does not matter as long as nobody has taken its claims.
pub(crate) async fn is_registered(engine: &Engine, node: NodeId) -> Result<bool> {
    let nodes = engine.collection::<Document>(NODES);
    Ok(engine.command(nodes.find_one(doc! { "_id": oid(node) })).await?.is_some())
}

/// Gives back all that a node holds and forgets the node.
pub(crate) async fn leave(engine: &Engine, node: NodeId) -> Result<()> {
    engine.note_left(node);
    engine.command(engine.collection::<Document>(NODES).delete_one(doc! { "_id": oid(node) })).await?;
    release_all(engine, vec![oid(node).into()]).await?;
    engine.notices.tell(Change::Nodes);
    Ok(())
}

/// Gives back deliveries that the node holds; others are left alone.
pub(crate) async fn release_some(engine: &Engine, node: NodeId, deliveries: &[DeliveryId]) -> Result<()> {
    let keys: Vec<String> = deliveries.iter().map(|&delivery| delivery_key(delivery)).collect();
    // Not later: by then the node may have claimed them again.
    let in_time = doc! { "$lt": ["$$NOW", engine.deadline().await?] };
    release(engine, doc! { "_id": { "$in": keys }, "owner": oid(node), "$expr": in_time }).await.map(drop)
}

/// Gives back a claim, as far as it is still this one.
pub(crate) async fn give_back(engine: &Engine, claim: &Claim) -> Result<()> {
    release(engine, doc! { "_id": { "$in": &claim.keys }, "claim": claim.name }).await.map(drop)
}

/// Gives back what a filter names. Returns how many.
async fn release(engine: &Engine, claims: Document) -> Result<u64> {
    let deliveries = engine.collection::<DeliveryDocument>(DELIVERIES);
    let released = engine.command(deliveries.update_many(claims, released())).await?.modified_count;
    if released > 0 {
        engine.notices.tell(Change::Queue);
    }
    Ok(released)
}

/// Gives back all that these hold. One of them may have died within a transaction, which the server keeps open for a minute: what
/// that one changed is left for later. It is asked for within transactions too, because these do not wait for each other.
async fn release_all(engine: &Engine, owners: Vec<Bson>) -> Result<u64> {
    if owners.is_empty() {
        return Ok(0);
    }
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let held = deliveries.find(doc! { "owner": { "$in": &owners } }).projection(doc! { "_id": 1 });
    let held: Vec<Document> = engine.call(collect(held)).await?;
    let keys: Vec<&str> = held.iter().filter_map(|delivery| delivery.get_str("_id").ok()).collect();
    let mut parts: Vec<&[&str]> = keys.chunks(RELEASE_PART).collect();
    let (mut released, mut conflicts) = (0, 0);
    while let Some(keys) = parts.pop()
        && conflicts < RELEASE_CONFLICTS_MAX
    {
        match engine.transaction_once(&mut Release { keys, owners: &owners }).await {
            Ok(count) => released += count,
            Err(Failure::Conflict(_)) => {
                conflicts += 1;
                let (left, right) = keys.split_at(keys.len() / 2);
                parts.extend([left, right].into_iter().filter(|part| !part.is_empty() && part.len() < keys.len()));
            }
            Err(failure) => return Err(failure.into_error()),
        }
    }
    if released > 0 {
        engine.notices.tell(Change::Queue);
    }
    Ok(released)
}

struct Release<'a> {
    keys: &'a [&'a str],
    owners: &'a [Bson],
}

impl Work for Release<'_> {
    type Output = u64;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        _: Stripe,
    ) -> std::result::Result<u64, Failure> {
        let deliveries = engine.collection::<Document>(DELIVERIES);
        let claims = doc! { "_id": { "$in": self.keys }, "owner": { "$in": self.owners } };
        Ok(deliveries.update_many(claims, released()).session(session).await?.modified_count)
    }
}

/// What makes a delivery nobody's, due when it was before.
fn released() -> Vec<Document> {
    vec![doc! { "$set": { "readyAt": "$dueAt" } }, doc! { "$unset": ["owner", "claim"] }]
}

/// The time that leases are compared with, as an expression.
fn time(engine: &Engine, now: Timestamp) -> Bson {
    match engine.options.lease_clock {
        LeaseClock::Server => "$$NOW".into(),
        LeaseClock::Callers => date(now).into(),
    }
}

/// Writes the lease. `false`: the node was registered, and is no more.
async fn prolong(engine: &Engine, renewal: &Renewal, is_known: bool) -> Result<bool> {
    let nodes = engine.collection::<Document>(NODES);
    let millis = i64::try_from(renewal.lease.as_millis()).unwrap_or(i64::MAX);
    let now = time(engine, renewal.now);
    let until = match engine.options.lease_clock {
        LeaseClock::Server => {
            doc! { "$dateAdd": { "startDate": now.clone(), "unit": "millisecond", "amount": millis } }.into()
        }
        LeaseClock::Callers => Bson::from(date(renewal.now + renewal.lease)),
    };
    let update = vec![doc! { "$set": {
        "host": { "$literal": &renewal.host },
        "leaseUntil": until,
        "keepsTo": { "$literal": renewal.keeps_to as i64 },
    } }];
    let mut filter = doc! { "_id": oid(renewal.node) };
    if is_known {
        filter.insert("$expr", doc! { "$gt": ["$leaseUntil", now] });
    }
    let prolonged = engine.command(nodes.update_one(filter, update).upsert(!is_known)).await?;
    Ok(prolonged.matched_count > 0 || prolonged.upserted_id.is_some())
}

/// Forgets nodes whose leases have lapsed, and gives back what is owned by nobody who is registered.
/// Returns those that are left, by id.
async fn forget_lapsed(engine: &Engine, now: Timestamp) -> Result<Vec<NodeDocument>> {
    let nodes = engine.collection::<Document>(NODES);
    let lapsed = doc! { "$expr": { "$lte": ["$leaseUntil", time(engine, now)] } };
    let forgotten = engine.command(nodes.delete_many(lapsed)).await?.deleted_count;
    // Owners first: who owns something was registered before. The other way around, a node that registers and claims in
    // between would be taken for a stranger.
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let owned = doc! { "owner": { "$exists": true } };
    let owners: Vec<Bson> = engine.command(deliveries.distinct("owner", owned)).await?;
    let nodes = engine.collection::<NodeDocument>(NODES);
    let find = nodes.find(doc! {}).sort(doc! { "_id": 1 });
    let registered = engine.call(collect(find)).await?;
    let is_registered = |owner: &Bson| registered.iter().any(|node| owner.as_object_id() == Some(node.id));
    let strangers: Vec<Bson> = owners.into_iter().filter(|owner| !is_registered(owner)).collect();
    let released = match release_all(engine, strangers).await {
        Ok(released) => released,
        Err(error) => {
            // The renewal has succeeded all the same, and the next one mends this.
            tracing::debug!(%error, "the deliveries of nodes that are gone are still theirs");
            0
        }
    };
    if forgotten > 0 || released > 0 {
        tracing::info!(
            queue.nodes = forgotten,
            queue.released = released,
            "nodes are gone, their deliveries go on elsewhere"
        );
        engine.notices.tell(Change::Nodes);
    }
    Ok(registered)
}

fn membership(nodes: &[NodeDocument], node: NodeId) -> Option<Membership> {
    let position = nodes.iter().position(|other| id(other.id) == node)?;
    // FNV-1a, the same on every node; 0 says that a node keeps to nothing yet.
    let bytes = nodes.iter().flat_map(|node| node.id.bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let fingerprint = hash.max(1);
    Some(Membership {
        nodes: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
        position: u32::try_from(position).unwrap_or(u32::MAX),
        fingerprint,
        is_agreed: nodes.len() == 1 || nodes.iter().all(|node| node.keeps_to as u64 == fingerprint),
    })
}
