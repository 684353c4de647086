//! The nodes: their leases, and what becomes of the claims of those that are gone.
//!
//! Whose time decides is the server's ([`LeaseClock`]): every comparison is an expression that the server evaluates.
//! What a node claimed hangs on its registration alone. Whoever renews gives back what is owned by nobody who is registered,
//! so that claims made in the last moment of a lapsed node, and releases that a crash cut off, mend themselves.

use std::sync::Arc;
use std::time::Instant;

use mongodb::bson::{Bson, DateTime, Document, doc, oid};
use postrider_core::Timestamp;
use postrider_store::{Change, DeliveryId, Membership, NodeId, NodeRecord, Renewal, StoreError};
use serde::{Deserialize, Serialize};

use crate::codes::{date, delivery_key, id, oid, timestamp};
use crate::counters::number;
use crate::engine::{Engine, Registered};
use crate::files::collect;
use crate::guard::Claim;
use crate::options::LeaseClock;
use crate::parts;
use crate::schema::{DELIVERIES, NODES};
use crate::session;

type Result<T> = std::result::Result<T, StoreError>;

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
    /// What its process may leave open.
    #[serde(default)]
    sessions: Vec<Bson>,
}

/// Registers a node or prolongs its lease; `None` if its registration is lost.
pub(crate) async fn renew(engine: &Arc<Engine>, renewal: Renewal) -> Result<Option<Membership>> {
    if engine.has_lost(renewal.node) {
        return Ok(None);
    }
    let known = engine.registered(renewal.node);
    let asked_at = Instant::now();
    if !prolong(engine, &renewal, known.is_some()).await? {
        engine.note_lost(renewal.node);
        return Ok(None);
    }
    let (nodes, strangers) = forget_lapsed(engine, renewal.now).await?;
    let Some(membership) = membership(&nodes, renewal.node) else {
        engine.note_lost(renewal.node);
        return Ok(None);
    };
    let Renewal { node, lease, keeps_to, .. } = renewal;
    engine.note_registered(node, Registered { holds_until: asked_at + lease, keeps_to, membership });
    if known.is_none_or(|known| known.keeps_to != keeps_to) {
        engine.notices.tell(Change::Nodes);
    }
    release_strangers(engine, strangers).await;
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
    let is_own = engine.registered(node).is_some();
    engine.note_left(node);
    let nodes = engine.collection::<NodeDocument>(NODES);
    if !is_own {
        // First of all: what they have open may be in the way of any write.
        let left = engine.command(nodes.find_one(doc! { "_id": oid(node) })).await?;
        session::kill(&engine.client, left.map(|node| node.sessions).unwrap_or_default()).await;
    }
    engine.command(nodes.delete_one(doc! { "_id": oid(node) })).await?;
    release_of(engine, vec![oid(node).into()]).await?;
    engine.notices.tell(Change::Nodes);
    Ok(())
}

/// Gives back deliveries that the node holds; others are left alone.
pub(crate) async fn release(engine: &Engine, node: NodeId, deliveries: &[DeliveryId]) -> Result<()> {
    let keys: Vec<String> = deliveries.iter().map(|&delivery| delivery_key(delivery)).collect();
    // Not after this was given up here: by then the node may have claimed them again. The time is looked at when the command
    // begins, which may then take the other half.
    let half = engine.options.answer_timeout / 2;
    let in_time = doc! { "$lt": ["$$NOW", date(engine.server_time().await? + half)] };
    let claims = doc! { "_id": { "$in": keys }, "owner": oid(node), "$expr": in_time };
    let command = doc! {
        "update": DELIVERIES,
        "updates": [{ "q": claims, "u": released(), "multi": true }],
        "maxTimeMS": i64::try_from(half.as_millis()).unwrap_or(i64::MAX),
        "writeConcern": { "w": "majority", "j": true },
    };
    let reply = engine.command(engine.database.run_command(command)).await?;
    if number(&reply, "nModified") > 0 {
        engine.notices.tell(Change::Queue);
    }
    Ok(())
}

/// Gives back claims, as far as they are still these.
pub(crate) async fn give_back(engine: &Engine, claims: &[Claim]) -> Result<()> {
    let names: Vec<oid::ObjectId> = claims.iter().map(|claim| claim.name).collect();
    let keys: Vec<String> = claims.iter().flat_map(|claim| claim.keys.iter().cloned()).collect();
    release_all(engine, &keys, &doc! { "claim": { "$in": names } }).await.map(drop)
}

