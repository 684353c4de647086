//! The pace of one destination: slower at once where it says that we are too fast, slowly faster while it takes our mail.

use std::time::Duration;

use postrider_core::Timestamp;

use super::{Profile, Verdict};

/// Nothing is sent for so long after the destination said that we are too fast, and twice as long each time it says so again.
const PAUSE_FIRST: Duration = Duration::from_secs(15);
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// Between two messages, once there is no connection left to do without; twice as long each time.
const GAP_FIRST: Duration = Duration::from_secs(1);
const GAP_MAX: Duration = Duration::from_secs(60);
/// Less than this is no gap.
const GAP_MIN: Duration = Duration::from_millis(100);

/// A gap shrinks by this with each message that is taken.
const GAP_SHRINK: f64 = 0.95;

/// What may be sent at once of a number per minute, after a time without mail, as a part of it.
const BURST_PART: u32 = 6;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pace {
    /// Connections at once that the destination seems to take, at least 1; `None`: nothing is known against any number.
    connections: Option<f64>,
    gap: Duration,
    /// How long the next pause is.
    pause: Duration,
    paused_until: Timestamp,
    /// When a message may leave, by gap and by number per minute: as many ahead of now as a burst allows.
    next_at: Timestamp,
}

impl Default for Pace {
    fn default() -> Self {
        let long_ago = Timestamp::from_millis(0);
        Self { connections: None, gap: Duration::ZERO, pause: PAUSE_FIRST, paused_until: long_ago, next_at: long_ago }
    }
}

impl Pace {
    /// Connections at once, of `limit`.
    pub(crate) fn connections(&self, limit: usize) -> usize {
        self.connections.map_or(limit, |connections| limit.min(connections as usize)).max(1)
    }

    /// Takes leave for one message; else says for how long to wait. `part`: of what the profile allows, this node's.
    pub(crate) fn take(&mut self, profile: &Profile, part: f64, now: Timestamp) -> Result<(), Duration> {
        if now < self.paused_until {
            return Err(self.paused_until.since(now));
        }
        let (interval, burst) = self.spacing(profile, part);
        if interval.is_zero() {
            return Ok(());
        }
        if now + burst < self.next_at {
            return Err(self.next_at.since(now + burst));
        }
        self.next_at = self.next_at.max(now) + interval;
        Ok(())
    }

    /// The time between two messages, and how much of it may be saved up.
    fn spacing(&self, profile: &Profile, part: f64) -> (Duration, Duration) {
        let (interval, burst) = match profile.messages_per_minute {
            Some(per_minute) => {
                let interval = Duration::from_secs_f64(60.0 / (f64::from(per_minute) * part.max(0.001)));
                (interval, interval * (per_minute / BURST_PART).saturating_sub(1))
            }
            None => (Duration::ZERO, Duration::ZERO),
        };
        if self.gap > interval { (self.gap, Duration::ZERO) } else { (interval, burst) }
    }

