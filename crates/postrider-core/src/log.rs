//! The log of a running server as others see it: the last of what it logged.
//!
//! Only what was logged, in the words in which it was. Where that is kept is not known here.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::delivery::statuses;
use crate::id::ObjectId;
use crate::time::Timestamp;

statuses! {
    /// How grave a record is, the gravest first. Each includes those above it where a level is asked for.
    LogLevel {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}

impl LogLevel {
    /// Whether who asks for `wanted` gets records of this level.
    pub fn is_within(self, wanted: Self) -> bool {
        self as u8 <= wanted as u8
    }
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LogRecord {
    /// Each is one more than that of the record before it, also of those that are remembered no more. A process begins behind all
    /// that the one before it gave, unless its clock was set back.
    pub number: u64,
    pub timestamp: Timestamp,
    pub level: LogLevel,
    /// The part of the program.
    pub target: &'static str,
    pub message: String,
    /// The e-mail that it is about.
    pub email: Option<ObjectId>,
    /// Names with dots in them, as they are logged, and what they hold as text: first the record's own, then those of what was under
    /// way, the innermost first.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    #[serde(serialize_with = "as_object")]
    pub fields: Vec<(&'static str, String)>,
}

fn as_object<S: Serializer>(fields: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
}

/// As a line of text, without the time: `level target: message name=value`.
impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// Which records are asked for. What is given must hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    level: Option<LogLevel>,
    email: Option<ObjectId>,
    /// In lower case.
    text: Option<String>,
}

impl LogFilter {
    /// `level`: those that are so grave at least. `email`: about that e-mail. `text`: those whose line ([`LogRecord`]'s `Display`)
    /// has it in it, without regard to the case of ASCII letters.
    pub fn new(level: Option<LogLevel>, email: Option<ObjectId>, text: Option<&str>) -> Self {
        Self { level, email, text: text.map(str::to_ascii_lowercase) }
    }

    pub fn matches(&self, record: &LogRecord) -> bool {
        self.level.is_none_or(|wanted| record.level.is_within(wanted))
            && self.email.is_none_or(|email| record.email == Some(email))
            && self.text.as_ref().is_none_or(|text| {
                let mut line = record.to_string();
                line.make_ascii_lowercase();
                line.contains(text)
            })
    }
}

/// Some records, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LogPage {
    #[schema(value_type = Vec<LogRecord>)]
    #[serde(serialize_with = "by_value")]
    pub records: Vec<Arc<LogRecord>>,
    /// The number of the last record that was looked at: what follows is behind it.
    pub last: u64,
    /// Whether records that were asked for are remembered no more.
    pub missed: bool,
}

fn by_value<S: Serializer>(records: &[Arc<LogRecord>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(records.iter().map(AsRef::as_ref))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(level: LogLevel, email: Option<&str>) -> LogRecord {
        LogRecord {
            number: 7,
            timestamp: Timestamp::from_millis(1_795_354_780_123),
            level,
            target: "postrider_server::queue",
            message: "Deferred".to_owned(),
            email: email.map(|email| email.parse().unwrap()),
            fields: vec![("mx.host", "Mail.example.org".to_owned()), ("attempt", "2".to_owned())],
        }
    }

    #[test]
    fn what_is_given_holds_together() {
        let id = "65f0c1d2a3b4c5d6e7f80912";
        let info = record(LogLevel::Info, Some(id));
        let email = Some(id.parse().unwrap());
        let matches = |level, email, text| LogFilter::new(level, email, text).matches(&info);
        assert!(LogFilter::default().matches(&info));
        assert!(matches(Some(LogLevel::Info), email, Some("HOST=mail.")));
        assert!(matches(Some(LogLevel::Trace), None, Some("deferred mx")));
        assert!(!matches(Some(LogLevel::Warn), email, None));
        assert!(!matches(None, Some(ObjectId::default()), None));
        assert!(!matches(None, None, Some("delivered")));
        assert!(!LogFilter::new(None, email, None).matches(&record(LogLevel::Error, None)));
    }

    #[test]
    fn fields_are_an_object() {
        let page = LogPage { records: vec![Arc::new(record(LogLevel::Warn, None))], last: 9, missed: true };
        let json = serde_json::to_value(&page).unwrap();
        let expected = serde_json::json!({ "last": 9, "missed": true, "records": [{
            "number": 7, "timestamp": "2026-11-22T13:39:40.123Z", "level": "warn", "target": "postrider_server::queue",
            "message": "Deferred", "email": null, "fields": { "mx.host": "Mail.example.org", "attempt": "2" },
        }] });
        assert_eq!(json, expected);
    }
}
