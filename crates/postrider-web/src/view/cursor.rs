//! Cursors: where in a list a page begins, as text that clients hand back and need not understand.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postrider_store::{EmailPage, ListOrder, ListPlace, ListStart};
use ring::digest::{Context, SHA256};

/// Version, bits, filter, page, total, place.
const CURSOR_BYTES: usize = 1 + 1 + 4 + 4 + 8 + 12;

const VERSION: u8 = 2;
const BIT_BACKWARDS: u8 = 1;
const BIT_OLDEST: u8 = 2;
const BIT_AT_LEAST: u8 = 4;

/// Tells lists of one filter from those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilterMark([u8; 4]);

impl FilterMark {
    /// Of a filter as it was asked for: names and values.
    pub(crate) fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_unstable();
        let mut context = Context::new(&SHA256);
        for text in pairs.into_iter().flat_map(|(name, value)| [name, value]) {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        let digest = context.finish();
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// Where a page begins, and what was found out about the whole list when its first page was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Of the list that it is a place in.
    pub filter: FilterMark,
    pub order: ListOrder,
    /// The page ends before the place instead of beginning behind it.
    pub is_backwards: bool,
    pub place: ListPlace,
    /// Which page it is, as far as that was known when the cursor was given.
    pub page: u32,
    pub total: u64,
    pub total_is_at_least: bool,
}

impl Cursor {
    pub fn start(&self) -> ListStart {
        if self.is_backwards { ListStart::Before(self.place) } else { ListStart::After(self.place) }
    }

    /// A page that was read from here, with the total of the whole list where it was not counted anew.
    pub fn counted(&self, found: EmailPage) -> EmailPage {
        // Where counters tell the total it is that of now.
        if !found.total_is_at_least {
            return found;
        }
        EmailPage { total: self.total, total_is_at_least: self.total_is_at_least, ..found }
    }

    /// The cursors of the next page and of the one before, as `found` was answered for page `page`. A page that was read from
    /// `self` on was not counted anew.
    pub fn around(
        found: &EmailPage,
        (filter, order): (FilterMark, ListOrder),
        page: u64,
    ) -> (Option<Self>, Option<Self>) {
        let cursor = |place, is_backwards, page: u64| Self {
            filter,
            order,
            is_backwards,
            place,
            page: u32::try_from(page).unwrap_or(u32::MAX),
            total: found.total,
            total_is_at_least: found.total_is_at_least,
        };
        let next = found.next.map(|place| cursor(place, false, page.saturating_add(1)));
        let previous = found.previous.map(|place| cursor(place, true, page.saturating_sub(1).max(1)));
        (next, previous)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let bits = bit(self.is_backwards, BIT_BACKWARDS)
            | bit(self.order == ListOrder::Oldest, BIT_OLDEST)
            | bit(self.total_is_at_least, BIT_AT_LEAST);
        let mut bytes = Vec::with_capacity(CURSOR_BYTES);
        bytes.extend([VERSION, bits]);
        bytes.extend(self.filter.0);
        bytes.extend(self.page.to_be_bytes());
        bytes.extend(self.total.to_be_bytes());
        bytes.extend(self.place.0);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "it is none that was given here; begin anew without one";
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| WRONG)?;
        let [VERSION, bits, f0, f1, f2, f3, p0, p1, p2, p3, rest @ ..] = bytes.as_slice() else { return Err(WRONG) };
        let (total, place) = rest.split_first_chunk::<8>().ok_or(WRONG)?;
        let place = <[u8; 12]>::try_from(place).map_err(|_| WRONG)?;
        let is_set = |bit| bits & bit != 0;
        Ok(Self {
            filter: FilterMark([*f0, *f1, *f2, *f3]),
            order: if is_set(BIT_OLDEST) { ListOrder::Oldest } else { ListOrder::Newest },
            is_backwards: is_set(BIT_BACKWARDS),
            place: ListPlace(place),
            page: u32::from_be_bytes([*p0, *p1, *p2, *p3]).max(1),
            total: u64::from_be_bytes(*total),
            total_is_at_least: is_set(BIT_AT_LEAST),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_they_were_written() {
        for (order, is_backwards, total_is_at_least) in
            [(ListOrder::Newest, false, true), (ListOrder::Oldest, true, false)]
        {
            let place = ListPlace([7; 12]);
            let filter = FilterMark::of([("q", "a"), ("tag", "b")]);
            assert_eq!(filter, FilterMark::of([("tag", "b"), ("q", "a")]));
            let cursor = Cursor { filter, order, is_backwards, place, page: 3, total: 10_000, total_is_at_least };
            let text = cursor.to_string();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
            assert_eq!(text.parse(), Ok(cursor));
            assert!(text[1..].parse::<Cursor>().is_err());
        }
        let marks = [&[][..], &[("q", "a")], &[("q", "b")], &[("qa", "")], &[("tag", "a")]]
            .map(|pairs| FilterMark::of(pairs.to_vec()));
        assert!((1..marks.len()).all(|n| !marks[..n].contains(&marks[n])), "{marks:?}");
        for text in ["", "x", "AAAA", &"A".repeat(35), "é"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
