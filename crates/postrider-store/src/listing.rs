//! What engines share of lists: a pass over e-mails in the order of a list, which ends as soon as the page is full and the rest
//! is counted, or when too much was looked at.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::records::{EmailPage, EmailRecord, ListOrder, ListPlace, ListRequest, ListStart};

/// E-mails that are looked at behind the page, to count what matches.
const COUNT_EXAMINED_MAX: u64 = 20_000;

/// A list takes no longer than this, on however slow a disk; and after so many e-mails it looks how late it is.
const TIME_MAX: Duration = Duration::from_secs(1);
const TIME_EMAILS: u64 = 1_024;

/// A pass over e-mails, by whatever the engine knows them by.
#[derive(Debug)]
pub struct Scan<K> {
    start: ListStart,
    /// Of those that match, which are on the page.
    window: Range<u64>,
    /// The page, in the order of the pass.
    keys: Vec<K>,
    matched: u64,
    examined: u64,
    examined_max: u64,
    /// Those that are looked at when the page is full are counted apart.
    counted_from: Option<u64>,
    known_total: Option<u64>,
    /// There are so many at least, and no count is asked for.
    known_least: Option<u64>,
    started: Instant,
    /// The last of the page, or the last that was looked at.
    last: Option<K>,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There is no more.
    Through,
    /// The page is full, and all is known that was asked.
    Full,
    /// It was too much.
    Exhausted,
}

impl ListRequest {
    /// Whether the e-mails are gone through from the oldest on: a page that ends before a place is read from there backwards.
    pub fn reads_oldest_first(&self) -> bool {
        (self.order == ListOrder::Oldest) != matches!(self.start, ListStart::Before(_))
    }

    /// The place that the pass begins behind.
    pub fn place(&self) -> Option<ListPlace> {
        match self.start {
            ListStart::Page(_) => None,
            ListStart::After(place) | ListStart::Before(place) => Some(place),
        }
    }
}

impl<K: Copy> Scan<K> {
    /// `known_total`: how many match, where that is known beforehand.
    pub fn new(request: &ListRequest, known_total: Option<u64>) -> Self {
        let from = match request.start {
            ListStart::Page(page) => page.saturating_sub(1).saturating_mul(request.limit),
            _ => 0,
        };
        Self {
            start: request.start,
            window: from..from.saturating_add(request.limit),
            keys: Vec::new(),
            matched: 0,
            examined: 0,
            // Where it is known how many there are, what is looked at is mostly what is looked for.
            examined_max: if known_total.is_some() { u64::MAX } else { request.examined_max },
            counted_from: None,
            known_total,
            known_least: None,
            started: Instant::now(),
            last: None,
            end: End::Through,
        }
    }

    /// It is known beforehand that there are so many at least: none are counted.
    pub fn has_at_least(&mut self, count: u64) {
        self.known_least = Some(count);
    }

    /// Whether there is nothing to look for: the page is behind all that matches.
    pub fn is_past_the_end(&self) -> bool {
        self.is_page() && self.known_total.is_some_and(|total| self.window.start >= total)
    }

    /// Those of the beginning that are not on the page and match for certain were passed over.
    pub fn skip(&mut self, count: u64) {
        self.matched += count;
    }

    /// What is to be passed over before the page.
    pub fn before_page(&self) -> u64 {
        self.window.start
    }

    /// As [`ListRequest::examined_max`]; `None` where there is no limit.
    pub fn examined_max(&self) -> Option<u64> {
        Some(self.examined_max).filter(|&max| max < u64::MAX)
    }

    /// Takes the next e-mail into account. Returns whether to go on.
    pub fn visit(&mut self, key: K, matches: bool) -> bool {
        self.examined += 1;
        if matches {
            if self.matched >= self.window.end.saturating_add(1).max(ListRequest::COUNTED_MAX) {
                self.end = End::Full;
                return false;
            }
            if self.window.contains(&self.matched) {
                self.keys.push(key);
                self.last = Some(key);
            }
            self.matched += 1;
        }
        let is_late = self.examined.is_multiple_of(TIME_EMAILS) && self.started.elapsed() > TIME_MAX;
        if self.matched > self.window.end {
            // One more than the page has: there is a next one.
            let from = *self.counted_from.get_or_insert(self.examined);
            let counts = self.known_total.is_none() && self.known_least.is_none() && self.is_page();
            if !counts || is_late || self.examined - from >= COUNT_EXAMINED_MAX {
                self.end = End::Full;
                return false;
            }
        } else if self.is_page() && self.known_total.is_some_and(|total| self.matched >= total) {
            return false;
        } else if self.examined >= self.examined_max || is_late {
            self.exhausted(key);
            return false;
        }
        true
    }

    /// No more than up to here can be looked at. Without effect where the page is full.
    pub fn exhausted(&mut self, last: K) {
        if self.matched > self.window.end {
            self.end = End::Full;
        } else {
            self.last = Some(last);
            self.end = End::Exhausted;
        }
    }

    /// Counts no further, if the page is full. Returns whether it is.
    pub fn is_enough(&mut self) -> bool {
        let is_full = self.matched > self.window.end;
        if is_full {
            self.end = End::Full;
        }
        is_full
    }

    /// What is on the page, in the order of the list.
    pub fn keys(&self) -> Vec<K> {
        let mut keys = self.keys.clone();
        if self.is_backwards() {
            keys.reverse();
        }
        keys
    }

    /// The page of these e-mails, which are those of [`Scan::keys`].
    pub fn page(self, emails: Vec<EmailRecord>, place: impl Fn(K) -> ListPlace) -> EmailPage {
        let is_more = self.matched > self.window.end || self.end == End::Exhausted;
        // In the direction in which was read, and in the other.
        let ahead = self.last.filter(|_| is_more).map(&place);
        let behind = match self.start {
            ListStart::Page(page) if page <= 1 => None,
            _ => self.keys.first().copied().map(&place),
        };
        let (next, previous) = if self.is_backwards() { (behind, ahead) } else { (ahead, behind) };
        let counted = if self.is_page() { self.matched.max(self.known_least.unwrap_or(0)) } else { 0 };
        EmailPage {
            emails,
            total: self.known_total.unwrap_or(counted),
            total_is_at_least: self.known_total.is_none() && !(self.is_page() && self.end == End::Through),
            next,
            previous,
            is_incomplete: self.end == End::Exhausted,
        }
    }

    fn is_page(&self) -> bool {
        matches!(self.start, ListStart::Page(_))
    }

    fn is_backwards(&self) -> bool {
        matches!(self.start, ListStart::Before(_))
    }
}
