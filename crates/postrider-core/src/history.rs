//! What was done when: counts of mail by spans of time, how long deliveries took, and what was sent from which address.
//!
//! Counts are added, never averaged: those of many nodes, and of many spans, give those of all. Who keeps them, this does not know.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::source::SourceOrigin;
use crate::time::Timestamp;

/// Into spans of which length time is cut. Each begins at a multiple of it since 1970, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Minute,
    TenMinutes,
    Hour,
}

impl Step {
    pub const ALL: [Self; 3] = [Self::Minute, Self::TenMinutes, Self::Hour];

    pub const fn seconds(self) -> u32 {
        match self {
            Self::Minute => 60,
            Self::TenMinutes => 600,
            Self::Hour => 3_600,
        }
    }

    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.seconds() as u64)
    }

    /// When the span begins that a moment is in.
    pub fn start_of(self, at: Timestamp) -> Timestamp {
        let length_ms = i64::from(self.seconds()) * 1_000;
        Timestamp::from_millis(at.as_millis().div_euclid(length_ms).saturating_mul(length_ms))
    }
}

impl TryFrom<u32> for Step {
    type Error = u32;

    fn try_from(seconds: u32) -> Result<Self, u32> {
        Self::ALL.into_iter().find(|step| step.seconds() == seconds).ok_or(seconds)
    }
}

/// What was done with mail in a span.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// E-mails that were taken.
    pub accepted: u64,
    /// Attempts to deliver to a recipient, by what came of them.
    pub delivered: u64,
    pub deferred: u64,
    pub failed: u64,
    /// Of those delivered: from when they were queued until the other side had taken them.
    pub latencies: Latencies,
}

impl Traffic {
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.deferred += other.deferred;
        self.failed += other.failed;
        self.latencies.add(&other.latencies);
    }
}

/// What was sent from one address in a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AddressTraffic {
    pub delivered: u64,
    pub deferred: u64,
    pub failed: u64,
    /// Attempts by who chose the address, in the order of [`SourceOrigin::ALL`]; those for which nobody was asked are not among them.
    pub origins: [u64; SourceOrigin::ALL.len()],
}

impl AddressTraffic {
    pub fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.deferred += other.deferred;
        self.failed += other.failed;
        for (sum, count) in self.origins.iter_mut().zip(other.origins) {
            *sum += count;
        }
    }

    pub const fn attempts(&self) -> u64 {
        self.delivered + self.deferred + self.failed
    }

    /// Adds attempts whose address was chosen so.
    pub fn note_origin(&mut self, origin: SourceOrigin, attempts: u64) {
        let place = SourceOrigin::ALL.iter().position(|&of| of == origin);
        if let Some(count) = place.and_then(|place| self.origins.get_mut(place)) {
            *count += attempts;
        }
    }

    /// How many attempts had their address chosen how, as far as there are any.
    pub fn by_origin(&self) -> impl Iterator<Item = (SourceOrigin, u64)> {
        SourceOrigin::ALL.iter().copied().zip(self.origins).filter(|&(_, count)| count > 0)
    }
}

/// Upper bounds of the classes that latencies are counted in, in milliseconds. What took longer than the last is in one class more.
/// They stand in stores by their position: more may follow behind the last, none may change.
const BOUNDS_MS: [u64; 29] = [
    50,
    100,
    200,
    300,
    500,
    750,
    1_000,
    1_500,
    2_000,
    3_000,
    5_000,
    7_500,
    10_000,
    15_000,
    20_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    14_400_000,
    28_800_000,
    86_400_000,
    172_800_000,
    432_000_000,
];

const CLASSES: usize = BOUNDS_MS.len() + 1;

/// How many took how long: a histogram with fixed bounds. In JSON the counts of its classes, without zeros at the end.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Latencies([u64; CLASSES]);

impl Latencies {
    pub fn note(&mut self, latency: Duration) {
        let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        // A class holds its upper bound.
        let class = BOUNDS_MS.partition_point(|&bound| bound < latency_ms);
        if let Some(count) = self.0.get_mut(class) {
            *count += 1;
        }
    }

    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The counts of its classes, without zeros at the end.
    pub fn classes(&self) -> &[u64] {
        let end = self.0.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        self.0.get(..end).unwrap_or_default()
    }

    /// Of what [`Latencies::classes`] gave. Classes that a newer program may know count as the last.
    pub fn of_classes(classes: impl IntoIterator<Item = u64>) -> Self {
        let mut latencies = Self::default();
        for (class, count) in classes.into_iter().enumerate() {
            if let Some(sum) = latencies.0.get_mut(class.min(CLASSES - 1)) {
                *sum = sum.saturating_add(count);
            }
        }
        latencies
    }

