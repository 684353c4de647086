//! Orders on what this node holds: what was held or cancelled meanwhile is taken out of line and given back.
//!
//! The store knows what is recalled ([`postrider_store::Queue::recalled`]) and leaves it as ordered however its claim ends. Here
//! is only seen to that it ends soon, and without a transaction where none has begun. What is between the lines at the moment
//! (its way is looked up, a connection is opened for it) is found out when it comes to the next of them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_store::DeliveryId;
use tracing::debug;

use super::settle::STORE_RETRY;
use super::{Job, Queue};
use crate::policy::source::Source;

/// How often it looks without being told: whoever gave an order may have died before the word went out.
const LOOK: Duration = Duration::from_secs(3);

/// What the store said when it was asked last, less what was given back since.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    ids: Mutex<HashSet<DeliveryId>>,
    /// Whether there are any: so a message costs no lock for what is hardly ever so.
    is_any: AtomicBool,
}

impl Recalled {
    fn set(&self, ids: HashSet<DeliveryId>) {
        let mut known = self.ids();
        self.is_any.store(!ids.is_empty(), Ordering::Release);
        *known = ids;
    }

    /// Its claim has ended.
    pub(super) fn forget(&self, ended: impl Iterator<Item = DeliveryId>) {
        if self.is_any() {
            let mut ids = self.ids();
            ended.for_each(|id| _ = ids.remove(&id));
            self.is_any.store(!ids.is_empty(), Ordering::Release);
        }
    }

    fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<DeliveryId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Looks for orders on what this node holds, now.
    pub(crate) fn heed_orders(&self) {
        self.recall_wake.notify_one();
    }

    /// Gives back what is recalled, whenever there may be something, until the queue has stopped.
    pub(super) async fn recall_whenever_told(self: &Arc<Self>) {
        let mut ended = self.ended.subscribe();
        let recalling = async {
            loop {
                tokio::select! {
                    () = self.recall_wake.notified() => {}
                    () = self.delivery.clock.sleep(LOOK) => {}
                }
                self.recall().await;
            }
        };
        tokio::select! {
            () = recalling => {}
            _ = ended.wait_for(|&ended| ended) => {}
        }
    }

    async fn recall(self: &Arc<Self>) {
        let (node, ids) = loop {
            let Some(node) = self.lanes().node() else { return };
            match self.store.recalled(node).await {
                Ok(ids) => break (node, ids),
                Err(error) => self.store_failed("orders on claimed deliveries cannot be looked up yet", &error),
            }
            self.delivery.clock.sleep(STORE_RETRY).await;
        };
        let taken = {
            let mut lanes = self.lanes();
            if lanes.node() != Some(node) {
                return;
            }
            let ids: HashSet<DeliveryId> = ids.into_iter().collect();
            let taken = if ids.is_empty() { Vec::new() } else { lanes.take_out(&ids) };
            self.recalled.set(ids);
            taken
        };
        if !taken.is_empty() {
            debug!(jobs = taken.len(), "deliveries that were held or cancelled meanwhile are taken out of line");
        }
        self.give_back(taken);
    }

    /// Gives back what is recalled of a job. Returns the rest, if there is any.
    pub(super) fn without_recalled(self: &Arc<Self>, mut job: Job) -> Option<Job> {
        let recalled = self.split_recalled(&mut job);
        self.give_back(recalled.into_iter().collect());
        (!job.deliveries.is_empty()).then_some(job)
    }

    /// Splits off what is recalled of a job. With the lanes locked, nothing gets past [`Queue::recall`].
    pub(super) fn split_recalled(&self, job: &mut Job) -> Option<Job> {
        if self.recalled.is_any() { job.take_out(&self.recalled.ids()) } else { None }
    }
}

impl Job {
    /// Splits off the deliveries that are among these.
    pub(super) fn take_out(&mut self, ids: &HashSet<DeliveryId>) -> Option<Self> {
        let is_among = |&index: &usize| {
            ids.contains(&DeliveryId { email: self.email.id, number: self.email.deliveries[index].number })
        };
        let (taken, left): (Vec<usize>, Vec<usize>) = self.deliveries.iter().partition(|&index| is_among(index));
        if taken.is_empty() {
            return None;
        }
        self.deliveries = left;
        // What the source counts for the message it counts until all of it is given back.
        let source = if self.deliveries.is_empty() { self.source.clone() } else { Source::default() };
        Some(Self { email: self.email.clone(), deliveries: taken, raw: None, source, node: self.node })
    }
}
