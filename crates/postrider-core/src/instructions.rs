//! What a sender asks of us beyond the envelope: how urgent a message is, until when it is worth sending, and what it is called.
//!
//! None of this reaches the recipient.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How urgent a message is, from -9 to 9, the higher the sooner (RFC 6710 section 4.1); 0 where nothing is said.
///
/// It decides among deliveries to one destination. Destinations take turns as ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "i8", into = "i8")]
pub struct Priority(i8);

impl Priority {
    pub const NORMAL: Self = Self(0);
    pub const MIN: Self = Self(-9);
    pub const MAX: Self = Self(9);

    pub fn new(value: i8) -> Result<Self, InstructionError> {
        if (Self::MIN.0..=Self::MAX.0).contains(&value) { Ok(Self(value)) } else { Err(InstructionError::Priority) }
    }

    pub const fn get(self) -> i8 {
        self.0
    }

    /// Its place in line: the lower, the sooner.
    pub const fn rank(self) -> i8 {
        -self.0
    }

    fn is_normal(&self) -> bool {
        *self == Self::NORMAL
    }
}

impl TryFrom<i8> for Priority {
    type Error = InstructionError;

    fn try_from(value: i8) -> Result<Self, InstructionError> {
        Self::new(value)
    }
}

impl From<Priority> for i8 {
    fn from(priority: Priority) -> i8 {
        priority.0
    }
}

impl std::str::FromStr for Priority {
    type Err = InstructionError;

    /// A number from -9 to 9, or one of the words that mail programs use: `high`, `normal`, `low`.
    fn from_str(text: &str) -> Result<Self, InstructionError> {
        match text.to_ascii_lowercase().as_str() {
            "high" => Ok(Self(4)),
            "normal" => Ok(Self::NORMAL),
            "low" => Ok(Self(-4)),
            number => number.parse().ok().and_then(|value| Self::new(value).ok()).ok_or(InstructionError::Priority),
        }
    }
}

/// Why an instruction is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstructionError {
    #[error("a priority is a number from -9 to 9, or high, normal, low")]
    Priority,
    #[error("a tag has 1 to {TAG_BYTES_MAX} bytes, and no control character, comma or line end")]
    Tag,
    #[error("a message has {TAGS_MAX} tags at most")]
    TooManyTags,
    #[error("a time is RFC 3339, as 2026-11-22T13:39:40Z")]
    Time,
    #[error(
        "metadata has {METADATA_MAX} entries at most, names up to {METADATA_NAME_BYTES_MAX} bytes, values up to {METADATA_VALUE_BYTES_MAX}"
    )]
    Metadata,
}

/// Tags of one message.
pub const TAGS_MAX: usize = 20;
/// Of one tag.
pub const TAG_BYTES_MAX: usize = 100;
/// Entries of one message.
pub const METADATA_MAX: usize = 50;
pub const METADATA_NAME_BYTES_MAX: usize = 100;
pub const METADATA_VALUE_BYTES_MAX: usize = 1_000;

/// What a sender asks of us beyond the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instructions {
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// By which messages are found, and orders given to them; in the sender's order, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The sender's own words, which stand in what it is told of the message.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// After this it is not sent any more: a delivery that is still waiting fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Instructions {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds a tag, unless it is there.
    pub fn add_tag(&mut self, tag: &str) -> Result<(), InstructionError> {
        let tag = tag.trim();
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.contains(|c: char| c.is_control() || c == ',') {
            return Err(InstructionError::Tag);
        }
        if self.tags.iter().any(|known| known == tag) {
            return Ok(());
        }
        if self.tags.len() == TAGS_MAX {
            return Err(InstructionError::TooManyTags);
        }
        self.tags.push(tag.to_owned());
        Ok(())
    }

    /// Notes a word of the sender; one that is there already is replaced.
    pub fn add_metadata(&mut self, name: &str, value: &str) -> Result<(), InstructionError> {
        let name_holds = (1..=METADATA_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
        let has_room = self.metadata.len() < METADATA_MAX || self.metadata.contains_key(name);
        if !name_holds || value.len() > METADATA_VALUE_BYTES_MAX || !has_room {
            return Err(InstructionError::Metadata);
        }
        self.metadata.insert(name.to_owned(), value.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities() {
        assert_eq!("high".parse(), Ok(Priority(4)));
        assert_eq!("-9".parse(), Ok(Priority::MIN));
        for text in ["10", "-10", "", "urgent", "1.5"] {
            assert_eq!(text.parse::<Priority>(), Err(InstructionError::Priority), "{text}");
        }
        assert!(serde_json::from_str::<Priority>("-10").is_err());
        assert!(Priority::MAX.rank() < Priority::NORMAL.rank() && Priority::NORMAL.rank() < Priority::MIN.rank());
    }

    #[test]
    fn tags_stand_once_and_have_limits() {
        let mut instructions = Instructions::default();
        assert_eq!(instructions.add_tag(" invoice "), Ok(()));
        assert_eq!(instructions.add_tag("invoice"), Ok(()));
        assert_eq!(instructions.tags, ["invoice"]);
        for tag in ["", " ", "a,b", "a\nb", &"x".repeat(TAG_BYTES_MAX + 1)] {
            assert_eq!(instructions.add_tag(tag), Err(InstructionError::Tag), "{tag:?}");
        }
        (1..TAGS_MAX).for_each(|n| instructions.add_tag(&n.to_string()).unwrap());
        assert_eq!(instructions.add_tag("one more"), Err(InstructionError::TooManyTags));
    }

    #[test]
    fn metadata_has_limits() {
        let mut instructions = Instructions::default();
        assert_eq!(instructions.add_metadata("", "x"), Err(InstructionError::Metadata));
        assert_eq!(
            instructions.add_metadata("a", &"x".repeat(METADATA_VALUE_BYTES_MAX + 1)),
            Err(InstructionError::Metadata)
        );
        (0..METADATA_MAX).for_each(|n| instructions.add_metadata(&n.to_string(), "x").unwrap());
        assert_eq!(instructions.add_metadata("one more", "x"), Err(InstructionError::Metadata));
        assert_eq!(instructions.add_metadata("7", "y"), Ok(()), "in place of another");
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        assert_eq!(serde_json::to_string(&Instructions::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Instructions>("{}").unwrap(), Instructions::default());
    }
}
