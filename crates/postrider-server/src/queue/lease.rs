//! This node's lease: kept while the store can be reached, and given up in time when it cannot.
//!
//! Each lease is taken under a node id of its own. What was claimed, accepted or settled under an id that was given up finds
//! nobody of that name in the store and does nothing there: no late answer can touch what another node has taken over.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postrider_core::{ObjectId, Timestamp};
use postrider_store::{Membership, NodeId, Renewal, StoreError};
use tracing::{error, info};

use super::Queue;
use crate::outage::in_time;

/// Between tries to renew a lease after one has failed.
const RENEW_RETRY: Duration = Duration::from_secs(1);

/// Between two renewals that something gave cause for: many nodes that come and go together need no more.
const RENEW_PAUSE: Duration = Duration::from_millis(200);

/// Until when this node may hold claims.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    lapses_at: Timestamp,
    /// The same on a clock that nobody can set back.
    lapses_at_instant: Instant,
    /// Where it is lost: the id that is to be registered next.
    candidate: Option<NodeId>,
}

impl Lease {
    pub(super) fn new(lapses_at: Timestamp, lease: Duration) -> Self {
        Self { lapses_at, lapses_at_instant: Instant::now() + lease, candidate: None }
    }

    /// How long it still holds. Where the two clocks differ the earlier end counts.
    fn left(&self, now: Timestamp) -> Duration {
        self.lapses_at.since(now).min(self.lapses_at_instant.saturating_duration_since(Instant::now()))
    }
}

/// What came of a renewal.
enum Renewed {
    Held,
    /// This node is registered no more, or has given up meanwhile: it goes on under another id.
    Lost,
    Failed,
}

impl Queue {
    /// Whether what was claimed in the name of `node` is still this node's to send: asked before everything that cannot be
    /// undone, since the process may have slept, at any point, for longer than the lease. If it has, all claims are
    /// dropped.
    pub(super) fn may_send(self: &Arc<Self>, node: NodeId) -> bool {
        self.give_up_if_late(Duration::ZERO);
        self.is_current(node)
    }

    /// Renews the lease until the queue has stopped. If that does not succeed in time, everything in hand is dropped
    /// before the lease lapses: by then another node may send it.
    pub(super) async fn keep_lease(self: &Arc<Self>) {
        let lease = self.delivery.limits.lease;
        let mut ended = self.ended.subscribe();
        let mut wait = self.renew_after(lease);
        let mut asked_at = self.now();
        let mut has_failed = false;
        loop {
            let cause = async {
                self.renew_wake.notified().await;
                let pause = RENEW_PAUSE.saturating_sub(self.now().since(asked_at));
                self.delivery.clock.sleep(pause).await;
            };
            tokio::select! {
                () = self.delivery.clock.sleep(wait) => {}
                // A store that does not answer is asked no more often because somebody else met that, too.
                () = cause, if !has_failed => {}
                _ = ended.wait_for(|&ended| ended) => return,
            }
            // After a long sleep of the machine it may be too late already.
            self.give_up_if_late(Duration::ZERO);
            asked_at = self.now();
            let renewed = self.renew(asked_at).await;
            has_failed = matches!(renewed, Renewed::Failed);
            wait = match renewed {
                Renewed::Held => self.renew_after(lease),
                Renewed::Lost => Duration::ZERO,
                Renewed::Failed => RENEW_RETRY,
            };
            self.give_up_if_late(lease / 6);
        }
    }

    /// When the lease is to be renewed, if nothing gives cause before.
    fn renew_after(&self, lease: Duration) -> Duration {
        if self.lanes().has_news() { Duration::ZERO } else { lease / 3 }
    }

