//! What is counted of the selection of source addresses.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use postrider_core::Timestamp;
use postrider_core::source::{AddressUse, LatencyStats};

/// Answers whose latencies are kept.
const LATENCIES_MAX: usize = 1_000;

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) stale: u64,
    pub(super) fallbacks: u64,
    pub(super) defaults: u64,
    latencies_ms: VecDeque<u64>,
}

impl Counts {
    pub(super) fn note_latency(&mut self, latency_ms: u64) {
        if self.latencies_ms.len() == LATENCIES_MAX {
            self.latencies_ms.pop_front();
        }
        self.latencies_ms.push_back(latency_ms);
    }

    pub(super) fn latencies(&self) -> Option<LatencyStats> {
        let mut sorted: Vec<u64> = self.latencies_ms.iter().copied().collect();
        sorted.sort_unstable();
        let max = *sorted.last()?;
        // The least value that so many of a hundred do not exceed.
        let percentile = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)];
        Some(LatencyStats { p50: percentile(50), p90: percentile(90), p99: percentile(99), max })
    }
}

/// What was sent from which address.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<HashMap<IpAddr, (u64, Timestamp)>>);

impl Uses {
    pub(super) fn note(&self, ip: IpAddr, attempts: u64, now: Timestamp) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last_used_at) = uses.entry(ip).or_default();
        *count += attempts;
        *last_used_at = now;
    }

    /// The busiest first.
    pub(super) fn list(&self) -> Vec<AddressUse> {
        let uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<AddressUse> =
            uses.iter().map(|(&ip, &(attempts, last_used_at))| AddressUse { ip, attempts, last_used_at }).collect();
        list.sort_unstable_by_key(|used| (std::cmp::Reverse(used.attempts), used.ip));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let mut counts = Counts::default();
        assert_eq!(counts.latencies(), None);
        counts.note_latency(7);
        assert_eq!(counts.latencies(), Some(LatencyStats { p50: 7, p90: 7, p99: 7, max: 7 }));
        for latency in 1..=2 * LATENCIES_MAX as u64 {
            counts.note_latency(latency);
        }
        // The last thousand: 1001 to 2000.
        assert_eq!(counts.latencies(), Some(LatencyStats { p50: 1500, p90: 1900, p99: 1990, max: 2000 }));
    }
}
