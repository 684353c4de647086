//! Sets of sequence numbers and UIDs (RFC 9051 section 9: `sequence-set`): as clients write them, and as plain numbers in
//! order. They are kept as ranges throughout: `1:*` costs as much as `1`.

use std::ops::RangeInclusive;

use bytes::BytesMut;

use super::response::text::number;

/// The messages that a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageSet {
    /// `$`: what the last SEARCH with SAVE found (RFC 5182).
    Saved,
    Set(SequenceSet),
}

/// A number, or `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceNumber {
    /// At least 1.
    Number(u32),
    /// The largest in use.
    Largest,
}

impl SequenceNumber {
    /// `None`: `*` in an empty mailbox.
    pub fn resolve(self, largest: u32) -> Option<u32> {
        match self {
            Self::Number(number) => Some(number),
            Self::Largest => (largest > 0).then_some(largest),
        }
    }
}

/// Ranges as the client wrote them, in its order. At least one; their number has a limit
/// ([`Limits::sequence_ranges_max`](super::server::Limits::sequence_ranges_max)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet(Vec<(SequenceNumber, SequenceNumber)>);

impl SequenceSet {
    /// `None` without any range, or with the number 0.
    pub fn new(ranges: Vec<(SequenceNumber, SequenceNumber)>) -> Option<Self> {
        let is_zero = |number: SequenceNumber| number == SequenceNumber::Number(0);
        (!ranges.is_empty() && !ranges.iter().any(|&(one, other)| is_zero(one) || is_zero(other)))
            .then_some(Self(ranges))
    }

    /// In the client's order; the ends of a range in any.
    pub fn ranges(&self) -> &[(SequenceNumber, SequenceNumber)] {
        &self.0
    }

    /// Whether `*` stands in it.
    pub fn has_largest(&self) -> bool {
        self.0.iter().any(|&(one, other)| one == SequenceNumber::Largest || other == SequenceNumber::Largest)
    }

    /// The largest number that is written out; `None` where only `*` is.
    pub fn largest_number(&self) -> Option<u32> {
        let numbers = self.0.iter().flat_map(|&(one, other)| [one, other]);
        numbers.filter_map(|number| number.resolve(0)).max()
    }

    /// The numbers, with `largest` for `*` (section 9, `seq-range`: `5:*` holds the largest also where that is below 5).
    /// `largest` 0: the mailbox is empty, and ranges with `*` hold nothing. Numbers above `largest` stay in.
    pub fn resolve(&self, largest: u32) -> NumberSet {
        let ranges = self.0.iter().filter_map(|&(one, other)| Some((one.resolve(largest)?, other.resolve(largest)?)));
        NumberSet::from_ranges(ranges.map(|(one, other)| one.min(other)..=one.max(other)).collect())
    }
}

/// Numbers in ascending order, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberSet {
    /// Sorted; between two of them at least one number is missing; none is empty.
    ranges: Vec<RangeInclusive<u32>>,
}

impl NumberSet {
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Of ranges in any order that may overlap; empty ones count for nothing.
    pub fn from_ranges(mut ranges: Vec<RangeInclusive<u32>>) -> Self {
        ranges.retain(|range| !range.is_empty());
        if !ranges.is_sorted_by_key(|range| *range.start()) {
            ranges.sort_unstable_by_key(|range| *range.start());
        }
        ranges.dedup_by(|next, last| {
            let joins = *next.start() <= last.end().saturating_add(1);
            if joins && next.end() > last.end() {
                *last = *last.start()..=*next.end();
            }
            joins
        });
        Self { ranges }
    }

    /// Adds a number. In ascending order this costs nothing; in any other, as much as what is in it already.
    pub fn push(&mut self, number: u32) {
        match self.ranges.last_mut() {
            Some(last) if number.checked_sub(1) == Some(*last.end()) => *last = *last.start()..=number,
            Some(last) if number <= *last.end() => {
                if !self.contains(number) {
                    let mut ranges = std::mem::take(&mut self.ranges);
                    ranges.push(number..=number);
                    *self = Self::from_ranges(ranges);
                }
            }
            _ => self.ranges.push(number..=number),
        }
    }

    /// Sorted, apart from each other.
    pub fn ranges(&self) -> &[RangeInclusive<u32>] {
        &self.ranges
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many numbers.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.end() - range.start()) + 1).sum()
    }

    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|range| *range.start())
    }

    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|range| *range.end())
    }

    pub fn contains(&self, number: u32) -> bool {
        let index = self.ranges.partition_point(|range| *range.end() < number);
        self.ranges.get(index).is_some_and(|range| range.contains(&number))
    }

    /// One by one, ascending. Of a client's set this may be four thousand million: cut it by [`NumberSet::intersection`]
    /// with what there is first.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.ranges.iter().cloned().flatten()
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut ranges, mut left, mut right) =
            (Vec::new(), self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(one), Some(two)) = (left.peek(), right.peek()) {
            let common = *one.start().max(two.start())..=*one.end().min(two.end());
            if !common.is_empty() {
                ranges.push(common);
            }
            if one.end() < two.end() {
                left.next()
            } else {
                right.next()
            };
        }
        Self { ranges }
    }

    /// Appends it as the wire has it: `1:3,5`. Of an empty set there is no form; nothing is written.
    pub fn write(&self, out: &mut BytesMut) {
        for (index, range) in self.ranges.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            number(out, u64::from(*range.start()));
            if range.start() != range.end() {
                out.extend_from_slice(b":");
                number(out, u64::from(*range.end()));
            }
        }
    }
}

impl FromIterator<u32> for NumberSet {
    fn from_iter<T: IntoIterator<Item = u32>>(numbers: T) -> Self {
        let (mut ranges, mut is_sorted) = (Vec::<RangeInclusive<u32>>::new(), true);
        for number in numbers {
            match ranges.last_mut() {
                Some(last) if number.checked_sub(1) == Some(*last.end()) => *last = *last.start()..=number,
                last => {
                    is_sorted &= last.is_none_or(|last| *last.end() < number);
                    ranges.push(number..=number);
                }
            }
        }
        if is_sorted { Self { ranges } } else { Self::from_ranges(ranges) }
    }
}
