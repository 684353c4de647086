//! What happens to claims whose taker is gone before it heard of them.
//!
//! A caller may drop its call at any moment, also between the commit that gives it a claim and the answer that tells it
//! so. Nobody would send such a delivery while the node lives. So the answer carries a guard, which gives the claims back
//! when it is dropped instead of taken.

use std::sync::{Arc, Weak};

use mongodb::bson::oid;

use crate::engine::Engine;

/// Deliveries that were given to a node together.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) name: oid::ObjectId,
    pub(crate) keys: Vec<String>,
}

/// An answer together with the claims that it tells of.
#[derive(Debug)]
pub(crate) struct Guarded<T> {
    answer: Option<T>,
    claims: Vec<Claim>,
    engine: Weak<Engine>,
}

impl<T> Guarded<T> {
    pub(crate) fn new(answer: T, claims: impl IntoIterator<Item = Claim>, engine: &Arc<Engine>) -> Self {
        Self { answer: Some(answer), claims: claims.into_iter().collect(), engine: Arc::downgrade(engine) }
    }

    /// The answer has reached its caller, and the claims with it.
    pub(crate) fn take(mut self) -> Option<T> {
        self.claims.clear();
        self.answer.take()
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.upgrade() {
            self.claims.drain(..).for_each(|claim| engine.doubt(claim));
        }
    }
}
