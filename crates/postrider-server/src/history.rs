//! The history's part of this process: what it counts, second by second, kept by the store.
//!
//! Whoever takes or sends mail adds to counts in memory and goes on. A task adds these to the spans that they are in, and hands
//! the store those that have changed, at most once a second. While the store is out of reach they are kept here, for a day or so.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use postrider_core::history::{AddressTraffic, Step, Traffic};
use postrider_core::{Attempt, Clock, ObjectId, Timestamp};
use postrider_store::{AddressPart, Next, Store, TrafficPart};
use tokio::sync::{Notify, watch};
use tracing::debug;

/// What is new is gathered for so long.
const GATHER: Duration = Duration::from_secs(1);

/// After the store has not taken it.
const RETRY: Duration = Duration::from_secs(5);

/// Parts that the store is handed at once.
const PARTS_AT_ONCE: usize = 500;

/// Spans that wait for the store; of more, the oldest are lost. A day has 1608.
const SPANS_MAX: usize = 2_000;

/// Addresses by hours that wait for the store, and addresses of one second; more are not counted.
const ADDRESSES_MAX: usize = 10_000;

/// What is counted may be about a moment that is past for so long; what comes later begins a part of its own.
const OPEN_FOR: Duration = Duration::from_secs(60);

/// What was counted since the task looked last.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    fresh: std::sync::Mutex<Fresh>,
    has_some: Notify,
}

#[derive(Debug, Default)]
struct Fresh {
    /// By the minute's beginning.
    traffic: BTreeMap<Timestamp, Traffic>,
    /// By the hour's.
    addresses: HashMap<(Timestamp, IpAddr), AddressTraffic>,
}

impl Tally {
    /// An e-mail was taken.
    pub(crate) fn accepted(&self, now: Timestamp) {
        self.add(|fresh| fresh.minute(now).accepted += 1);
    }

    /// An attempt has ended with a delivery that was queued then.
    pub(crate) fn attempted(&self, queued_at: Timestamp, attempt: &Attempt, next: Next, now: Timestamp) {
        let decision = attempt.ip_selection.as_ref();
        let ip = attempt.source_ip.or(decision.and_then(|decision| decision.ip));
        self.add(|fresh| {
            let traffic = fresh.minute(now);
            match next {
                Next::Sent => {
                    traffic.delivered += 1;
                    traffic.latencies.note(now.since(queued_at));
                }
                Next::Retry { .. } => traffic.deferred += 1,
                Next::Failed => traffic.failed += 1,
            }
            let Some(ip) = ip else { return };
            let key = (Step::Hour.start_of(now), ip);
            if fresh.addresses.len() >= ADDRESSES_MAX && !fresh.addresses.contains_key(&key) {
                return;
            }
            let address = fresh.addresses.entry(key).or_default();
            match next {
                Next::Sent => address.delivered += 1,
                Next::Retry { .. } => address.deferred += 1,
                Next::Failed => address.failed += 1,
            }
            if let Some(decision) = decision {
                address.note_origin(decision.origin, 1);
            }
        });
    }

    fn add(&self, count: impl FnOnce(&mut Fresh)) {
        let was_empty = {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            let was_empty = fresh.traffic.is_empty();
            count(&mut fresh);
            was_empty
        };
        if was_empty {
            self.has_some.notify_one();
        }
    }

    fn take(&self) -> Fresh {
        std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Fresh {
    fn minute(&mut self, now: Timestamp) -> &mut Traffic {
        self.traffic.entry(Step::Minute.start_of(now)).or_default()
    }
}

/// Hands what is counted to the store.
#[derive(Debug)]
pub(crate) struct Recorder {
    tally: Arc<Tally>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    kept: tokio::sync::Mutex<Kept>,
}

/// The spans that are still counted in, and those that the store has not got yet.
#[derive(Debug, Default)]
struct Kept {
    traffic: BTreeMap<(Step, Timestamp), Part<Traffic>>,
    addresses: BTreeMap<(Timestamp, IpAddr), Part<AddressTraffic>>,
}

#[derive(Debug)]
struct Part<T> {
    id: ObjectId,
    sum: T,
    is_written: bool,
}

impl<T: Default> Part<T> {
    fn new(at: Timestamp) -> Self {
        Self { id: ObjectId::new(at), sum: T::default(), is_written: false }
    }
}

impl Recorder {
    pub(crate) fn new(tally: Arc<Tally>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { tally, store, clock, kept: tokio::sync::Mutex::default() })
    }

    /// Works until the server shuts down; [`Recorder::flush`] writes what is then left.
    pub(crate) async fn run(self: Arc<Self>, mut draining: watch::Receiver<bool>) {
        let mut wait = None;
        loop {
            let next = async {
                match wait {
                    Some(retry) => self.clock.sleep(retry).await,
                    None => {
                        self.tally.has_some.notified().await;
                        self.clock.sleep(GATHER).await;
                    }
                }
            };
            tokio::select! {
                () = next => {}
                _ = draining.wait_for(|&draining| draining) => return,
            }
            wait = (!self.flush().await).then_some(RETRY);
        }
    }

    /// Hands over all that is new; `false` where the store does not take it now.
    pub(crate) async fn flush(&self) -> bool {
        let mut kept = self.kept.lock().await;
        kept.add(self.tally.take());
        loop {
            let (traffic, addresses) = kept.unwritten();
            if traffic.is_empty() && addresses.is_empty() {
                kept.forget_closed(self.clock.now() - OPEN_FOR);
                return true;
            }
            let keys: (Vec<_>, Vec<_>) = (
                traffic.iter().map(|part| (part.step, part.at)).collect(),
                addresses.iter().map(|part| (part.at, part.ip)).collect(),
            );
            if let Err(error) = self.store.put_history(traffic, addresses).await {
                debug!(%error, "the history cannot be written yet");
                return false;
            }
            kept.note_written(&keys.0, &keys.1);
        }
    }
}

impl Kept {
    fn add(&mut self, fresh: Fresh) {
        for (minute, traffic) in fresh.traffic {
            for step in Step::ALL {
                let at = step.start_of(minute);
                let part = self.traffic.entry((step, at)).or_insert_with(|| Part::new(at));
                part.sum.add(&traffic);
                part.is_written = false;
            }
        }
        for ((hour, ip), traffic) in fresh.addresses {
            if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&(hour, ip)) {
                continue;
            }
            let part = self.addresses.entry((hour, ip)).or_insert_with(|| Part::new(hour));
            part.sum.add(&traffic);
            part.is_written = false;
        }
        while self.traffic.len() > SPANS_MAX {
            // Minutes come first: there are the most of them.
            self.traffic.pop_first();
        }
    }

