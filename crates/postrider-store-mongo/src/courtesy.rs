//! Letting each other go first: transactions of this process that would write the same documents come one after the other.
//!
//! The server would end all but one of them, and they would begin anew again and again. Nothing depends on this: other
//! processes know nothing of it, and who has waited too long goes on regardless.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mongodb::bson::oid;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::engine::lock;

/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// From so many on, those that nobody uses are dropped.
const GATES_MAX: usize = 4_096;

/// What is known of so many mailboxes; then it is learnt anew.
const KNOWN_MAX: usize = 100_000;

/// Gates of users and mailboxes, by id.
#[derive(Debug, Default)]
pub(crate) struct Courtesy {
    gates: Mutex<HashMap<oid::ObjectId, Arc<tokio::sync::Mutex<()>>>>,
    /// The user of a mailbox, and the INBOX of a user.
    kin: Mutex<HashMap<oid::ObjectId, oid::ObjectId>>,
}

/// While this lives others wait.
#[derive(Debug)]
pub(crate) struct Turn(
    #[cfg_attr(not(test), expect(dead_code, reason = "held until it ends"))] Vec<OwnedMutexGuard<()>>,
);

impl Courtesy {
    /// Waits until nobody else changes any of these, for a while at most.
    pub(crate) async fn turn(&self, concerned: BTreeSet<oid::ObjectId>) -> Turn {
        self.turn_until(concerned, Instant::now() + PATIENCE).await
    }

    async fn turn_until(&self, concerned: BTreeSet<oid::ObjectId>, until: Instant) -> Turn {
        let mut guards = Vec::with_capacity(concerned.len());
        // In one order for all, so that no two wait for each other.
        for id in concerned {
            let gate = self.gate(id);
            match tokio::time::timeout_at(until, gate.lock_owned()).await {
                Ok(guard) => guards.push(guard),
                Err(_) => break,
            }
        }
        Turn(guards)
    }

    fn gate(&self, id: oid::ObjectId) -> Arc<tokio::sync::Mutex<()>> {
        let mut gates = lock(&self.gates);
        if gates.len() >= GATES_MAX {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        gates.entry(id).or_default().clone()
    }

    /// Notes whose a mailbox is, or which is a user's INBOX.
    pub(crate) fn know(&self, id: oid::ObjectId, kin: oid::ObjectId) {
        let mut known = lock(&self.kin);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(id, kin);
    }

    /// An id, and what is known to be changed with it.
    pub(crate) fn with_kin(&self, id: oid::ObjectId) -> impl Iterator<Item = oid::ObjectId> {
        [Some(id), lock(&self.kin).get(&id).copied()].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waited_long_enough_goes_on() {
        let courtesy = Courtesy::default();
        let (a, b) = (oid::ObjectId::from_bytes([1; 12]), oid::ObjectId::from_bytes([2; 12]));
        let first = courtesy.turn([a, b].into()).await;
        assert_eq!(first.0.len(), 2);
        let impatient = async || courtesy.turn_until([b].into(), Instant::now()).await.0.len();
        assert_eq!(impatient().await, 0);
        drop(first);
        assert_eq!(impatient().await, 1);
        assert_eq!(courtesy.turn([b].into()).await.0.len(), 1, "whoever had a turn gives it back");
    }
}
