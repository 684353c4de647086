//! This node's lease: kept while the store can be reached, and given up in time when it cannot.
//!
//! Each lease is taken under a node id of its own. What was claimed, accepted or settled under an id that was given up finds
//! nobody of that name in the store and does nothing there: no late answer can touch what another node has taken over.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postrider_core::{ObjectId, Timestamp};
use postrider_store::{NodeId, Renewal};
use tracing::{error, info, warn};

use super::Queue;
use crate::clock::timeout;

/// Between tries to renew a lease after one has failed.
const RENEW_RETRY: Duration = Duration::from_secs(1);

/// Until when this node may hold claims.
#[derive(Debug)]
pub(super) struct Lease {
    lapses_at: Timestamp,
    /// The same on a clock that nobody can set back.
    lapses_at_instant: Instant,
}

impl Lease {
    pub(super) fn new(lapses_at: Timestamp, lease: Duration) -> Self {
        Self { lapses_at, lapses_at_instant: Instant::now() + lease }
    }

    /// Whether it has lapsed, or will within `margin`. Where the two clocks differ the earlier end counts.
    fn lapses_within(&self, margin: Duration, now: Timestamp) -> bool {
        now + margin >= self.lapses_at || Instant::now() + margin >= self.lapses_at_instant
    }
}

impl Queue {
    /// Whether what is claimed is still this node's to send: asked before each message, since the process may have slept.
    pub(super) fn holds_lease(&self) -> bool {
        self.store.is_exclusive() || !self.lease().lapses_within(Duration::ZERO, self.now())
    }

    /// Renews the lease until the queue has stopped. If that does not succeed in time, everything in hand is dropped
    /// before the lease lapses: by then another node may send it.
    pub(super) async fn keep_lease(self: &Arc<Self>) {
        let lease = self.delivery.limits.lease;
        let mut wait = lease / 3;
        loop {
            let mut ended = self.ended.subscribe();
            tokio::select! {
                () = self.delivery.clock.sleep(wait) => {}
                _ = ended.wait_for(|&ended| ended) => return,
            }
            // After a long sleep of the machine it may be too late already.
            self.give_up_if_late(Duration::ZERO);
            let current = self.lanes().node();
            let node = current.unwrap_or_else(|| ObjectId::new(self.now()));
            let asked_at = self.now();
            let asked_at_instant = Instant::now();
            let renewing = self.store.renew(Renewal::new(node, asked_at, lease));
            wait = match timeout(self.delivery.clock.as_ref(), lease / 3, renewing).await {
                Ok(Ok(_)) => {
                    // Counted from before the question: the store's own count can only be later.
                    *self.lease() = Lease { lapses_at: asked_at + lease, lapses_at_instant: asked_at_instant + lease };
                    if current.is_none() {
                        info!(%node, "the store gave a new lease; deliveries go on");
                        self.begin_claims(node);
                    }
                    lease / 3
                }
                Ok(Err(error)) => {
                    warn!(%error, "the lease of this node could not be renewed");
                    RENEW_RETRY
                }
                Err(_) => {
                    warn!("the store did not renew the lease of this node in time");
                    RENEW_RETRY
                }
            };
            self.give_up_if_late(lease / 6);
        }
    }

    fn give_up_if_late(self: &Arc<Self>, margin: Duration) {
        // Where nobody else can send, giving up would only send again what could not be recorded yet.
        if self.store.is_exclusive() || self.lanes().node().is_none() || !self.lease().lapses_within(margin, self.now())
        {
            return;
        }
        error!("the lease of this node lapses; its deliveries are dropped, other nodes take them over");
        let Some(node) = self.lose_claims(None) else { return };
        let queue = self.clone();
        // Where the store can be reached, others need not wait for the lapse.
        tokio::spawn(async move { queue.store.leave(node).await });
    }

    /// Drops every claim and stops who works on one. Returns the node that held them.
    pub(super) fn lose_claims(&self, next: Option<NodeId>) -> Option<NodeId> {
        let mut lanes = self.lanes();
        let node = lanes.node();
        lanes.reset(next);
        // Under the lock, so that no worker sees one without the other.
        self.node.send_replace(next);
        node
    }

    fn begin_claims(self: &Arc<Self>, node: NodeId) {
        self.lose_claims(Some(node));
        self.kick();
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_of_two_clocks_ends_a_lease() {
        let now = Timestamp::from_millis(1_000_000);
        let lease = Lease::new(now + Duration::from_secs(30), Duration::from_secs(30));
        assert!(!lease.lapses_within(Duration::from_secs(10), now));
        assert!(lease.lapses_within(Duration::from_secs(30), now));
        assert!(lease.lapses_within(Duration::ZERO, now + Duration::from_secs(30)));
        let set_back = Lease::new(now + Duration::from_secs(3600), Duration::from_secs(30));
        assert!(set_back.lapses_within(Duration::from_secs(31), now), "whatever the wall clock says");
    }
}
