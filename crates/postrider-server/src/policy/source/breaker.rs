//! A circuit breaker: a service that fails again and again is left alone for a while, so that nobody waits for it.

use std::time::Duration;

use postrider_core::Timestamp;
use postrider_core::source::{BreakerState, BreakerStats};

/// So many failures in a row open it.
const FAILURES_MAX: u32 = 5;

/// For so long, and twice as long after each further failure.
const OPEN_FIRST: Duration = Duration::from_secs(5);
const OPEN_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Timestamp,
    duration: Duration,
    is_probed: bool,
}

/// Whether to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    Ask,
    /// Find out whether it answers again, without anybody waiting for it.
    Probe,
    No,
}

impl Breaker {
    pub(super) fn permit(&mut self, now: Timestamp) -> Permit {
        match &mut self.open {
            None => Permit::Ask,
            Some(open) if open.until <= now && !open.is_probed => {
                open.is_probed = true;
                Permit::Probe
            }
            Some(_) => Permit::No,
        }
    }

    /// The service answered, whatever it said.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Whether that opened it.
    pub(super) fn failed(&mut self, now: Timestamp) -> bool {
        self.failures = self.failures.saturating_add(1);
        match &mut self.open {
            Some(open) if open.is_probed => {
                let duration = (open.duration * 2).min(OPEN_MAX);
                *open = Open { until: now + duration, duration, is_probed: false };
                false
            }
            // Questions from before it opened.
            Some(_) => false,
            None if self.failures >= FAILURES_MAX => {
                self.open = Some(Open { until: now + OPEN_FIRST, duration: OPEN_FIRST, is_probed: false });
                true
            }
            None => false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn stats(&self, now: Timestamp) -> BreakerStats {
        BreakerStats {
            state: match &self.open {
                None => BreakerState::Closed,
                Some(open) if open.until <= now => BreakerState::HalfOpen,
                Some(_) => BreakerState::Open,
            },
            failures: self.failures,
            open_until: self.open.as_ref().map(|open| open.until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000) + Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_a_probe() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            assert!(!breaker.failed(at(0)));
        }
        breaker.succeeded();
        for _ in 1..FAILURES_MAX {
            assert!(!breaker.failed(at(0)));
        }
        assert_eq!(breaker.permit(at(0)), Permit::Ask);
        assert!(breaker.failed(at(0)));
        assert_eq!(breaker.permit(at(4)), Permit::No);
        assert_eq!(breaker.stats(at(4)).state, BreakerState::Open);
        assert_eq!((breaker.permit(at(5)), breaker.permit(at(5))), (Permit::Probe, Permit::No));
        assert_eq!(breaker.stats(at(5)).state, BreakerState::HalfOpen);
        breaker.succeeded();
        assert_eq!(breaker.permit(at(5)), Permit::Ask);
    }

    #[test]
    fn each_probe_that_fails_doubles_the_wait() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_MAX + 3 {
            breaker.failed(at(0));
        }
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..6 {
            let from = now;
            while breaker.permit(at(now)) != Permit::Probe {
                now += 1;
            }
            waits.push(now - from);
            assert!(!breaker.failed(at(now)));
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    }
}
