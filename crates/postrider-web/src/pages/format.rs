//! How pages show times, numbers and sizes: for people, with the exact value beside it.

use std::fmt;
use std::time::Duration;

use askama::filters::{Escaper as _, Html, HtmlSafe};
use postrider_core::Timestamp;

use crate::bidi::in_order;

/// A time as people say it, with the exact one on hover. Scripts keep it true while the page stays open.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    at: Timestamp,
    now: Timestamp,
}

impl When {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.at.to_rfc3339();
        write!(f, "<time datetime=\"{exact}\" title=\"{exact}\">{}</time>", relative(self.at, self.now))
    }
}

/// Made of digits and our own words.
impl HtmlSafe for When {}

/// A sentence of the API, of which people see times as everywhere on pages: `at 2026-11-22T13:39:40.123Z` becomes `5 min ago`.
#[derive(Debug, Clone)]
pub(super) struct Told {
    sentence: String,
    now: Timestamp,
}

impl Told {
    pub(super) fn new(sentence: impl Into<String>, now: Timestamp) -> Self {
        Self { sentence: sentence.into(), now }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = in_order(&self.sentence);
        let mut rest = &*sentence;
        while let Some(found) = rest.find(AT) {
            let (before, from) = rest.split_at(found);
            let exact = from.get(AT.len()..AT.len() + EXACT_BYTES);
            let time = exact.and_then(Timestamp::parse_rfc3339).filter(|time| Some(&*time.to_rfc3339()) == exact);
            let shown = if time.is_some() { AT.len() + EXACT_BYTES } else { AT.len() };
            Html.write_escaped_str(&mut *f, before)?;
            match time {
                Some(time) => write!(f, " {}", When::new(time, self.now))?,
                None => f.write_str(AT)?,
            }
            rest = &from[shown..];
        }
        Html.write_escaped_str(f, rest)
    }
}

/// It is escaped where it is written.
impl HtmlSafe for Told {}

/// Before a time in a sentence.
const AT: &str = " at ";

/// `2026-11-22T13:39:40.123Z`
const EXACT_BYTES: usize = 24;

/// `5 min ago`, `in 2 h`. What the module writes in its place later must read the same.
fn relative(at: Timestamp, now: Timestamp) -> String {
    let (ahead, behind) = (at.since(now), now.since(at));
    match (ahead.as_secs(), behind.as_secs()) {
        (0, 0) => "now".to_owned(),
        (0, _) => format!("{} ago", span(behind)),
        (_, _) => format!("in {}", span(ahead)),
    }
}

/// A length of time in its largest unit.
fn span(length: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match length.as_secs() {
        seconds @ ..MINUTE => format!("{seconds} s"),
        seconds @ MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        seconds @ HOUR..DAY => format!("{} h", seconds / HOUR),
        seconds => format!("{} d", seconds / DAY),
    }
}

/// A length of time as people say it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasting(pub(super) Duration);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            millis @ 0..1000 => write!(f, "{millis} ms"),
            millis @ 1000..10_000 => write!(f, "{}.{} s", millis / 1000, millis % 1000 / 100),
            _ => f.write_str(&span(self.0)),
        }
    }
}

/// A number with its thousands apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grouped(pub(super) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// So many things, by the word for one and that for several.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted(pub(super) u64, pub(super) &'static str, pub(super) &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, one, several) = self;
        write!(f, "{} {}", Grouped(*count), if *count == 1 { one } else { several })
    }
}

/// Bytes in the unit that people read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match UNITS.iter().find(|(_, bytes)| self.0 >= *bytes) {
            None => write!(f, "{} B", self.0),
            Some((unit, bytes)) => write!(f, "{}.{} {unit}", self.0 / bytes, self.0 % bytes * 10 / bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn times_are_relative_and_exact_on_hover() {
        let before = |seconds: i64| Timestamp::from_millis(NOW.as_millis() - seconds * 1000);
        for (seconds, expected) in [
            (0, "now"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3599, "59 min ago"),
            (7200, "2 h ago"),
            (90_000, "1 d ago"),
            (-5, "in 5 s"),
            (-3600, "in 1 h"),
        ] {
            assert_eq!(relative(before(seconds), NOW), expected);
        }
        let exact = NOW.to_rfc3339();
        assert_eq!(When::new(NOW, NOW).to_string(), format!("<time datetime=\"{exact}\" title=\"{exact}\">now</time>"));
    }

    #[test]
    fn a_sentence_tells_times_as_pages_do() {
        let told = |sentence: &str| Told::new(sentence, NOW).to_string();
        let before = Timestamp::from_millis(NOW.as_millis() - 120_000);
        assert_eq!(
            told(&format!("<b> took it at {before}: 250 at once. It goes on at {NOW}.")),
            format!("&#60;b&#62; took it {}: 250 at once. It goes on {}.", When::new(before, NOW), When::new(NOW, NOW))
        );
        for other in ["look at <i>", "at ", " at 2026-11-22T13:39:40+01:00", " at 2026-11-22T13:39:40.1234567890Z"] {
            assert!(!told(other).contains("<"), "{other}");
        }
        assert_eq!(told("ends at "), "ends at ");
        assert_eq!(told("größer at größer als größerer Größe"), "größer at größer als größerer Größe");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(Grouped(number).to_string(), expected);
        }
    }

    #[test]
    fn one_thing_is_not_several() {
        let users = |count| Counted(count, "user", "users").to_string();
        assert_eq!([0, 1, 2, 1234].map(users), ["0 users", "1 user", "2 users", "1,234 users"]);
    }

    #[test]
    fn sizes_and_lengths_have_units() {
        assert_eq!(
            [0, 1023, 1536, 3 << 20].map(|bytes| Size(bytes).to_string()),
            ["0 B", "1023 B", "1.5 KiB", "3.0 MiB"]
        );
        let lasting = |millis| Lasting(Duration::from_millis(millis)).to_string();
        assert_eq!([7, 1530, 61_000].map(lasting), ["7 ms", "1.5 s", "1 min"]);
    }
}
