//! The queue as it was a moment ago: one look into the store for all pages that are open, however many wait in it.
//!
//! What was seen is shown for a moment, and longer where looking is dear, so that open pages cost a bounded share of the store. A page
//! that was shown something older than what it was told of is told once more when there is something newer to see.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use postrider_core::{Clock, Timestamp};
use postrider_store::{QueueDomainFilter, QueueDomainPage, QueueStats, Store, StoreError};
use tokio::sync::Mutex;

use crate::api::Summaries;

/// For how long at least what was seen is shown, and at most. Pages ask when they are told that something happened, all at the same time,
/// and before they are told again it is old.
const HOLDS_MIN: Duration = Duration::from_millis(200);
const HOLDS_MAX: Duration = Duration::from_secs(10);

/// It is shown for so many times as long as looking took: looking takes 2% of the time at most.
const HOLDS_FACTOR: u32 = 50;

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

/// See the module.
#[derive(Debug)]
pub(crate) struct QueueLook {
    stats: Remembered<(), QueueStats>,
    domains: Remembered<Part, QueueDomainPage>,
    clock: Arc<dyn Clock>,
    summaries: Arc<Summaries>,
    /// How often the queue was changed by orders here: what was seen before is not shown behind one.
    changes: AtomicU64,
    /// Whether those who follow will be told that there is something newer to see.
    is_owed: Arc<AtomicBool>,
}

/// Locked while the store is asked: it is, once, for all who wait.
type Remembered<K, V> = Mutex<HashMap<K, Seen<V>>>;

#[derive(Debug)]
struct Seen<V> {
    value: Arc<V>,
    until: Timestamp,
    changes: u64,
    /// What those who follow had been told when it was looked at.
    told: u64,
}

impl QueueLook {
    pub(crate) fn new(clock: Arc<dyn Clock>, summaries: Arc<Summaries>) -> Self {
        let (stats, domains) = (Remembered::default(), Remembered::default());
        Self { stats, domains, clock, summaries, changes: AtomicU64::new(0), is_owed: Arc::default() }
    }

    pub(crate) async fn stats(&self, store: &dyn Store) -> Result<Arc<QueueStats>, StoreError> {
        self.look(&self.stats, (), store.queue_stats(self.clock.now())).await
    }

    pub(crate) async fn domains(&self, store: &dyn Store, part: Part) -> Result<Arc<QueueDomainPage>, StoreError> {
        let filter = QueueDomainFilter { prefix: part.prefix.clone() };
        let (page, limit) = (part.page, part.limit);
        self.look(&self.domains, part, store.queue_domains(&filter, page, limit)).await
    }

    /// The queue was changed here: the next look goes into the store.
    pub(crate) fn forget(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    async fn look<K: Eq + Hash, V>(
        &self,
        remembered: &Remembered<K, V>,
        key: K,
        asked: impl Future<Output = Result<V, StoreError>>,
    ) -> Result<Arc<V>, StoreError> {
        let mut all = remembered.lock().await;
        // Before looking: what changes meanwhile may not be seen.
        let (changes, told, now) = (self.changes.load(Ordering::Acquire), self.summaries.told(), self.clock.now());
        if let Some(seen) = all.get(&key).filter(|seen| seen.changes == changes && now < seen.until) {
            if seen.told != told {
                self.owe(seen.until.since(now));
            }
            return Ok(seen.value.clone());
        }
        let value = Arc::new(asked.await?);
        let seen_at = self.clock.now();
        let holds = (seen_at.since(now) * HOLDS_FACTOR).clamp(HOLDS_MIN, HOLDS_MAX);
        if all.len() >= SEEN_MAX {
            all.clear();
        }
        all.insert(key, Seen { value: value.clone(), until: seen_at + holds, changes, told });
        Ok(value)
    }

    /// Those who follow are told after this time that something may have changed: once for all who were shown what is old.
    fn owe(&self, after: Duration) {
        if self.is_owed.swap(true, Ordering::AcqRel) {
            return;
        }
        let (clock, summaries, is_owed) = (self.clock.clone(), self.summaries.clone(), self.is_owed.clone());
        tokio::spawn(async move {
            clock.sleep(after).await;
            is_owed.store(false, Ordering::Release);
            summaries.stir();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use super::*;

    /// Whoever sleeps lets the time pass, at once.
    #[derive(Debug)]
    struct LeapingClock(std::sync::Mutex<Timestamp>);

    impl LeapingClock {
        fn pass(&self, time: Duration) {
            let mut now = self.0.lock().unwrap();
            *now = *now + time;
        }
    }

    impl Clock for LeapingClock {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }

        fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            self.pass(time);
            Box::pin(std::future::ready(()))
        }
    }

    struct Queue {
        look: QueueLook,
        clock: Arc<LeapingClock>,
        /// How often the store was asked.
        asked: AtomicU64,
        takes: Duration,
    }

    impl Queue {
        fn new(takes: Duration) -> Self {
            let clock = Arc::new(LeapingClock(std::sync::Mutex::new(Timestamp::from_millis(1_800_000_000_000))));
            let look = QueueLook::new(clock.clone(), Arc::new(Summaries::new()));
            Self { look, clock, asked: AtomicU64::new(0), takes }
        }

        /// What is seen: how often it was looked.
        async fn see(&self) -> u64 {
            let asked = async {
                self.clock.pass(self.takes);
                Ok(QueueStats { total: self.asked.fetch_add(1, Ordering::Relaxed) + 1, ..QueueStats::default() })
            };
            self.look.look(&self.look.stats, (), asked).await.unwrap().total
        }
    }

    #[tokio::test]
    async fn one_look_is_for_all_who_ask_at_the_same_time() {
        let queue = Queue::new(Duration::ZERO);
        assert_eq!((queue.see().await, queue.see().await), (1, 1));
        queue.clock.pass(HOLDS_MIN - Duration::from_millis(1));
        assert_eq!(queue.see().await, 1);
        queue.clock.pass(Duration::from_millis(1));
        assert_eq!(queue.see().await, 2);
    }

    #[tokio::test]
    async fn a_dear_look_is_for_longer_but_not_behind_an_order() {
        let queue = Queue::new(Duration::from_millis(100));
        assert_eq!(queue.see().await, 1);
        queue.clock.pass(Duration::from_millis(4_999));
        assert_eq!(queue.see().await, 1);
        queue.look.forget();
        assert_eq!((queue.see().await, queue.see().await), (2, 2));
        queue.clock.pass(Duration::from_secs(5));
        assert_eq!(queue.see().await, 3);
    }

    #[tokio::test]
    async fn who_is_shown_what_is_old_is_told_when_there_is_newer() {
        let queue = Queue::new(Duration::ZERO);
        let stirred = || queue.look.summaries.changes();
        assert_eq!((queue.see().await, queue.see().await, stirred()), (1, 1, 0));
        queue.look.summaries.note();
        let before = queue.clock.now();
        assert_eq!((queue.see().await, queue.look.is_owed.load(Ordering::Acquire)), (1, true));
        tokio::task::yield_now().await;
        assert_eq!((stirred(), queue.clock.now().since(before)), (1, HOLDS_MIN));
        // Now it is not old any more.
        assert_eq!((queue.see().await, queue.see().await), (2, 2));
        tokio::task::yield_now().await;
        assert_eq!((stirred(), queue.look.is_owed.load(Ordering::Acquire)), (1, false));
    }
}
