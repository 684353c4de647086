//! Nodes and their leases, and giving claims back.

use std::time::Duration;

use postrider_core::Timestamp;
use rusqlite::Connection;

use super::batch::Batch;
use super::codes;
use super::failure::Failure;
use super::sequence;
use crate::error::StoreError;
use crate::records::{Change, DeliveryId, NodeId, NodeRecord, Renewal};

/// Why deliveries to a domain were deferred is forgotten after this time.
const DOMAIN_ERRORS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Registers a node or prolongs its lease; other nodes lose their claims when their lease has lapsed or, where this
/// process is the only one that sends, at once. `false` for a node that `was_registered` and is not any more: then nothing
/// is done.
pub(super) fn renew(
    batch: &mut Batch<'_>,
    renewal: &Renewal,
    was_registered: bool,
    is_alone: bool,
) -> Result<bool, Failure> {
    let connection = batch.connection;
    let Renewal { node, now, lease, .. } = *renewal;
    let is_new = batch.node(node)?.is_none();
    if is_new && was_registered {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "INSERT INTO nodes (id, lease_until, host) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until, host = excluded.host",
        )?
        .execute((node.as_bytes(), (now + lease).as_millis(), &renewal.host))?;
    let gone = connection
        .prepare_cached("SELECT number FROM nodes WHERE id != ?1 AND (?2 OR lease_until <= ?3)")?
        .query_map((node.as_bytes(), is_alone, now.as_millis()), |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    if is_new || !gone.is_empty() {
        batch.nodes_changed();
    }
    if is_new && is_alone {
        // Whoever was making webhook calls is gone too.
        connection
            .prepare_cached("UPDATE calls SET locked_until = 0 WHERE state = 0 AND locked_until > 0")?
            .execute([])?;
    }
    for number in gone {
        let released = forget(batch, number)?;
        tracing::info!(queue.released = released, "a node is gone, its deliveries go on elsewhere");
    }
    connection
        .prepare_cached("DELETE FROM domain_errors WHERE at < ?1")?
        .execute([(now - DOMAIN_ERRORS_KEPT).as_millis()])?;
    connection.prepare_cached("DELETE FROM domain_counters WHERE queued = 0 AND deferred = 0")?.execute([])?;
    Ok(true)
}

/// The nodes whose leases hold, in the order in which they came.
pub(super) fn nodes(connection: &Connection, now: Timestamp) -> Result<Vec<NodeRecord>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT id, host, lease_until FROM nodes WHERE lease_until > ?1 ORDER BY number")?;
    let nodes = statement.query_map([now.as_millis()], |row| {
        let (id, lease_until) = (codes::id(row.get(0)?), codes::timestamp(row.get(2)?));
        Ok(NodeRecord { id, host: row.get(1)?, lease_until })
    })?;
    Ok(nodes.collect::<Result<_, _>>()?)
}

/// Gives back all that a node holds and forgets it.
pub(super) fn leave(batch: &mut Batch<'_>, node: NodeId) -> Result<(), Failure> {
    if let Some(number) = batch.node(node)? {
        forget(batch, number)?;
        batch.nodes_changed();
    }
    Ok(())
}

/// Gives back deliveries that the node holds; others are left alone.
pub(super) fn release(batch: &mut Batch<'_>, node: NodeId, deliveries: &[DeliveryId]) -> Result<(), Failure> {
    let Some(owner) = batch.node(node)? else { return Ok(()) };
    for delivery in deliveries {
        if let Some(seq) = sequence::find(batch.connection, delivery.email)? {
            let released = batch
                .connection
                .prepare_cached("UPDATE deliveries SET owner = NULL WHERE email = ?1 AND number = ?2 AND owner = ?3")?
                .execute((seq, delivery.number, owner))?;
            if released > 0 {
                batch.tell(Change::Queue);
            }
        }
    }
    Ok(())
}

/// What a node holds and is not to send any more.
pub(super) fn recalled(connection: &Connection, node: NodeId) -> Result<Vec<DeliveryId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT e.id, d.number
         FROM deliveries AS d INDEXED BY deliveries_owned CROSS JOIN emails AS e ON e.seq = d.email
         WHERE d.owner = (SELECT number FROM nodes WHERE id = ?1) AND d.owner IS NOT NULL AND d.status > 1",
    )?;
    let recalled = statement
        .query_map([node.as_bytes()], |row| Ok(DeliveryId { email: codes::id(row.get(0)?), number: row.get(1)? }))?;
    Ok(recalled.collect::<Result<_, _>>()?)
}

fn forget(batch: &mut Batch<'_>, number: i64) -> Result<usize, Failure> {
    let released = batch
        .connection
        .prepare_cached("UPDATE deliveries INDEXED BY deliveries_owned SET owner = NULL WHERE owner = ?1")?
        .execute([number])?;
    if released > 0 {
        batch.tell(Change::Queue);
    }
    batch.connection.prepare_cached("DELETE FROM nodes WHERE number = ?1")?.execute([number])?;
    Ok(released)
}
