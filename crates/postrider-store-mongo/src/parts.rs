//! Changing many deliveries where others may be in the way.
//!
//! A node that dies within a transaction leaves it open on the server for a minute, and a plain update would wait for it. A
//! transaction does not: it is refused. So many deliveries are changed in parts, each a transaction of its own; one that meets
//! another's is cut into halves, until what is in the way is left alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use mongodb::options::UpdateModifications;
use postrider_store::StoreError;

use crate::counters::Stripe;
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::schema::DELIVERIES;

/// Deliveries in one transaction, at most.
const PART: usize = 500;

/// Changes those of the deliveries that match the filter. Returns how many: what is in another's way after `patience` is left
/// out.
pub(crate) async fn update(
    engine: &Engine,
    keys: &[String],
    filter: &Document,
    update: UpdateModifications,
    patience: Duration,
) -> Result<u64, StoreError> {
    let started = Instant::now();
    let mut parts: VecDeque<&[String]> = keys.chunks(PART).collect();
    let mut changed = 0;
    while let Some(keys) = parts.pop_front() {
        let mut part = Part { keys, filter, update: &update };
        match engine.transaction_once(&mut part).await {
            Ok(count) => changed += count,
            Err(Failure::Conflict(_)) if keys.len() > 1 && started.elapsed() < patience => {
                let (left, right) = keys.split_at(keys.len() / 2);
                // All others come first.
                parts.extend([left, right]);
            }
            Err(Failure::Conflict(error)) => tracing::debug!(%error, queue.deliveries = keys.len(), "left for later"),
            Err(failure) => return Err(failure.into_error()),
        }
    }
    Ok(changed)
}

struct Part<'a> {
    keys: &'a [String],
    filter: &'a Document,
    update: &'a UpdateModifications,
}

impl Work for Part<'_> {
    type Output = u64;

    async fn run(&mut self, engine: &Engine, session: &mut ClientSession, _: Stripe) -> Result<u64, Failure> {
        let mut filter = doc! { "_id": { "$in": self.keys } };
        filter.extend(self.filter.clone());
        let deliveries = engine.collection::<Document>(DELIVERIES);
        Ok(deliveries.update_many(filter, self.update.clone()).session(session).await?.modified_count)
    }
}