    /// About the latency that so many percent do not exceed: evenly spread within its class, where nothing is known but how many
    /// there are. What is beyond the last bound counts as that. `None` where nothing was counted.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (percent.clamp(0.0, 100.0) / 100.0 * count as f64).max(1.0);
        let (mut below, mut lower_ms) = (0, 0);
        for (&in_class, &upper_ms) in self.0.iter().zip(&BOUNDS_MS) {
            if in_class > 0 && (below + in_class) as f64 >= rank {
                let part = ((rank - below as f64) / in_class as f64).clamp(0.0, 1.0);
                let millis = lower_ms as f64 + part * (upper_ms - lower_ms) as f64;
                return Some(Duration::from_millis(millis.round() as u64));
            }
            below += in_class;
            lower_ms = upper_ms;
        }
        Some(Duration::from_millis(lower_ms))
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Latencies").field(&self.classes()).finish()
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.classes())
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of_classes(Vec::<u64>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(millis: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        millis.into_iter().for_each(|millis| latencies.note(Duration::from_millis(millis)));
        latencies
    }

    fn percentile(latencies: &Latencies, percent: f64) -> Option<u64> {
        latencies.percentile(percent).map(|latency| latency.as_millis() as u64)
    }

    #[test]
    fn of_nothing_there_is_no_percentile() {
        assert_eq!(Latencies::default().percentile(50.0), None);
        assert!(Latencies::default().is_empty());
    }

    #[test]
    fn percentiles_are_near_what_was_seen() {
        let even = latencies((1..=1_000).map(|n| n * 10));
        for (percent, millis) in [(50.0, 5_000), (95.0, 9_500), (99.0, 9_900), (100.0, 10_000), (1.0, 100)] {
            assert_eq!(percentile(&even, percent), Some(millis), "{percent}");
        }
        let one = latencies([40]);
        for percent in [0.0, 50.0, 99.0] {
            assert_eq!(percentile(&one, percent), Some(50), "as much as is known: no more than the bound");
        }
        let mixed = latencies([10; 98].into_iter().chain([2_500, 4_000_000]));
        assert!(percentile(&mixed, 50.0).unwrap() <= 50);
        assert!((2_000..=3_000).contains(&percentile(&mixed, 99.0).unwrap()));
        assert!((3_600_000..=7_200_000).contains(&percentile(&mixed, 100.0).unwrap()));
    }

    #[test]
    fn what_no_bound_holds_counts_as_the_last() {
        let beyond = latencies([u64::MAX, 432_000_001]);
        assert_eq!(beyond.classes().len(), CLASSES);
        assert_eq!(percentile(&beyond, 50.0), Some(432_000_000));
        for percent in [f64::NAN, -1.0, 1e9] {
            assert!(percentile(&latencies([10, 20]), percent).is_some(), "{percent}");
        }
    }

    #[test]
    fn classes_hold_their_upper_bounds_and_grow() {
        assert!(BOUNDS_MS.is_sorted_by(|a, b| a < b));
        for (class, &bound) in BOUNDS_MS.iter().enumerate() {
            assert_eq!(latencies([bound]).classes().len(), class + 1);
            assert_eq!(latencies([bound + 1]).classes().len(), class + 2);
        }
        assert_eq!(latencies([0]).classes(), [1]);
    }

    #[test]
    fn sums_are_of_all_and_come_back() {
        let (mut sum, other) = (latencies([1, 70, 70]), latencies([70, 900_000]));
        sum.add(&other);
        assert_eq!(sum, latencies([1, 70, 70, 70, 900_000]));
        let json = serde_json::to_string(&sum).unwrap();
        assert_eq!(json, "[1,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1]");
        assert_eq!(serde_json::from_str::<Latencies>(&json).unwrap(), sum);
        let of_a_newer_program = Latencies::of_classes([0; CLASSES].into_iter().chain([7, 1]));
        assert_eq!((of_a_newer_program.count(), of_a_newer_program.classes().len()), (8, CLASSES));
    }

    #[test]
    fn spans_begin_at_multiples_of_their_length() {
        let at = |text| Timestamp::parse_rfc3339(text).unwrap();
        let moment = at("2026-11-22T13:39:59.999Z");
        assert_eq!(Step::Minute.start_of(moment), at("2026-11-22T13:39:00Z"));
        assert_eq!(Step::TenMinutes.start_of(moment), at("2026-11-22T13:30:00Z"));
        assert_eq!(Step::Hour.start_of(moment), at("2026-11-22T13:00:00Z"));
        assert_eq!(Step::Hour.start_of(at("1969-12-31T23:59:59Z")), at("1969-12-31T23:00:00Z"));
        for step in Step::ALL {
            assert_eq!(Step::try_from(step.seconds()), Ok(step));
            assert_eq!(step.start_of(step.start_of(moment)), step.start_of(moment));
        }
        assert_eq!(Step::try_from(61), Err(61));
    }
}
