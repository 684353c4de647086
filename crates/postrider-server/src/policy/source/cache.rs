//! What the service answered, for each pair of sender domain and recipient domain.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::{Domain, Timestamp};

use crate::generations::Generations;

/// Answers kept, at most.
const ANSWERS_MAX: usize = 200_000;

/// An answer that does not hold any more is of use for so long where the service gives no other.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// No sender domain: the null reverse-path.
pub(super) type Key = (Option<Domain>, Domain);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) ip: IpAddr,
    /// For EHLO; `None` for `MAIL_HOSTNAME`.
    pub(super) ehlo: Option<Arc<str>>,
    pub(super) holds_until: Timestamp,
    /// What was wrong with it beside the address.
    pub(super) flaw: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Cache(Generations<Key, Answer>);

impl Default for Cache {
    fn default() -> Self {
        Self(Generations::new(ANSWERS_MAX))
    }
}

impl Cache {
    /// An answer, whether it holds still or not.
    pub(super) fn get(&mut self, key: &Key, now: Timestamp) -> Option<&Answer> {
        self.0.get(key).filter(|answer| now < answer.holds_until + STALE)
    }

    pub(super) fn insert(&mut self, key: Key, answer: Answer) {
        self.0.insert(key, answer);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many there were.
    pub(super) fn clear(&mut self) -> usize {
        self.0.clear()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gets_too_old() {
        const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);
        let mut cache = Cache::default();
        let key = (None, Domain::parse("a.example").unwrap());
        let holds_until = NOW + Duration::from_secs(1);
        cache.insert(key.clone(), Answer { ip: [192, 0, 2, 1].into(), ehlo: None, holds_until, flaw: None });
        let end = holds_until + STALE;
        assert!(cache.get(&key, end - Duration::from_millis(1)).is_some());
        assert!(cache.get(&key, end).is_none());
    }
}
