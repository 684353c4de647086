//! What somebody looks for among the e-mails: a small language, and the conditions that it becomes.
//!
//! `status:deferred domain:gmail.com older:1h "invoice"` finds what all of its terms are true of; a term behind `-` must not
//! be. [`Query::parse`] reads it, without a clock and without a store, and [`Query::at`] makes conditions of it; engines know
//! these alone. docs/search.md describes it for people, and is written from [`KEYS`] by `cargo xtask docs`.

mod document;
mod error;
mod keys;
mod parse;
mod print;
mod words;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use crate::{Address, Direction, Domain, EmailStatus, ObjectId, Timestamp};

pub use document::document;
pub use error::QueryError;
pub use keys::{KEYS, Key};
pub use words::{Words, WordsOf, stands_alone};

/// A query is no longer, in bytes.
pub const QUERY_BYTES_MAX: usize = 512;

/// Terms of a query.
pub const QUERY_TERMS_MAX: usize = 32;

/// What somebody looks for, as it was read: ages are counted from whenever it is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    terms: Vec<QueryTerm>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct QueryTerm {
    is_negated: bool,
    criterion: Criterion,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Criterion {
    Is(Condition),
    /// Accepted longer ago than this.
    Older(Duration),
    /// Accepted no longer ago than this.
    Newer(Duration),
}

/// A condition, or its opposite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    pub is_negated: bool,
    pub condition: Condition,
}

/// What is true of an e-mail or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It has one of these.
    Status(Vec<EmailStatus>),
    Direction(Direction),
    Sender(AddressPattern),
    /// One of its recipients is so.
    Recipient(AddressPattern),
    /// The whole domain of the sender or of a recipient.
    Domain(Domain),
    /// One of its tags, as it was given.
    Tag(String),
    /// The subject has these words in it, one after the other.
    Subject(Words),
    /// Its subject, one of its addresses, its Message-ID or its text has these words in it, one after the other.
    Text(Words),
    Id(ObjectId),
    /// Without angle brackets, as it stands in the message.
    MessageId(String),
    /// Accepted then or later.
    From(Timestamp),
    /// Accepted before then.
    Before(Timestamp),
    /// Of so many bytes or more.
    Larger(u64),
    /// Of fewer bytes.
    Smaller(u64),
    HasAttachment,
    /// A part of the last error that lists show, without regard to ASCII case.
    Error(String),
    /// The address that the last attempt left from.
    SourceIp(IpAddr),
}

/// Which addresses are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressPattern {
    /// This one, in the form of [`address_key`]; empty for the null reverse-path.
    Whole(String),
    /// Those that have this in them, in lower case (of ASCII).
    Part(String),
}

impl Query {
    /// Looks for all there is.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// What must be true of an e-mail that somebody looks for now.
    pub fn at(&self, now: Timestamp) -> Vec<Term> {
        let term = |term: &QueryTerm| Term {
            is_negated: term.is_negated,
            condition: match &term.criterion {
                Criterion::Is(condition) => condition.clone(),
                Criterion::Older(age) => Condition::Before(now - *age),
                Criterion::Newer(age) => Condition::From(now - *age),
            },
        };
        self.terms.iter().map(term).collect()
    }
}

impl AddressPattern {
    /// `<>` is the null reverse-path, a whole address means just that one, anything else a part. A domain without a dot in it
    /// is taken for the beginning of one.
    pub fn of(text: &str) -> Self {
        if text == "<>" {
            return Self::Whole(String::new());
        }
        let has_dotted_domain = text.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.'));
        match Address::parse(text) {
            Ok(address) if has_dotted_domain => Self::Whole(address_key(&address)),
            _ => Self::Part(text.to_ascii_lowercase()),
        }
    }

    /// Whether an address is meant, as an envelope names it; empty for the null reverse-path.
    pub fn matches(&self, address: &str) -> bool {
        match self {
            Self::Part(part) => contains(address, part),
            Self::Whole(key) if address.is_ascii() || key.is_empty() => address.eq_ignore_ascii_case(key),
            Self::Whole(key) => Address::parse(address).is_ok_and(|address| address_key(&address) == *key),
        }
    }
}

/// An address for comparing: in lower case (of ASCII), its domain in ASCII.
pub fn address_key(address: &Address) -> String {
    let local_part = address.as_str().rsplit_once('@').map_or(address.as_str(), |(local_part, _)| local_part);
    format!("{}@{}", local_part.to_ascii_lowercase(), address.domain().as_str())
}

/// Whether `text` has `part` in it, which is in lower case (of ASCII) already.
pub fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// Whether an address is of this domain, in whatever spelling.
pub fn is_of_domain(address: &str, domain: &Domain) -> bool {
    match address.rsplit_once('@') {
        Some((_, text)) if text.eq_ignore_ascii_case(domain.as_str()) => true,
        // A domain in Unicode is another spelling of one in ASCII.
        Some((_, text)) if !text.is_ascii() => Address::parse(address).is_ok_and(|address| address.domain() == *domain),
        _ => false,
    }
}
