//! Nodes and their leases, and giving claims back.

use std::time::Duration;

use super::batch::Batch;
use super::failure::Failure;
use super::sequence;
use crate::records::{DeliveryId, NodeId, Renewal};

/// Why deliveries to a domain were deferred is forgotten after this time.
const DOMAIN_ERRORS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Registers a node or prolongs its lease; other nodes lose their claims when their lease has lapsed or, where this
/// process is the only one that sends, at once.
pub(super) fn renew(batch: &mut Batch<'_>, renewal: &Renewal, is_alone: bool) -> Result<(), Failure> {
    let connection = batch.connection;
    let Renewal { node, now, lease, .. } = *renewal;
    connection
        .prepare_cached(
            "INSERT INTO nodes (id, lease_until) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until",
        )?
        .execute((node.as_bytes(), (now + lease).as_millis()))?;
    let gone = connection
        .prepare_cached("SELECT number FROM nodes WHERE id != ?1 AND (?2 OR lease_until <= ?3)")?
        .query_map((node.as_bytes(), is_alone, now.as_millis()), |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    for number in gone {
        let released = forget(batch, number)?;
        tracing::info!(queue.released = released, "a node is gone, its deliveries go on elsewhere");
    }
    connection
        .prepare_cached("DELETE FROM domain_errors WHERE at < ?1")?
        .execute([(now - DOMAIN_ERRORS_KEPT).as_millis()])?;
    connection.prepare_cached("DELETE FROM domain_counters WHERE queued = 0 AND deferred = 0")?.execute([])?;
    batch.nodes_changed();
    Ok(())
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
            batch
                .connection
                .prepare_cached("UPDATE deliveries SET owner = NULL WHERE email = ?1 AND number = ?2 AND owner = ?3")?
                .execute((seq, delivery.number, owner))?;
        }
    }
    Ok(())
}

fn forget(batch: &Batch<'_>, number: i64) -> Result<usize, Failure> {
    let released = batch
        .connection
        .prepare_cached("UPDATE deliveries INDEXED BY deliveries_owned SET owner = NULL WHERE owner = ?1")?
        .execute([number])?;
    batch.connection.prepare_cached("DELETE FROM nodes WHERE number = ?1")?.execute([number])?;
    Ok(released)
}