    fn unwritten(&self) -> (Vec<TrafficPart>, Vec<AddressPart>) {
        let traffic = self.traffic.iter().filter(|(_, part)| !part.is_written).map(|(&(step, at), part)| TrafficPart {
            step,
            at,
            part: part.id,
            traffic: part.sum.clone(),
        });
        let addresses = self
            .addresses
            .iter()
            .filter(|(_, part)| !part.is_written)
            .map(|(&(at, ip), part)| AddressPart { at, ip, part: part.id, traffic: part.sum });
        (traffic.take(PARTS_AT_ONCE).collect(), addresses.take(PARTS_AT_ONCE).collect())
    }

    fn note_written(&mut self, traffic: &[(Step, Timestamp)], addresses: &[(Timestamp, IpAddr)]) {
        for key in traffic {
            if let Some(part) = self.traffic.get_mut(key) {
                part.is_written = true;
            }
        }
        for key in addresses {
            if let Some(part) = self.addresses.get_mut(key) {
                part.is_written = true;
            }
        }
    }

    /// Forgets what is written of spans that ended before.
    fn forget_closed(&mut self, before: Timestamp) {
        self.traffic.retain(|&(step, at), part| !part.is_written || at + step.duration() > before);
        self.addresses.retain(|&(hour, _), part| !part.is_written || hour + Step::Hour.duration() > before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_767_322_800_000);

    fn at(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    fn sums(kept: &Kept) -> Vec<(u32, u64)> {
        kept.unwritten().0.iter().map(|part| (part.step.seconds(), part.traffic.accepted)).collect()
    }

    #[test]
    fn each_length_of_span_gets_what_was_counted() {
        let (tally, mut kept) = (Tally::default(), Kept::default());
        for seconds in [0, 59, 60, 3_599] {
            tally.accepted(at(seconds));
        }
        kept.add(tally.take());
        assert_eq!(sums(&kept), [(60, 2), (60, 1), (60, 1), (600, 3), (600, 1), (3_600, 4)]);
        kept.note_written(&[(Step::Minute, at(0)), (Step::TenMinutes, at(0))], &[]);
        tally.accepted(at(1));
        kept.add(tally.take());
        assert_eq!(
            sums(&kept),
            [(60, 3), (60, 1), (60, 1), (600, 4), (600, 1), (3_600, 5)],
            "all so far, not what is new"
        );
    }

    #[test]
    fn what_is_written_and_over_is_forgotten() {
        let (tally, mut kept) = (Tally::default(), Kept::default());
        tally.accepted(at(0));
        kept.add(tally.take());
        kept.forget_closed(at(90));
        assert_eq!(kept.traffic.len(), 3, "the store has not got it");
        let first = kept.traffic[&(Step::Minute, at(0))].id;
        kept.note_written(&[(Step::Minute, at(0)), (Step::TenMinutes, at(0)), (Step::Hour, at(0))], &[]);
        kept.forget_closed(at(59));
        assert_eq!(kept.traffic.len(), 3);
        kept.forget_closed(at(60));
        assert_eq!(kept.traffic.len(), 2);
        tally.accepted(at(0));
        kept.add(tally.take());
        let late = &kept.traffic[&(Step::Minute, at(0))];
        assert!(late.id != first && late.sum.accepted == 1, "what comes late replaces nothing");
    }

    #[test]
    fn an_outage_keeps_no_more_than_memory_allows() {
        let (tally, mut kept) = (Tally::default(), Kept::default());
        for minute in 0..SPANS_MAX as u64 + 100 {
            tally.accepted(at(minute * 60));
            kept.add(tally.take());
        }
        assert_eq!(kept.traffic.len(), SPANS_MAX);
        assert!(!kept.traffic.contains_key(&(Step::Minute, at(0))) && kept.traffic.contains_key(&(Step::Hour, at(0))));
        assert_eq!(kept.unwritten().0.len(), PARTS_AT_ONCE);
        for address in 0..=ADDRESSES_MAX as u32 {
            let mut fresh = Fresh::default();
            fresh.addresses.insert((at(0), IpAddr::from(address.to_be_bytes())), AddressTraffic::default());
            kept.add(fresh);
        }
        assert_eq!(kept.addresses.len(), ADDRESSES_MAX);
    }
}