    /// Until when nothing is sent because the destination said that it is too much.
    pub(crate) fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        (now < self.paused_until).then_some(self.paused_until)
    }

    /// What the destination asked for between two messages by its replies.
    pub(crate) fn gap(&self) -> Option<Duration> {
        (!self.gap.is_zero()).then_some(self.gap)
    }

    /// When a message leaves at the earliest that has so many before it; `None` where nothing keeps it.
    pub(crate) fn leaves_at(&self, profile: &Profile, part: f64, ahead: usize, now: Timestamp) -> Option<Timestamp> {
        let (interval, burst) = self.spacing(profile, part);
        let begins = now.max(self.paused_until);
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let leaves = (self.next_at.max(begins) + interval.saturating_mul(ahead)) - burst;
        Some(leaves.max(begins)).filter(|&leaves| leaves > now)
    }

    /// Takes note of what the destination said, while so many connections to it were in use.
    pub(crate) fn note(&mut self, verdict: Verdict, in_use: usize, limit: usize, now: Timestamp) {
        match verdict {
            Verdict::Goes => self.faster(limit),
            // What was under way before the pause says nothing new.
            Verdict::TooFast if now < self.paused_until => {}
            Verdict::TooFast => self.slower(in_use, limit, now),
        }
    }

    fn slower(&mut self, in_use: usize, limit: usize, now: Timestamp) {
        let connections = self.connections(limit).min(in_use.max(1));
        if connections == 1 {
            self.gap = (self.gap * 2).clamp(GAP_FIRST, GAP_MAX);
        }
        self.connections = Some((connections as f64 / 2.0).max(1.0));
        self.paused_until = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    fn faster(&mut self, limit: usize) {
        self.pause = self.pause.mul_f64(GAP_SHRINK).max(PAUSE_FIRST);
        self.gap = self.gap.mul_f64(GAP_SHRINK);
        if self.gap < GAP_MIN {
            self.gap = Duration::ZERO;
        }
        // One more when each of them has taken some ten messages.
        if let Some(connections) = &mut self.connections
            && self.gap.is_zero()
        {
            *connections += 0.1 / *connections;
            if *connections >= limit as f64 {
                self.connections = None;
            }
        }
    }

    /// Whether what was sent a moment ago still counts.
    pub(crate) fn is_ahead(&self, now: Timestamp) -> bool {
        now < self.next_at
    }

    /// Whether it is worth remembering.
    pub(crate) fn is_learnt(&self) -> bool {
        let Self { connections, gap, pause, .. } = self;
        connections.is_some() || !gap.is_zero() || *pause > PAUSE_FIRST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_PROFILE: Profile = Profile { connections: None, messages_per_connection: None, messages_per_minute: None };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000) + Duration::from_millis(millis)
    }

    #[test]
    fn slower_at_once_and_slowly_faster() {
        let mut pace = Pace::default();
        assert_eq!((pace.connections(20), pace.take(&NO_PROFILE, 1.0, at(0))), (20, Ok(())));
        pace.note(Verdict::TooFast, 16, 20, at(0));
        assert_eq!(pace.connections(20), 8);
        assert_eq!(pace.take(&NO_PROFILE, 1.0, at(0)), Err(PAUSE_FIRST));
        // The other connections say the same, of the same time.
        pace.note(Verdict::TooFast, 16, 20, at(10_000));
        assert_eq!((pace.connections(20), pace.take(&NO_PROFILE, 1.0, at(15_000))), (8, Ok(())));
        pace.note(Verdict::TooFast, 8, 20, at(15_000));
        assert_eq!((pace.connections(20), pace.take(&NO_PROFILE, 1.0, at(15_000))), (4, Err(PAUSE_FIRST * 2)));
        let mut taken = 0;
        while pace.connections(20) < 20 {
            pace.note(Verdict::Goes, 4, 20, at(50_000));
            taken += 1;
        }
        assert!((1_000..3_000).contains(&taken), "{taken}");
        assert!(!pace.is_learnt(), "{pace:?}");
    }

    #[test]
    fn with_one_connection_left_messages_keep_their_distance() {
        let mut pace = Pace::default();
        let mut now = 0;
        for gap in [1, 2, 4] {
            pace.note(Verdict::TooFast, 1, 20, at(now));
            now += pace.take(&NO_PROFILE, 1.0, at(now)).unwrap_err().as_millis() as u64;
            assert_eq!(pace.take(&NO_PROFILE, 1.0, at(now)), Ok(()));
            assert_eq!(pace.take(&NO_PROFILE, 1.0, at(now)), Err(Duration::from_secs(gap)));
        }
        let mut taken = 0;
        while pace.is_learnt() {
            pace.note(Verdict::Goes, 1, 20, at(now));
            taken += 1;
        }
        assert!(taken > 70, "{taken}");
    }

    #[test]
    fn it_is_foretold_when_a_message_leaves() {
        let profile = Profile { messages_per_minute: Some(12), ..NO_PROFILE };
        let mut pace = Pace::default();
        assert_eq!(pace.leaves_at(&profile, 1.0, 1, at(0)), None, "two at once, after a time without mail");
        for (ahead, millis) in [0, 0, 5_000, 10_000].into_iter().enumerate() {
            let foretold = pace.leaves_at(&profile, 1.0, ahead, at(0)).unwrap_or(at(0));
            assert_eq!(foretold, at(millis), "{ahead}");
        }
        for millis in [0, 0, 5_000] {
            assert_eq!(pace.take(&profile, 1.0, at(millis)), Ok(()));
        }
        assert_eq!(pace.leaves_at(&profile, 1.0, 0, at(5_000)), Some(at(10_000)));
        assert_eq!(pace.take(&profile, 1.0, at(9_999)), Err(Duration::from_millis(1)));
        pace.note(Verdict::TooFast, 4, 20, at(10_000));
        assert_eq!(pace.paused_until(at(10_000)), Some(at(25_000)));
        assert_eq!(pace.leaves_at(&NO_PROFILE, 1.0, 7, at(10_000)), Some(at(25_000)));
    }

    #[test]
    fn a_number_per_minute_is_kept_to() {
        let profile = Profile { messages_per_minute: Some(60), ..NO_PROFILE };
        for (part, expected) in [(1.0, 69), (0.5, 34)] {
            let mut pace = Pace::default();
            let mut sent = 0;
            for millis in (0..60_000).step_by(10) {
                sent += usize::from(pace.take(&profile, part, at(millis)).is_ok());
            }
            // A burst of ten at first.
            assert!((expected..=expected + 5).contains(&sent), "{sent}");
        }
        let mut pace = Pace::default();
        assert_eq!(pace.take(&Profile { messages_per_minute: Some(1), ..NO_PROFILE }, 1.0, at(0)), Ok(()));
        let wait = pace.take(&Profile { messages_per_minute: Some(1), ..NO_PROFILE }, 1.0, at(1_000));
        assert_eq!(wait, Err(Duration::from_secs(59)));
    }
}
