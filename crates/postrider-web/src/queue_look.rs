//! The queue as it was a moment ago: one look into the store for all pages that are open, however many wait in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postrider_core::Timestamp;
use postrider_store::{QueueDomainFilter, QueueDomainPage, QueueStats, Store, StoreError};

/// What was seen is shown for so long.
const SEEN_FOR: Duration = Duration::from_secs(1);

/// Pages of the list that are remembered at the same time.
const SEEN_MAX: usize = 64;

/// Which part of the queue is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    /// How the domain's name begins.
    pub(crate) prefix: Option<String>,
    /// Counted from 1.
    pub(crate) page: u64,
    pub(crate) limit: u64,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) stats: QueueStats,
    pub(crate) domains: QueueDomainPage,
    at: Timestamp,
    changes: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct QueueLook {
    /// Held while the store is asked: once for all who wait.
    seen: tokio::sync::Mutex<HashMap<Part, Arc<Seen>>>,
    /// How often the queue was changed by orders here: what was seen before is not shown behind one.
    changes: AtomicU64,
}

impl QueueLook {
    pub(crate) async fn at(&self, store: &dyn Store, part: Part, now: Timestamp) -> Result<Arc<Seen>, StoreError> {
        let mut all = self.seen.lock().await;
        let changes = self.changes.load(Ordering::Acquire);
        let holds = |seen: &Seen| seen.changes == changes && now.since(seen.at) < SEEN_FOR;
        if let Some(seen) = all.get(&part).filter(|seen| holds(seen)) {
            return Ok(seen.clone());
        }
        let filter = QueueDomainFilter { prefix: part.prefix.clone() };
        let stats = store.queue_stats(now).await?;
        let domains = store.queue_domains(&filter, part.page, part.limit).await?;
        let seen = Arc::new(Seen { stats, domains, at: now, changes });
        if all.len() >= SEEN_MAX {
            all.clear();
        }
        all.insert(part, seen.clone());
        Ok(seen)
    }

    /// The queue was changed here: the next look goes into the store.
    pub(crate) fn forget(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}