/// Gives back those of the deliveries that match the filter, but for what others are changing now. Returns how many.
async fn release_all(engine: &Engine, keys: &[String], filter: &Document) -> Result<u64> {
    let patience = engine.options.answer_timeout * 2;
    let released = parts::update(engine, keys, filter, released().into(), patience).await?;
    if released > 0 {
        engine.notices.tell(Change::Queue);
    }
    Ok(released)
}

/// Gives back all that these hold. What is in the way of others is left to the next who renews.
async fn release_of(engine: &Engine, owners: Vec<Bson>) -> Result<u64> {
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let filter = doc! { "owner": { "$in": owners } };
    let held = deliveries.find(filter.clone()).projection(doc! { "_id": 1 });
    let held = engine.call(collect(held)).await?;
    let keys: Vec<String> =
        held.iter().filter_map(|delivery| delivery.get_str("_id").ok().map(str::to_owned)).collect();
    release_all(engine, &keys, &filter).await
}

/// What makes a delivery nobody's, due when it was before; but one that was held or cancelled meanwhile stays so.
fn released() -> Vec<Document> {
    let ready_at = doc! { "$cond": [{ "$ifNull": ["$resting", false] }, "$$REMOVE", "$dueAt"] };
    vec![doc! { "$set": { "readyAt": ready_at } }, doc! { "$unset": ["owner", "claim"] }]
}

/// Notes that this process begins to use a session.
pub(crate) async fn note_session(
    engine: &Engine,
    session: &Document,
) -> std::result::Result<(), mongodb::error::Error> {
    let own: Vec<oid::ObjectId> = engine.own_nodes().into_iter().map(oid).collect();
    if own.is_empty() {
        // Its first renewal tells all.
        return Ok(());
    }
    let nodes = engine.collection::<Document>(NODES);
    let update = doc! { "$addToSet": { "sessions": session } };
    nodes.update_many(doc! { "_id": { "$in": own } }, update).await.map(drop)
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
        "sessions": { "$literal": engine.sessions.all() },
    } }];
    let mut filter = doc! { "_id": oid(renewal.node) };
    if is_known {
        filter.insert("$expr", doc! { "$gt": ["$leaseUntil", now] });
    }
    let prolonged = engine.command(nodes.update_one(filter, update).upsert(!is_known)).await?;
    Ok(prolonged.matched_count > 0 || prolonged.upserted_id.is_some())
}

/// Forgets nodes whose leases have lapsed. Returns those that are left, by id, and who else owns deliveries.
async fn forget_lapsed(engine: &Engine, now: Timestamp) -> Result<(Vec<NodeDocument>, Vec<Bson>)> {
    let nodes = engine.collection::<NodeDocument>(NODES);
    let lapsed = doc! { "$expr": { "$lte": ["$leaseUntil", time(engine, now)] } };
    let found = engine.call(collect(nodes.find(lapsed.clone()))).await?;
    let others = found.into_iter().filter(|node| engine.registered(id(node.id)).is_none());
    session::kill(&engine.client, others.flat_map(|node| node.sessions).collect()).await;
    let forgotten = engine.command(nodes.delete_many(lapsed)).await?.deleted_count;
    if forgotten > 0 {
        tracing::info!(queue.nodes = forgotten, "nodes are gone, their deliveries go on elsewhere");
        engine.notices.tell(Change::Nodes);
    }
    // Owners first: who owns something was registered before. The other way around, a node that registers and claims in
    // between would be taken for a stranger.
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let owned = doc! { "owner": { "$exists": true } };
    let owners: Vec<Bson> = engine.command(deliveries.distinct("owner", owned)).await?;
    let nodes = engine.collection::<NodeDocument>(NODES);
    let find = nodes.find(doc! {}).sort(doc! { "_id": 1 });
    let registered = engine.call(collect(find)).await?;
    let is_registered = |owner: &Bson| registered.iter().any(|node| owner.as_object_id() == Some(node.id));
    let strangers = owners.into_iter().filter(|owner| !is_registered(owner)).collect();
    Ok((registered, strangers))
}

/// Gives back what is owned by nobody who is registered. A renewal does not wait for long for that: it goes on by itself.
async fn release_strangers(engine: &Arc<Engine>, strangers: Vec<Bson>) {
    if strangers.is_empty() || !engine.begin_release() {
        return;
    }
    let releasing = engine.clone();
    let release = tokio::spawn(async move {
        match release_of(&releasing, strangers).await {
            Ok(0) => {}
            Ok(released) => tracing::info!(queue.released = released, "deliveries of nodes that are gone are free"),
            // The next renewal mends this.
            Err(error) => tracing::debug!(%error, "the deliveries of nodes that are gone are still theirs"),
        }
        releasing.end_release();
    });
    let _ = tokio::time::timeout(engine.options.answer_timeout / 4, release).await;
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
