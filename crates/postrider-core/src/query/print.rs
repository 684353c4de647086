//! Writing the language: what is read again is the same query.

use std::fmt;
use std::time::Duration;

use super::keys::{AGE_UNITS, SIZE_UNITS};
use super::{AddressPattern, Condition, Criterion, Query, QueryTerm, Words};

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, term) in self.terms.iter().enumerate() {
            if n > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{term}")?;
        }
        Ok(())
    }
}

impl fmt::Display for QueryTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_negated {
            f.write_str("-")?;
        }
        match &self.criterion {
            Criterion::Is(condition) => write!(f, "{condition}"),
            Criterion::Older(age) => write!(f, "older:{}", Age(*age)),
            Criterion::Newer(age) => write!(f, "newer:{}", Age(*age)),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(statuses) => {
                let names: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
                write!(f, "status:{}", names.join(","))
            }
            Self::Direction(direction) => write!(f, "direction:{direction}"),
            Self::Sender(pattern) => write!(f, "sender:{pattern}"),
            Self::Recipient(pattern) => write!(f, "recipient:{pattern}"),
            Self::Domain(domain) => write!(f, "domain:{domain}"),
            Self::Tag(tag) => write!(f, "tag:{}", Quoted(tag)),
            Self::Subject(words) => write!(f, "subject:{words}"),
            Self::Text(words) => write!(f, "{words}"),
            Self::Id(id) => write!(f, "id:{id}"),
            Self::MessageId(id) => write!(f, "messageid:{}", Quoted(&format!("<{id}>"))),
            Self::From(at) => write!(f, "after:{at}"),
            Self::Before(at) => write!(f, "before:{at}"),
            Self::Larger(bytes) => write!(f, "larger:{}", Size(*bytes)),
            Self::Smaller(bytes) => write!(f, "smaller:{}", Size(*bytes)),
            Self::HasAttachment => f.write_str("has:attachment"),
            Self::Error(part) => write!(f, "error:{}", Quoted(part)),
            Self::SourceIp(ip) => write!(f, "sourceip:{ip}"),
        }
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(key) if key.is_empty() => f.write_str("<>"),
            Self::Whole(text) | Self::Part(text) => Quoted(text).fmt(f),
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quoted(&self.as_slice().join(" ")).fmt(f)
    }
}

/// A value, in quotes where it would not be read as one without.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        if !text.is_empty() && !text.starts_with(['"', '-']) && !text.contains(char::is_whitespace) {
            return f.write_str(text);
        }
        write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let unit = AGE_UNITS.iter().find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
        let (name, unit) = unit.copied().unwrap_or(('s', 1));
        write!(f, "{}{name}", seconds / unit)
    }
}

struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}
