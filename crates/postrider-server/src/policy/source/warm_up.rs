//! How many messages may leave from an address that is new to the world: few on its first day, and more each day.
//!
//! What has left is counted in the store, for all nodes and over restarts. A part of a day's number is taken from there at a
//! time, and used from memory; what a process that ends had taken and not used is lost for the day.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider_config::WarmUp;
use postrider_core::Timestamp;
use postrider_core::source::WarmUpStats;
use postrider_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

const DAY_MILLIS: i64 = 24 * 3600 * 1000;

/// A day's number is taken in so many parts or more.
const PARTS_MIN: u64 = 20;
const PART_MAX: u64 = 100;

/// How often a part is asked for while others change the same count.
const TRIES_MAX: usize = 100;

#[derive(Debug)]
pub(super) struct Allowance {
    options: WarmUp,
    store: Arc<dyn Store>,
    held: Mutex<Held>,
    /// One asks the store at a time.
    asking: tokio::sync::Mutex<()>,
}

/// What this process knows of a day.
#[derive(Debug, Default)]
struct Held {
    /// Days are counted from 1970-01-01 (UTC).
    day: i64,
    /// Messages that may leave without asking.
    left: u64,
    /// No more may leave on that day.
    is_spent: bool,
    stats: Option<WarmUpStats>,
}

/// What the store keeps of an address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    started_on: i64,
    day: i64,
    used: u64,
}

/// Whether a message may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Granted,
    /// Not today.
    Spent,
    /// The store is to be asked.
    Unknown,
}

