//! What happens to claims whose taker is gone before it heard of them.
//!
//! A caller may drop its call at any moment, also between the commit that gives it a claim and the answer that tells it
//! so. Nobody would send such a delivery while the node lives. So the answer carries a guard, which gives the claims back
//! when it is dropped instead of taken.

use std::sync::{Arc, Weak};

use postrider_store::{DeliveryId, NodeId};

use crate::claim;
use crate::engine::Engine;

/// An answer together with the claims that it tells of.
#[derive(Debug)]
pub(crate) struct Guarded<T> {
    answer: Option<T>,
    claims: Vec<(NodeId, DeliveryId)>,
    engine: Weak<Engine>,
}

impl<T> Guarded<T> {
    pub(crate) fn new(answer: T, claims: Vec<(NodeId, DeliveryId)>, engine: &Arc<Engine>) -> Self {
        Self { answer: Some(answer), claims, engine: Arc::downgrade(engine) }
    }

    /// The answer has reached its caller, and the claims with it.
    pub(crate) fn take(mut self) -> Option<T> {
        self.claims.clear();
        self.answer.take()
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if self.claims.is_empty() {
            return;
        }
        let Some(engine) = self.engine.upgrade() else { return };
        engine.doubt(std::mem::take(&mut self.claims));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // If it does not succeed, whoever claims next gives them back.
            runtime.spawn(async move { claim::give_back_doubts(&engine).await });
        }
    }
}
