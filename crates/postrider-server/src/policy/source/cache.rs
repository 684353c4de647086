//! What the service answered, for each pair of sender domain and recipient domain.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::{Domain, Timestamp};

/// Answers kept, at most. The ones that were used longest ago go.
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

/// Two generations: what is looked at moves to the younger one, and when that is full the older one goes.
#[derive(Debug, Default)]
pub(super) struct Cache {
    young: HashMap<Key, Answer>,
    old: HashMap<Key, Answer>,
}

impl Cache {
    /// An answer, whether it holds still or not.
    pub(super) fn get(&mut self, key: &Key, now: Timestamp) -> Option<&Answer> {
        if let Some((key, answer)) = self.old.remove_entry(key) {
            self.insert(key, answer);
        }
        self.young.get(key).filter(|answer| now < answer.holds_until + STALE)
    }

    pub(super) fn insert(&mut self, key: Key, answer: Answer) {
        if self.young.len() >= ANSWERS_MAX / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, answer);
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// How many there were.
    pub(super) fn clear(&mut self) -> usize {
        let count = self.len();
        *self = Self::default();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn key(number: usize) -> Key {
        (None, Domain::parse(&format!("d{number}.example")).unwrap())
    }

    fn answer(last: u8) -> Answer {
        let holds_until = NOW + Duration::from_secs(1);
        Answer { ip: [192, 0, 2, last].into(), ehlo: None, holds_until, flaw: None }
    }

    #[test]
    fn what_is_used_stays() {
        let mut cache = Cache::default();
        for number in 0..2 * ANSWERS_MAX {
            cache.insert(key(number), answer(1));
            assert!(cache.get(&key(0), NOW).is_some());
        }
        assert!(cache.len() <= ANSWERS_MAX);
        assert!(cache.get(&key(1), NOW).is_none());
        assert!(cache.clear() > 0);
        assert!(cache.get(&key(0), NOW).is_none());
    }

    #[test]
    fn an_answer_is_replaced_and_gets_too_old() {
        let mut cache = Cache::default();
        cache.insert(key(0), answer(1));
        cache.insert(key(0), answer(2));
        assert_eq!((cache.len(), cache.get(&key(0), NOW).cloned()), (1, Some(answer(2))));
        let end = NOW + Duration::from_secs(1) + STALE;
        assert!(cache.get(&key(0), end - Duration::from_millis(1)).is_some());
        assert!(cache.get(&key(0), end).is_none());
    }
}
