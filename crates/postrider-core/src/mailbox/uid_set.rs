//! Sets of UIDs.

use std::fmt;

/// A set of UIDs, kept as ranges: small, however many are in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct UidSet {
    /// First and last of each, upwards, with a gap between any two.
    ranges: Vec<(u32, u32)>,
}

impl UidSet {
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// All from `first` to `last`; none if `first` is greater.
    pub fn range(first: u32, last: u32) -> Self {
        Self { ranges: if first <= last { vec![(first, last)] } else { Vec::new() } }
    }

    /// Of ranges in any order, which may overlap.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut sorted: Vec<(u32, u32)> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut set = Self::new();
        for (first, last) in sorted {
            set.push_range(first, last);
        }
        set
    }

    /// Adds one that is not less than the greatest.
    pub fn push(&mut self, uid: u32) {
        self.push_range(uid, uid);
    }

    /// Adds a range that does not begin before the last one does.
    fn push_range(&mut self, first: u32, last: u32) {
        match self.ranges.last_mut() {
            Some((begin, end)) if *begin <= first && first <= end.saturating_add(1) => *end = last.max(*end),
            Some((begin, _)) if first < *begin => {
                let ranges = std::mem::take(&mut self.ranges);
                *self = Self::from_ranges(ranges.into_iter().chain([(first, last)]));
            }
            _ => self.ranges.push((first, last)),
        }
    }

    /// First and last of each range, upwards.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many UIDs are in it.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    pub fn contains(&self, uid: u32) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= uid);
        after > 0 && self.ranges[after - 1].1 >= uid
    }

    /// Whether any from `first` to `last` is in it.
    pub fn intersects(&self, first: u32, last: u32) -> bool {
        let from = self.ranges.partition_point(|(_, end)| *end < first);
        self.ranges.get(from).is_some_and(|(begin, _)| *begin <= last)
    }

    /// All of them, upwards: up to four thousand million where the ranges are large.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|&(first, last)| first..=last)
    }

    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|(first, _)| *first)
    }

    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|(_, last)| *last)
    }

    pub fn union(&self, other: &Self) -> Self {
        Self::from_ranges(self.ranges.iter().chain(&other.ranges).copied())
    }
}

impl FromIterator<u32> for UidSet {
    /// Of UIDs in any order; quickest upwards.
    fn from_iter<I: IntoIterator<Item = u32>>(uids: I) -> Self {
        let mut uids: Vec<u32> = uids.into_iter().collect();
        if !uids.is_sorted() {
            uids.sort_unstable();
        }
        let mut set = Self::new();
        uids.into_iter().for_each(|uid| set.push(uid));
        set
    }
}

impl fmt::Display for UidSet {
    /// As IMAP writes it: `1:3,5`. Nothing for the empty set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}:{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_joined_and_shown() {
        let set: UidSet = [5, 1, 2, 3, 9, 10, 3].into_iter().collect();
        assert_eq!(set.to_string(), "1:3,5,9:10");
        assert_eq!((set.len(), set.first(), set.last()), (6, Some(1), Some(10)));
        assert_eq!(UidSet::range(1, u32::MAX).len(), u64::from(u32::MAX));
        assert_eq!(UidSet::from_ranges([(1, u32::MAX), (u32::MAX, u32::MAX), (7, 3)]), UidSet::range(1, u32::MAX));
        assert_eq!(UidSet::new().to_string(), "");
    }

    proptest! {
        #[test]
        fn a_set_has_what_was_put_into_it(ranges in proptest::collection::vec((0u32..60, 0u32..60), 0..12), one in 0u32..70) {
            let set = UidSet::from_ranges(ranges.iter().copied());
            let expected: BTreeSet<u32> = ranges.iter().flat_map(|&(first, last)| first..=last).collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), expected.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.contains(one), expected.contains(&one));
            prop_assert_eq!(set.intersects(one, one + 5), expected.range(one..=one + 5).next().is_some());
            prop_assert_eq!(set.len(), expected.len() as u64);
            prop_assert!(set.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            prop_assert_eq!(expected.iter().rev().copied().collect::<UidSet>(), set.clone());
            let mut pushed = set.clone();
            pushed.push(one);
            let mut expected = expected;
            expected.insert(one);
            prop_assert_eq!(pushed, expected.into_iter().collect::<UidSet>());
        }
    }
}