impl Allowance {
    pub(super) fn new(options: WarmUp, store: Arc<dyn Store>) -> Self {
        Self { options, store, held: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// Takes leave for one message from what is in memory.
    pub(super) fn take_held(&self, now: Timestamp) -> Leave {
        let mut held = self.held();
        if held.day != day_of(now) {
            return Leave::Unknown;
        }
        match held.left {
            0 if held.is_spent => Leave::Spent,
            0 => Leave::Unknown,
            _ => {
                held.left -= 1;
                Leave::Granted
            }
        }
    }

    /// Gives leave back for a message that did not leave.
    pub(super) fn give_back(&self, now: Timestamp) {
        let mut held = self.held();
        if held.day == day_of(now) {
            held.left += 1;
            held.is_spent = false;
        }
    }

    /// Takes leave for one message, from the store if need be.
    pub(super) async fn take(&self, now: Timestamp) -> Result<Leave, StoreError> {
        let _asking = self.asking.lock().await;
        loop {
            match self.take_held(now) {
                Leave::Unknown => {}
                leave => return Ok(leave),
            }
            let (granted, stats) = self.reserve(day_of(now)).await?;
            let mut held = self.held();
            *held = Held { day: day_of(now), left: granted, is_spent: granted == 0, stats: Some(stats) };
        }
    }

    /// Takes a part of a day's number. How many messages that is, 0 when nothing is left.
    async fn reserve(&self, day: i64) -> Result<(u64, WarmUpStats), StoreError> {
        let key = format!("source-ip/{}", self.options.ip);
        for _ in 0..TRIES_MAX {
            let note = self.store.note(&key).await?;
            let version = note.as_ref().map_or(0, |note| note.version);
            let mut record = match note {
                Some(note) => serde_json::from_str(&note.value)
                    .map_err(|error| StoreError::Corrupt(format!("note {key}: {error}")))?,
                None => Record { started_on: day, ..Record::default() },
            };
            if record.day != day {
                record = Record { day, used: 0, ..record };
            }
            let limit = self.limit(day - record.started_on);
            let granted = (limit / PARTS_MIN).clamp(1, PART_MAX).min(limit.saturating_sub(record.used));
            record.used += granted;
            let stats = WarmUpStats { ip: self.options.ip, day: day - record.started_on + 1, limit, used: record.used };
            if granted == 0 {
                return Ok((0, stats));
            }
            let value = serde_json::to_string(&record).unwrap_or_default();
            if self.store.put_note(&key, value, version).await? {
                return Ok((granted, stats));
            }
        }
        Err(StoreError::Overloaded)
    }

    /// What may leave on a day, counted from 0. A clock that goes back begins anew.
    fn limit(&self, day: i64) -> u64 {
        let days = i32::try_from(day.max(0)).unwrap_or(i32::MAX);
        // What is too much for the number is the most it can say.
        (self.options.messages as f64 * self.options.growth.powi(days)) as u64
    }

    /// As it was known last, without what is left in memory.
    pub(super) fn stats(&self) -> Option<WarmUpStats> {
        let held = self.held();
        let stats = held.stats.clone()?;
        Some(WarmUpStats { used: stats.used - held.left, ..stats })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn day_of(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(DAY_MILLIS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postrider_store::{SqliteOptions, SqliteStore};

    use super::*;

    fn at(day: u64, hour: u64) -> Timestamp {
        Timestamp::from_millis(20_000 * DAY_MILLIS) + Duration::from_secs(3600 * (24 * day + hour))
    }

    async fn taken(allowance: &Allowance, now: Timestamp) -> u64 {
        let mut count = 0;
        while allowance.take(now).await.unwrap() == Leave::Granted {
            count += 1;
        }
        count
    }

    #[tokio::test]
    async fn each_day_allows_more_than_the_one_before_and_restarts_allow_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
        let options = WarmUp { ip: [192, 0, 2, 1].into(), messages: 50, growth: 1.5 };
        let allowance = Allowance::new(options.clone(), store.clone());
        assert_eq!(allowance.take_held(at(0, 10)), Leave::Unknown);
        assert_eq!(taken(&allowance, at(0, 10)).await, 50);
        assert_eq!(allowance.take_held(at(0, 23)), Leave::Spent);
        allowance.give_back(at(0, 23));
        assert_eq!((allowance.take_held(at(0, 23)), allowance.take_held(at(0, 23))), (Leave::Granted, Leave::Unknown));
        assert_eq!(taken(&allowance, at(0, 23)).await, 0);
        let expected = WarmUpStats { ip: options.ip, day: 1, limit: 50, used: 50 };
        assert_eq!(allowance.stats(), Some(expected));
        // Another process finds nothing left; on the next day two share what there is.
        let other = Allowance::new(options.clone(), store.clone());
        assert_eq!(taken(&other, at(0, 20)).await, 0);
        let half = async |allowance: &Allowance| {
            for _ in 0..30 {
                assert_eq!(allowance.take(at(1, 0)).await, Ok(Leave::Granted));
            }
        };
        tokio::join!(half(&allowance), half(&other));
        assert_eq!(taken(&allowance, at(1, 1)).await + taken(&other, at(1, 1)).await, 15);
        // What a process had taken and not used is lost: a part of the day's number, no more.
        let third = Allowance::new(options.clone(), store.clone());
        assert_eq!(third.take(at(2, 0)).await, Ok(Leave::Granted));
        drop(third);
        let rest = taken(&allowance, at(2, 1)).await;
        assert!((112 - 112 / PARTS_MIN..112).contains(&rest), "{rest}");
        // A day on which nothing left counts too.
        assert_eq!(taken(&allowance, at(4, 1)).await, 253);
    }

    #[tokio::test]
    async fn growth_has_no_end_and_does_not_overflow() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
        let options = WarmUp { ip: [192, 0, 2, 1].into(), messages: 1, growth: 10.0 };
        let allowance = Allowance::new(options, store);
        assert_eq!(allowance.take(at(0, 0)).await, Ok(Leave::Granted));
        for day in [400, 4_000_000] {
            assert_eq!(allowance.take(at(day, 0)).await, Ok(Leave::Granted));
            assert_eq!(allowance.stats().unwrap().limit, u64::MAX);
        }
    }
}
