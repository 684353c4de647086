//! How much may be asked in a minute: by each token, by each address, and how many wrong tokens an address may try.
//!
//! Each node counts for itself. A count is one point in time (the generic cell rate algorithm): a whole minute's worth may come
//! at once, and what was used comes back evenly. Counts of addresses are bounded in number: where very many ask, those that were
//! quiet longest begin anew.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use postrider_core::Timestamp;

const WINDOW_SECONDS: u64 = 60;
const WINDOW_NANOS: u64 = WINDOW_SECONDS * 1_000_000_000;

/// Counts in one generation; there are two.
const COUNTS_MAX: usize = 50_000;

/// How much there is in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota(pub(super) u32);

/// What is left of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) quota: Quota,
    pub(super) remaining: u32,
    /// Until all of it is there again.
    pub(super) reset_seconds: u64,
}

/// Nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted {
    pub(super) left: Left,
    /// Until there is one again; one at least.
    pub(super) retry_after_seconds: u16,
}

/// What each of many has used.
#[derive(Debug)]
pub(super) struct Counts<K> {
    generations: Mutex<Generations<K>>,
}

/// For each the moment at which all is there again, in nanoseconds since 1970.
#[derive(Debug)]
struct Generations<K> {
    young: HashMap<K, u64>,
    old: HashMap<K, u64>,
}

impl<K: Eq + Hash + Copy> Counts<K> {
    pub(super) fn new() -> Self {
        Self { generations: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }) }
    }

    /// Takes one.
    pub(super) fn take(&self, key: K, quota: Quota, now: Timestamp) -> Result<Left, Exhausted> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let now = nanos(now);
        let cell = WINDOW_NANOS / u64::from(quota.0.max(1));
        let whole_at = generations.get(&key).max(now);
        let next = whole_at + cell;
        if next - now > WINDOW_NANOS {
            let wait = (next - now - WINDOW_NANOS).div_ceil(1_000_000_000).max(1);
            let retry_after_seconds = u16::try_from(wait).unwrap_or(u16::MAX);
            return Err(Exhausted { left: Left::of(quota, whole_at - now), retry_after_seconds });
        }
        generations.put(key, next);
        Ok(Left::of(quota, next - now))
    }

    /// Whether one could be taken.
    pub(super) fn check(&self, key: K, quota: Quota, now: Timestamp) -> Result<(), Exhausted> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let now = nanos(now);
        let cell = WINDOW_NANOS / u64::from(quota.0.max(1));
        let used = generations.get(&key).saturating_sub(now);
        if used + cell <= WINDOW_NANOS {
            return Ok(());
        }
        let wait = (used + cell - WINDOW_NANOS).div_ceil(1_000_000_000).max(1);
        Err(Exhausted { left: Left::of(quota, used), retry_after_seconds: u16::try_from(wait).unwrap_or(u16::MAX) })
    }
}

impl<K: Eq + Hash + Copy> Generations<K> {
    fn get(&mut self, key: &K) -> u64 {
        self.young.get(key).or_else(|| self.old.get(key)).copied().unwrap_or_default()
    }

    fn put(&mut self, key: K, at: u64) {
        if self.young.len() >= COUNTS_MAX && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, at);
    }
}

impl Left {
    fn of(quota: Quota, used_nanos: u64) -> Self {
        let cell = WINDOW_NANOS / u64::from(quota.0.max(1));
        let remaining = WINDOW_NANOS.saturating_sub(used_nanos) / cell;
        Self {
            quota,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX).min(quota.0),
            reset_seconds: used_nanos.div_ceil(1_000_000_000),
        }
    }
}

/// What is left to who asked, by the name of each limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Report(Vec<(&'static str, Left)>);

impl Report {
    pub(super) fn add(&mut self, name: &'static str, left: Left) {
        self.0.push((name, left));
    }

    /// Writes the fields of draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        let join = |item: fn(&str, &Left) -> String| {
            self.0.iter().map(|(name, left)| item(name, left)).collect::<Vec<_>>().join(", ")
        };
        let policy = join(|name, left| format!("\"{name}\";q={};w={WINDOW_SECONDS}", left.quota.0));
        let limit = join(|name, left| format!("\"{name}\";r={};t={}", left.remaining, left.reset_seconds));
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", limit)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The address by which a peer is counted: an IPv6 host commonly has a whole /64 network to itself (RFC 6177).
pub(super) fn counted(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or_default().saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_minutes_worth_at_once_and_then_evenly() {
        let counts = Counts::new();
        for n in 1..=3 {
            let left = counts.take('a', Quota(3), NOW).unwrap();
            assert_eq!((left.remaining, left.reset_seconds), (3 - n, 20 * u64::from(n)));
        }
        let exhausted = counts.take('a', Quota(3), NOW).unwrap_err();
        assert_eq!((exhausted.left.remaining, exhausted.retry_after_seconds), (0, 20));
        assert_eq!(counts.check('a', Quota(3), NOW), Err(exhausted));
        assert!(counts.take('b', Quota(3), NOW).is_ok(), "each for itself");
        assert_eq!(counts.take('a', Quota(3), NOW + Duration::from_secs(19)).unwrap_err().retry_after_seconds, 1);
        assert!(counts.check('a', Quota(3), NOW + Duration::from_secs(20)).is_ok());
        assert!(counts.take('a', Quota(3), NOW + Duration::from_secs(20)).is_ok());
        assert!(counts.take('a', Quota(3), NOW + Duration::from_secs(20)).is_err());
        let left = counts.take('a', Quota(3), NOW + Duration::from_secs(600)).unwrap();
        assert_eq!(left.remaining, 2, "no more than a minute's worth");
    }

    #[test]
    fn a_large_quota_is_counted_to_the_last() {
        let counts = Counts::new();
        for _ in 0..100_000 {
            counts.take('a', Quota(100_000), NOW).unwrap();
        }
        assert!(counts.take('a', Quota(100_000), NOW).is_err());
    }

    #[test]
    fn many_addresses_cost_bounded_memory() {
        let counts = Counts::new();
        for n in 0..COUNTS_MAX as u32 * 5 {
            counts.take(IpAddr::from(n.to_be_bytes()), Quota(1), NOW).unwrap();
        }
        let generations = counts.generations.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * COUNTS_MAX);
    }

    #[test]
    fn hosts_are_counted_by_their_network() {
        let counted = |text: &str| counted(text.parse().unwrap()).to_string();
        assert_eq!(counted("192.0.2.7"), "192.0.2.7");
        assert_eq!(counted("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn what_is_left_is_told() {
        let mut report = Report::default();
        let mut headers = HeaderMap::new();
        report.write(&mut headers);
        assert!(headers.is_empty());
        report.add("token", Left { quota: Quota(60), remaining: 59, reset_seconds: 1 });
        report.add("address", Left { quota: Quota(100), remaining: 7, reset_seconds: 56 });
        report.write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"token\";q=60;w=60, \"address\";q=100;w=60");
        assert_eq!(headers["ratelimit"], "\"token\";r=59;t=1, \"address\";r=7;t=56");
    }
}
