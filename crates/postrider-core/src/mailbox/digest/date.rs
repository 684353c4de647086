//! Dates of header fields (RFC 5322 sections 3.3 and 4.3), also as programs have miswritten them: without seconds or zone, in
//! the order of C's asctime, with hyphens.

use crate::Timestamp;
use crate::mailbox::CalendarDay;

/// The bytes of a date that are read.
const DATE_BYTES_MAX: usize = 128;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// RFC 5322 section 4.3: zones with their hours. All other letters say nothing.
const ZONES: [(&str, i64); 8] =
    [("EST", -5), ("EDT", -4), ("CST", -6), ("CDT", -5), ("MST", -7), ("MDT", -6), ("PST", -8), ("PDT", -7)];

/// The instant that a Date field's value names, and the day in its own zone.
pub(super) fn sent_at(value: &[u8]) -> Option<(Timestamp, CalendarDay)> {
    let text = without_comments(&value[..value.len().min(DATE_BYTES_MAX)]);
    let mut parts = Parts::default();
    for word in text.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|word| !word.is_empty()) {
        parts.take(word);
        if parts.zone_seconds.is_some() {
            break;
        }
    }
    let day = CalendarDay::from_date(parts.year?, parts.month?, parts.day?)?;
    let seconds = i64::from(day.as_days()) * 86_400 + parts.time_seconds.unwrap_or(0) - parts.zone_seconds.unwrap_or(0);
    Some((Timestamp::from_millis(seconds * 1_000), day))
}

#[derive(Default)]
struct Parts {
    day: Option<u8>,
    month: Option<u8>,
    year: Option<u16>,
    /// Since midnight.
    time_seconds: Option<i64>,
    /// East of Greenwich.
    zone_seconds: Option<i64>,
}

impl Parts {
    fn take(&mut self, word: &str) {
        let bytes = word.as_bytes();
        match bytes[0] {
            b'0'..=b'9' if word.contains(':') => self.time_seconds = self.time_seconds.or_else(|| time(word)),
            b'0'..=b'9' if word.contains('-') => {
                word.split('-').filter(|part| !part.is_empty()).for_each(|part| self.take(part))
            }
            b'0'..=b'9' => self.number(word),
            b'+' | b'-' if self.time_seconds.is_some() => self.zone_seconds = Some(zone(word)),
            first if first.is_ascii_alphabetic() => {
                let start = word.get(..3).unwrap_or_default();
                let month = MONTHS.iter().position(|month| start.eq_ignore_ascii_case(month));
                if self.month.is_none() && month.is_some() {
                    self.month = month.map(|month| month as u8 + 1);
                } else if self.time_seconds.is_some() && self.year.is_some() {
                    let known = ZONES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
                    self.zone_seconds = Some(known.map_or(0, |(_, hours)| hours * 3_600));
                }
            }
            _ => {}
        }
    }

    fn number(&mut self, word: &str) {
        let Ok(number) = word.parse::<u16>() else { return };
        if self.day.is_none() && word.len() <= 2 {
            self.day = Some(number as u8);
        } else if self.year.is_none() {
            // RFC 5322 section 4.3. Some have written a year of three digits with a 0 before it.
            self.year = Some(match number {
                0..50 => number + 2_000,
                50..1_000 => number + 1_900,
                _ => number,
            });
        }
    }
}

/// `hh:mm`, also with seconds, of which 60 is one (RFC 5322 section 3.3).
fn time(word: &str) -> Option<i64> {
    let mut numbers = word.split(':').map(|number| {
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        number[..end].parse::<i64>().ok()
    });
    let (hours, minutes, seconds) = (numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0));
    (hours < 24 && minutes < 60 && seconds <= 60).then_some(hours * 3_600 + minutes * 60 + seconds)
}

/// `+hhmm`; what is none says nothing.
fn zone(word: &str) -> i64 {
    let seconds = || {
        let (hours, minutes) = (word.get(1..3)?.parse::<i64>().ok()?, word.get(3..5)?.parse::<i64>().ok()?);
        (hours < 24 && minutes < 60).then_some(hours * 3_600 + minutes * 60)
    };
    let seconds = seconds().unwrap_or(0);
    if word.starts_with('-') { -seconds } else { seconds }
}

fn without_comments(value: &[u8]) -> String {
    let mut depth = 0usize;
    let mut text = String::with_capacity(value.len());
    for &byte in value {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && byte.is_ascii() => text.push(byte as char),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (date, utc) in [
            (" Thu, 26 Nov 2026 23:30:00 -0130", Some("2026-11-27T01:00:00.000Z")),
            ("Thu, 26 Nov 2026\r\n 10:00:00 +0100 (CET)", Some("2026-11-26T09:00:00.000Z")),
            ("26 Nov 26 10:00 GMT", Some("2026-11-26T10:00:00.000Z")),
            ("26-Nov-99 10:00:59 EST", Some("1999-11-26T15:00:59.000Z")),
            ("Thu Nov 26 10:00:00 2026", Some("2026-11-26T10:00:00.000Z")),
            ("Thu Nov 26 10:00:00 PDT 2026", Some("2026-11-26T10:00:00.000Z")),
            ("Mon, 04 Feb 0102 21:08:54 +0700", Some("2002-02-04T14:08:54.000Z")),
            ("Thu, 1 January 1970 00:00:00 Z", Some("1970-01-01T00:00:00.000Z")),
            ("Thursday,26 Nov 2026 10:00:00.5 +9999", Some("2026-11-26T10:00:00.000Z")),
            ("26 Nov 2026", Some("2026-11-26T00:00:00.000Z")),
            ("Thu, 31 Feb 2026 10:00:00 +0000", None),
            ("Thu, 26 Nov 65535 10:00:00 +0000", None),
            ("tomorrow", None),
            ("", None),
        ] {
            let sent_at = sent_at(date.as_bytes()).map(|(at, _)| at.to_rfc3339());
            assert_eq!(sent_at.as_deref(), utc, "{date}");
        }
        let day = sent_at(b"Thu, 26 Nov 2026 23:30:00 -0130").map(|(_, day)| day);
        assert_eq!(day, CalendarDay::from_date(2026, 11, 26));
    }
}
