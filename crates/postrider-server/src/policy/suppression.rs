//! Which recipients nothing is sent to, remembered, so that a stream of mail does not ask the store about each of them.
//!
//! Asked are the recipients of a message that is accepted, while the store writes it, and those of all e-mails of one claim
//! together: by the time a delivery is taken on, the answer is in memory. What is remembered is forgotten when the store tells of
//! a change: at once where this process made it, within a second where another did.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_core::queue::SUPPRESSED;
use postrider_core::{Address, Category, Clock, Outcome, SuppressionReason, dsn};
use postrider_store::directory::lookup_key;
use postrider_store::{Change, Store, StoreError, Suppression};

use crate::generations::Generations;
use crate::hearing::Hearing;
use crate::outage::in_time;

/// Addresses remembered, most of which are not listed.
const ADDRESSES_MAX: usize = 100_000;

/// Addresses that the store is asked for at a time.
const ASKED_MAX: usize = 500;

/// What is known of an address: why it is listed, if it is.
type Known = Option<Arc<Suppression>>;

/// The suppression list as deliveries see it.
#[derive(Debug)]
pub(crate) struct SuppressionList {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// How long the store may take to look something up.
    store_timeout: Duration,
    /// Whether the list has any effect.
    is_enabled: bool,
    /// Whether hard bounces are listed: those of a simulator say nothing.
    lists_bounces: bool,
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    changes: Hearing,
    /// How often all was forgotten.
    generation: u64,
    known: Generations<String, Known>,
}

impl SuppressionList {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        store_timeout: Duration,
        is_enabled: bool,
        is_simulated: bool,
    ) -> Self {
        let changes = Hearing::new(store.as_ref(), Change::Suppressions);
        let memory = Memory { changes, generation: 0, known: Generations::new(ADDRESSES_MAX) };
        let lists_bounces = is_enabled && !is_simulated;
        Self { store, clock, store_timeout, is_enabled, lists_bounces, memory: Mutex::new(memory) }
    }

    /// Whether hard bounces of deliveries enter the list.
    pub(crate) fn lists_bounces(&self) -> bool {
        self.lists_bounces
    }

    /// For each address why it is listed, from memory; `None` where it does not know all of them.
    pub(crate) fn known<'a>(&self, addresses: impl Iterator<Item = &'a Address>) -> Option<Vec<Known>> {
        if !self.is_enabled {
            return Some(addresses.map(|_| None).collect());
        }
        let mut memory = self.memory();
        addresses.map(|address| memory.known.get(&lookup_key(address)).cloned()).collect()
    }

    /// For each address why it is listed.
    pub(crate) async fn find(&self, addresses: &[&Address]) -> Result<Vec<Known>, StoreError> {
        if let Some(known) = self.known(addresses.iter().copied()) {
            return Ok(known);
        }
        let mut found = HashMap::new();
        for part in addresses.chunks(ASKED_MAX) {
            let generation = self.memory().generation;
            let part: Vec<Address> = part.iter().map(|&address| address.clone()).collect();
            let asking = self.store.suppressed(&part);
            let answer = in_time(self.clock.as_ref(), self.store_timeout, asking).await?;
            let mut memory = self.memory();
            for (address, listed) in part.iter().zip(answer) {
                let (key, listed) = (lookup_key(address), listed.map(Arc::new));
                // What has changed since may have changed this.
                if memory.generation == generation {
                    memory.known.insert(key.clone(), listed.clone());
                }
                found.insert(key, listed);
            }
        }
        Ok(addresses.iter().map(|address| found.get(&lookup_key(address)).cloned().flatten()).collect())
    }

    /// Finds out about these now, so that memory knows when it is asked. Where the store cannot say, it is asked again then.
    pub(crate) async fn look_up(&self, addresses: &[&Address]) {
        let _ = self.find(addresses).await;
    }

    /// What is remembered, after hearing what has changed up to now.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.changes.has_changed() {
            memory.generation += 1;
            memory.known.clear();
        }
        memory
    }
}

/// What becomes of a delivery to a listed address.
pub(crate) fn refusal(suppression: &Suppression) -> Outcome {
    let why = match suppression.reason {
        SuppressionReason::HardBounce => "mail to it bounced",
        SuppressionReason::Complaint => "the recipient complained of mail",
        SuppressionReason::Manual => "an operator listed it",
    };
    let since = suppression.created_at.to_rfc3339();
    let text = suppression.text.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    let reason = format!("{SUPPRESSED} since {since} ({why}){text}");
    // RFC 3463 section 3.8: X.7.1, delivery not authorized.
    dsn::refused_here(Category::Policy, "5.7.1", &reason)
}
