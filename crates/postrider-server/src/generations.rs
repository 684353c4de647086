//! A map that forgets what was used longest ago.

use std::collections::HashMap;
use std::hash::Hash;

/// Two generations: what is looked at moves to the younger one, and when that is full the older one goes.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    count_max: usize,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// Keeps `count_max` entries at most, and half as many at least.
    pub(crate) fn new(count_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), count_max }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get(key)
    }

    /// The value of a key, to be changed; where there is none, the one that `new` makes.
    pub(crate) fn get_or_insert_with(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let aged = self.old.remove(&key);
        self.make_room(&key);
        self.young.entry(key).or_insert_with(|| aged.unwrap_or_else(new))
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.make_room(&key);
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    fn make_room(&mut self, key: &K) {
        if self.young.len() >= self.count_max / 2 && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// How many there were.
    pub(crate) fn clear(&mut self) -> usize {
        let count = self.len();
        self.young.clear();
        self.old.clear();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays() {
        let mut map = Generations::new(100);
        for number in 0..1_000 {
            map.insert(number, number);
            assert!(map.get(&0).is_some());
            assert!(map.len() <= 100);
        }
        assert!(map.get(&1).is_none());
        assert!(map.clear() >= 50);
        assert_eq!(map.len(), 0);
    }

    #[test]
    fn a_value_is_changed_in_its_place() {
        let mut map = Generations::new(100);
        for number in 0..1_000 {
            *map.get_or_insert_with(number, || 0) += 1;
            *map.get_or_insert_with(-1, || 0) += 1;
            assert!(map.len() <= 100);
        }
        assert_eq!(map.get(&-1), Some(&1_000));
    }

    #[test]
    fn a_value_is_replaced() {
        let mut map = Generations::new(10);
        for number in 0..4 {
            map.insert(number, 1);
        }
        map.insert(0, 2);
        assert_eq!(map.get(&0), Some(&2));
        assert_eq!(map.len(), 4);
    }
}
