//! What happens to claims whose taker is gone before it heard of them.
//!
//! A caller may drop its call at any moment, also between the commit that gives it a claim and the answer that tells it
//! so. Nobody would send such a delivery while the node lives. So the answer carries a guard, which gives the claims back
//! when it is dropped instead of taken.

use std::sync::{Arc, Mutex, Weak};

use super::batch::Batch;
use super::failure::Failure;
use super::queue;
use super::writer::{Writer, lock};
use crate::records::{DeliveryId, NewEmail, NodeId};

/// Claims that their takers never heard of, and that could not be given back at once.
#[derive(Debug, Default)]
pub(super) struct Orphans(Mutex<Vec<(NodeId, Vec<DeliveryId>)>>);

impl Orphans {
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}

/// An operation that gives back what the orphans are. It takes them once, however often it runs.
pub(super) fn give_back(orphans: &Arc<Orphans>) -> impl FnMut(&mut Batch<'_>) -> Result<(), Failure> + Send + 'static {
    let orphans = Arc::clone(orphans);
    let mut taken: Option<Vec<(NodeId, Vec<DeliveryId>)>> = None;
    move |batch| {
        let taken = taken.get_or_insert_with(|| std::mem::take(&mut *lock(&orphans.0)));
        taken.iter().try_for_each(|(node, deliveries)| queue::release(batch, *node, deliveries))
    }
}

/// An answer together with the claims that it tells of.
#[derive(Debug)]
pub(super) struct Guarded<T> {
    answer: Option<T>,
    claims: Vec<(NodeId, DeliveryId)>,
    writer: Weak<Writer>,
    orphans: Arc<Orphans>,
}

impl<T> Guarded<T> {
    pub(super) fn new(
        answer: T,
        claims: Vec<(NodeId, DeliveryId)>,
        writer: Weak<Writer>,
        orphans: Arc<Orphans>,
    ) -> Self {
        Self { answer: Some(answer), claims, writer, orphans }
    }

    /// The answer has reached its caller, and the claims with it.
    pub(super) fn take(mut self) -> Option<T> {
        self.claims.clear();
        self.answer.take()
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if self.claims.is_empty() {
            return;
        }
        let claims = std::mem::take(&mut self.claims);
        {
            let mut waiting = lock(&self.orphans.0);
            for (node, delivery) in claims {
                match waiting.last_mut() {
                    Some((last, deliveries)) if *last == node => deliveries.push(delivery),
                    _ => waiting.push((node, vec![delivery])),
                }
            }
        }
        // If the writer is overloaded, whoever claims next gives them back.
        if let Some(writer) = self.writer.upgrade() {
            let _ = writer.write_and_forget(give_back(&self.orphans));
        }
    }
}

/// The claims that a new e-mail makes.
pub(super) fn claims_of(email: &NewEmail) -> Vec<(NodeId, DeliveryId)> {
    let numbered = (0..).zip(&email.deliveries);
    numbered.filter_map(|(number, d)| Some((d.claimed_by?, DeliveryId { email: email.id, number }))).collect()
}
