//! The queue as others see it: where each delivery is that this node has claimed.
//!
//! What is in line is found there. What somebody has in hand (a worker, a look-up) is shown by who has it, each in a place of its
//! own: that costs a message two locks which nobody else wants.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider_core::queue::{ClaimWait, DeliveryPlace, DestinationStatus, DomainLine, Stage};
use postrider_core::{Domain, ObjectId, Timestamp};
use postrider_store::ClaimedEmail;

use super::Queue;
use crate::deliver::route::TlsRule;

/// All that have something in hand, or may have.
#[derive(Debug, Default)]
pub(super) struct Hands {
    last: AtomicU64,
    all: Mutex<HashMap<u64, Arc<Shown>>>,
}

/// What one of them shows.
#[derive(Debug, Default)]
struct Shown(Mutex<Option<InHand>>);

#[derive(Debug)]
struct InHand {
    email: Arc<ClaimedEmail>,
    deliveries: Vec<usize>,
    stage: Stage,
    since: Timestamp,
}

/// Shows what its owner has in hand, for as long as it lives.
#[derive(Debug)]
pub(super) struct Hand {
    number: u64,
    shown: Arc<Shown>,
    hands: Arc<Hands>,
}

impl Hands {
    pub(super) fn new_hand(self: &Arc<Self>) -> Hand {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let shown = Arc::<Shown>::default();
        self.all().insert(number, shown.clone());
        Hand { number, shown, hands: self.clone() }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<Shown>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in hand of an e-mail.
    fn places(&self, email: ObjectId) -> Vec<DeliveryPlace> {
        let mut places = Vec::new();
        for shown in self.all().values() {
            let shown = shown.lock();
            let Some(held) = shown.as_ref().filter(|held| held.email.id == email) else { continue };
            places.extend(held.deliveries.iter().map(|&index| DeliveryPlace {
                number: held.email.deliveries[index].number,
                stage: held.stage,
                since: Some(held.since),
                ahead: 0,
                until: None,
                destination: None,
            }));
        }
        places
    }
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, Option<InHand>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hand {
    pub(super) fn take(&self, email: &Arc<ClaimedEmail>, deliveries: &[usize], stage: Stage, now: Timestamp) {
        let held = InHand { email: email.clone(), deliveries: deliveries.to_vec(), stage, since: now };
        *self.shown.lock() = Some(held);
    }

    pub(super) fn move_to(&self, stage: Stage, now: Timestamp) {
        if let Some(held) = self.shown.lock().as_mut().filter(|held| held.stage != stage) {
            held.stage = stage;
            held.since = now;
        }
    }

    pub(super) fn let_go(&self) {
        *self.shown.lock() = None;
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.hands.all().remove(&self.number);
    }
}

impl Queue {
    /// In whose name this node claims.
    pub(crate) fn node(&self) -> Option<ObjectId> {
        self.lanes().node()
    }

    /// Where the claimed deliveries of an e-mail are.
    pub(crate) fn delivery_places(&self, email: ObjectId) -> Vec<DeliveryPlace> {
        let now = self.now();
        // What goes from the line to a hand meanwhile is in both rather than in neither.
        let mut places = self.lanes().places(email, now);
        places.extend(self.hands.places(email));
        places
    }

    /// What is claimed of the mail of these domains, in their order.
    pub(crate) fn domain_lines(&self, domains: &[Domain]) -> Vec<DomainLine> {
        let now = self.now();
        let is_stopping = self.stopping.load(Ordering::Relaxed);
        let lanes = self.lanes();
        let mut keys = lanes.keys_of(&domains.iter().collect::<HashSet<_>>());
        let line = |domain: &Domain| {
            let (taken_on, wait) = lanes.holdings.of(domain, now);
            let mut keys = keys.remove(domain).unwrap_or_default();
            // Nothing may be in line, and connections be open.
            for rule in [TlsRule::Usual, TlsRule::Required, TlsRule::Waived] {
                keys.extend(self.router.known(domain, rule).map(|route| route.key.clone()));
            }
            keys.sort_unstable();
            keys.dedup();
            let destinations: Vec<DestinationStatus> = keys.iter().filter_map(|key| lanes.status(key, now)).collect();
            DomainLine {
                taken_on: taken_on as u64,
                taken_on_max: lanes.holdings.per_domain_max() as u64,
                claim_wait: if is_stopping || lanes.node().is_none() { Some(ClaimWait::NotSending) } else { wait },
                destinations,
                ..DomainLine::default()
            }
        };
        let mut lines: Vec<DomainLine> = domains.iter().map(line).collect();
        drop(lanes);
        self.tell_recent(domains, &mut lines, now);
        lines
    }
}
