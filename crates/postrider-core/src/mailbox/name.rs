//! Names of mailboxes (RFC 9051 section 5.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a mailbox in UTF-8, its levels separated by `/`. The first level `INBOX` is written so, in whatever case
/// it came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(Box<str>);

/// Why a text names no mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MailboxNameError {
    #[error("the name is empty")]
    Empty,
    #[error("the name is longer than {} bytes", MailboxName::BYTES_MAX)]
    TooLong,
    #[error("a level of the name is empty")]
    EmptyLevel,
    #[error("the name has a control character")]
    ControlCharacter,
    #[error("the name has % or *, which stand for any text in LIST")]
    Wildcard,
}

impl MailboxName {
    pub const INBOX: &str = "INBOX";

    /// What separates the levels of a name.
    pub const SEPARATOR: char = '/';

    /// In UTF-8.
    pub const BYTES_MAX: usize = 1_000;

    pub fn inbox() -> Self {
        Self(Self::INBOX.into())
    }

    pub fn parse(text: &str) -> Result<Self, MailboxNameError> {
        if text.is_empty() {
            return Err(MailboxNameError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(MailboxNameError::TooLong);
        }
        // RFC 5198 section 2: line and paragraph separators are no part of a name either.
        if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(MailboxNameError::ControlCharacter);
        }
        if text.contains(['%', '*']) {
            return Err(MailboxNameError::Wildcard);
        }
        if text.split(Self::SEPARATOR).any(str::is_empty) {
            return Err(MailboxNameError::EmptyLevel);
        }
        let (first, rest) = text.split_at(text.find(Self::SEPARATOR).unwrap_or(text.len()));
        if first.eq_ignore_ascii_case(Self::INBOX) {
            return Ok(Self(format!("{}{rest}", Self::INBOX).into()));
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_inbox(&self) -> bool {
        &*self.0 == Self::INBOX
    }

    /// The name of the level above; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once(Self::SEPARATOR).map(|(parent, _)| Self(parent.into()))
    }

    /// Whether this one stands somewhere below `other`.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.starts_with(Self::SEPARATOR))
    }

    /// The name that this one, which is `from` or below it, has when `from` becomes `to`; an error if that is too long.
    pub fn moved(&self, from: &Self, to: &Self) -> Result<Self, MailboxNameError> {
        let rest = self.0.strip_prefix(&*from.0).unwrap_or_default();
        Self::parse(&format!("{}{rest}", to.0))
    }
}

impl FromStr for MailboxName {
    type Err = MailboxNameError;

    fn from_str(text: &str) -> Result<Self, MailboxNameError> {
        Self::parse(text)
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for MailboxName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MailboxName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_is_written_one_way() {
        for text in ["inbox", "InBox", "INBOX"] {
            assert!(MailboxName::parse(text).unwrap().is_inbox());
        }
        assert_eq!(MailboxName::parse("inbox/Work").unwrap().as_str(), "INBOX/Work");
        assert_eq!(MailboxName::parse("Inboxes").unwrap().as_str(), "Inboxes");
    }

    #[test]
    fn what_names_no_mailbox() {
        let long = "a".repeat(MailboxName::BYTES_MAX + 1);
        for (text, error) in [
            ("", MailboxNameError::Empty),
            ("/a", MailboxNameError::EmptyLevel),
            ("a/", MailboxNameError::EmptyLevel),
            ("a//b", MailboxNameError::EmptyLevel),
            ("a\nb", MailboxNameError::ControlCharacter),
            ("a\u{2028}b", MailboxNameError::ControlCharacter),
            ("a%", MailboxNameError::Wildcard),
            ("*", MailboxNameError::Wildcard),
            (&long, MailboxNameError::TooLong),
        ] {
            assert_eq!(MailboxName::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn levels() {
        let name = |text: &str| MailboxName::parse(text).unwrap();
        assert_eq!(name("a/b/c").parent(), Some(name("a/b")));
        assert_eq!(name("a").parent(), None);
        assert!(name("a/b").is_below(&name("a")));
        assert!(!name("ab").is_below(&name("a")));
        assert!(!name("a").is_below(&name("a")));
        assert_eq!(name("a/b/c").moved(&name("a/b"), &name("x")), Ok(name("x/c")));
        assert_eq!(name("a/b").moved(&name("a/b"), &name("x")), Ok(name("x")));
    }
}