    async fn renew(self: &Arc<Self>, asked_at: Timestamp) -> Renewed {
        let lease = self.delivery.limits.lease;
        let (current, keeps_to) = {
            let lanes = self.lanes();
            (lanes.node(), lanes.keeps_to())
        };
        // The same until it is answered: an id that was registered without anyone's hearing of it would count among the nodes.
        let node = current.unwrap_or_else(|| *self.lease().candidate.get_or_insert_with(|| ObjectId::new(asked_at)));
        let host = self.options.registered.host.clone();
        if current.is_none() {
            self.options.registered.file.note(node);
        }
        let keeps_to = if current.is_some() { keeps_to } else { 0 };
        let asked_at_instant = Instant::now();
        // Whether there is an answer must be known before it is too late to stop sending.
        let patience = match current {
            Some(_) if !self.store.is_exclusive() => {
                let left = self.lease().left(asked_at);
                left.saturating_sub(lease / 6).max(left / 2).min(lease / 3)
            }
            _ => lease / 3,
        };
        let renewing = self.store.renew(Renewal { node, host, now: asked_at, lease, keeps_to });
        let membership = match in_time(self.delivery.clock.as_ref(), patience, renewing).await {
            Ok(Some(membership)) => membership,
            Ok(None) if current.is_some() => {
                self.store_answers();
                error!(%node, "the store has lost the registration of this node; its deliveries are dropped");
                self.lose_claims(None);
                return Renewed::Lost;
            }
            failed => {
                if matches!(failed, Ok(None)) {
                    // This one will not be registered any more.
                    self.lease().candidate = None;
                }
                let registers_none = StoreError::Unavailable("it registers no node".to_owned());
                let error = failed.err().unwrap_or(registers_none);
                self.store_failed("the lease of this node could not be renewed", &error);
                return Renewed::Failed;
            }
        };
        self.store_answers();
        let membership = if self.store.is_exclusive() { Membership::ALONE } else { membership };
        // Counted from before the question: the store's own count can only be later.
        let renewed =
            Lease { lapses_at: asked_at + lease, lapses_at_instant: asked_at_instant + lease, candidate: None };
        if current.is_none() {
            *self.lease() = renewed;
            info!(%node, "the store gave a new lease; deliveries go on");
            self.begin_claims(node, membership);
            return Renewed::Held;
        }
        {
            let mut lanes = self.lanes();
            if lanes.node() != current {
                // Somebody found the lease lapsed while this was under way.
                return Renewed::Lost;
            }
            lanes.note_announced(keeps_to);
            *self.lease() = renewed;
        }
        self.keep_to(membership);
        Renewed::Held
    }

    /// Gives up all claims if the lease lapses within `margin`.
    fn give_up_if_late(self: &Arc<Self>, margin: Duration) {
        // Where nobody else can send, giving up would only send again what could not be recorded yet.
        let is_safe = self.store.is_exclusive() || self.node.borrow().is_none();
        if is_safe || self.lease().left(self.now()) > margin {
            return;
        }
        let Some(node) = self.lose_claims(None) else { return };
        error!("the lease of this node lapses; its deliveries are dropped, other nodes take them over");
        self.renew_wake.notify_one();
        let queue = self.clone();
        // Where the store can be reached, others need not wait for the lapse.
        tokio::spawn(async move { queue.store.leave(node).await });
    }

    /// Drops every claim and stops who works on one. `next`: who claims from now on. Returns the node that held them.
    pub(super) fn lose_claims(&self, next: Option<(NodeId, Membership)>) -> Option<NodeId> {
        let mut lanes = self.lanes();
        let node = lanes.node();
        lanes.reset(next);
        // Under the lock, so that no worker sees one without the other.
        self.node.send_replace(lanes.node());
        node
    }

    fn begin_claims(self: &Arc<Self>, node: NodeId, membership: Membership) {
        self.lose_claims(Some((node, membership)));
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
        assert!(lease.left(now) > Duration::from_secs(10));
        assert!(lease.left(now) <= Duration::from_secs(30));
        assert_eq!(lease.left(now + Duration::from_secs(30)), Duration::ZERO);
        let set_back = Lease::new(now + Duration::from_secs(3600), Duration::from_secs(30));
        assert!(set_back.left(now) <= Duration::from_secs(30), "whatever the wall clock says");
    }
}
