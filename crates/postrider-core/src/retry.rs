//! When a deferred delivery is tried again.

use std::time::Duration;

use crate::time::Timestamp;

/// Exponential back-off with jitter, and the age at which a delivery is given up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrySchedule {
    /// Wait after the first failed attempt.
    pub first: Duration,
    /// Each further wait is this many times the one before; at least 1.
    pub factor: f64,
    /// No wait is longer.
    pub max: Duration,
    /// A delivery whose next attempt would come later than this after acceptance has failed for good.
    pub expire: Duration,
}

impl RetrySchedule {
    /// The part of each wait that is random: a wait is between 1 - JITTER and 1 + JITTER times the computed one, so that
    /// what failed together does not come back together.
    pub const JITTER: f64 = 0.1;

    /// When a delivery is given up that is in the queue since `queued_at`; `wanted`: when its sender wants that at the latest.
    pub fn expires_at(&self, queued_at: Timestamp, wanted: Option<Timestamp>) -> Timestamp {
        let expires_at = queued_at + self.expire;
        wanted.map_or(expires_at, |wanted| wanted.min(expires_at))
    }

    /// When to try again after attempt number `attempts` (the first is 1) has failed at `now`; `None` when the delivery
    /// expires before that. `random` is in 0..1.
    pub fn next_attempt(&self, attempts: u32, expires_at: Timestamp, now: Timestamp, random: f64) -> Option<Timestamp> {
        if now >= expires_at {
            return None;
        }
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let wait = (self.first.as_secs_f64() * self.factor.max(1.0).powi(exponent)).min(self.max.as_secs_f64());
        let jittered = wait * (1.0 + Self::JITTER * (2.0 * random - 1.0));
        // The last attempt comes just before the end rather than not at all.
        Some((now + Duration::from_secs_f64(jittered)).min(expires_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: RetrySchedule = RetrySchedule {
        first: Duration::from_secs(60),
        factor: 2.0,
        max: Duration::from_secs(14_400),
        expire: Duration::from_secs(432_000),
    };

    #[test]
    fn doubles_up_to_the_maximum() {
        let start = Timestamp::from_millis(0);
        let end = SCHEDULE.expires_at(start, None);
        let waits: Vec<u64> =
            (1..12).map(|n| SCHEDULE.next_attempt(n, end, start, 0.5).unwrap().since(start).as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3840, 7680, 14_400, 14_400, 14_400]);
        assert!(SCHEDULE.next_attempt(u32::MAX, end, start, 0.0).is_some());
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let start = Timestamp::from_millis(0);
        let wait =
            |random| SCHEDULE.next_attempt(1, SCHEDULE.expires_at(start, None), start, random).unwrap().since(start);
        assert_eq!(wait(0.0), Duration::from_secs(54));
        assert_eq!(wait(1.0), Duration::from_secs(66));
    }

    #[test]
    fn the_last_attempt_is_at_expiry_and_none_comes_after() {
        let start = Timestamp::from_millis(0);
        let late = start + Duration::from_secs(431_990);
        let end = SCHEDULE.expires_at(start, None);
        assert_eq!(end, start + SCHEDULE.expire);
        assert_eq!(SCHEDULE.next_attempt(50, end, late, 0.5), Some(end));
        assert_eq!(SCHEDULE.next_attempt(51, end, end, 0.5), None);
        let wanted = start + Duration::from_secs(90);
        assert_eq!(SCHEDULE.expires_at(start, Some(wanted)), wanted);
        assert_eq!(SCHEDULE.expires_at(start, Some(end + Duration::from_secs(1))), end);
    }
}
