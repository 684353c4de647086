//! Outcomes that the store did not take before the claims were lost: a delivery that comes back here is settled with what
//! is known of it, and not tried again.
//!
//! In memory only, and only as many as may be lost to one outage: it spares repetitions, no promise rests on it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use postrider_core::{Attempt, Timestamp};
use postrider_store::{ClaimedEmail, DeliveryId, Next, NodeId, Settlement};
use tracing::info;

use super::{Job, Queue};
use crate::policy::source::Source;

/// What has not come back by then was taken over, and settled, by other nodes.
const KEPT: Duration = Duration::from_secs(3600);
const OUTCOMES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    outcomes: HashMap<DeliveryId, Outcome>,
}

#[derive(Debug)]
struct Outcome {
    attempt: Attempt,
    peer_reports: bool,
    lost_at: Timestamp,
}

impl Unrecorded {
    fn insert(&mut self, id: DeliveryId, outcome: Outcome, now: Timestamp) {
        if self.outcomes.len() >= OUTCOMES_MAX {
            self.outcomes.retain(|_, outcome| now.since(outcome.lost_at) < KEPT);
        }
        if self.outcomes.len() < OUTCOMES_MAX {
            self.outcomes.insert(id, outcome);
        }
    }

    /// What is known of a delivery of which `attempts` are recorded: nothing, if others have tried it since.
    fn take(&mut self, id: DeliveryId, attempts: u32, now: Timestamp) -> Option<Outcome> {
        let outcome = self.outcomes.remove(&id)?;
        (outcome.attempt.number == attempts + 1 && now.since(outcome.lost_at) < KEPT).then_some(outcome)
    }
}

impl Queue {
    /// Keeps in mind what could not be recorded before the claims were lost, where it was final: what failed for now is
    /// tried again anyhow, and may have failed because this process was stopped.
    pub(super) fn remember(&self, settlements: Vec<Settlement>, peer_reports: bool) {
        let now = self.now();
        let mut unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        let of_final = settlements.into_iter().filter(|settlement| !matches!(settlement.next, Next::Retry { .. }));
        for Settlement { id, attempt, .. } in of_final {
            unrecorded.insert(id, Outcome { attempt, peer_reports, lost_at: now }, now);
        }
    }

    /// Settles those of an e-mail's claimed deliveries whose outcome is known. Returns the others, if there are any.
    pub(super) fn record_known(self: &Arc<Self>, mut email: ClaimedEmail, node: NodeId) -> Option<ClaimedEmail> {
        let now = self.now();
        let mut known = Vec::new();
        {
            let mut unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
            if unrecorded.outcomes.is_empty() {
                return Some(email);
            }
            email.deliveries.retain(|delivery| {
                let id = DeliveryId { email: email.id, number: delivery.number };
                let Some(outcome) = unrecorded.take(id, delivery.attempts, now) else { return true };
                known.push((delivery.clone(), outcome));
                false
            });
        }
        for (delivery, outcome) in known {
            info!(email = %email.id, recipient = %delivery.recipient.address, "its outcome is known and recorded now");
            let email = Arc::new(ClaimedEmail { deliveries: vec![delivery], ..email.clone() });
            let job = Job { email, deliveries: vec![0], raw: None, source: Source::default(), node };
            self.settle(job, vec![(0, outcome.attempt)], outcome.peer_reports);
        }
        (!email.deliveries.is_empty()).then_some(email)
    }
}

#[cfg(test)]
mod tests {
    use postrider_core::{Outcome as Result, Reply};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn outcome(number: u32) -> Outcome {
        let reply = Reply { code: 250, enhanced_code: None, text: "Kept".to_owned() };
        let attempt = Attempt {
            number,
            started_at: NOW,
            duration: Duration::ZERO,
            mx: None,
            mx_ip: None,
            source_ip: None,
            ip_selection: None,
            tls: None,
            exchanges: Vec::new(),
            outcome: Result::Delivered { reply },
        };
        Outcome { attempt, peer_reports: false, lost_at: NOW }
    }

    fn id(number: u32) -> DeliveryId {
        DeliveryId { email: NodeId::default(), number }
    }

    #[test]
    fn an_outcome_counts_once_and_only_if_nobody_has_tried_since() {
        let mut unrecorded = Unrecorded::default();
        for number in 0..3 {
            unrecorded.insert(id(number), outcome(2), NOW);
        }
        assert!(unrecorded.take(id(0), 1, NOW).is_some());
        assert!(unrecorded.take(id(0), 1, NOW).is_none());
        assert!(unrecorded.take(id(1), 2, NOW).is_none(), "another node has tried it");
        assert!(unrecorded.take(id(2), 1, NOW + KEPT).is_none(), "long ago");
        assert!(unrecorded.outcomes.is_empty());
    }

    #[test]
    fn there_are_no_more_than_memory_allows() {
        let mut unrecorded = Unrecorded::default();
        for number in 0..=OUTCOMES_MAX as u32 {
            unrecorded.insert(id(number), outcome(1), NOW);
        }
        assert_eq!(unrecorded.outcomes.len(), OUTCOMES_MAX);
        unrecorded.insert(id(u32::MAX), outcome(1), NOW + KEPT);
        assert_eq!(unrecorded.outcomes.len(), 1, "the old make room");
    }
}
