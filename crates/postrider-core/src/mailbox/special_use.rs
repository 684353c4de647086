//! What a mailbox is for (RFC 6154).

use std::fmt;
use std::str::FromStr;

/// A use that a mailbox of a user is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpecialUse {
    Archive,
    Drafts,
    Junk,
    Sent,
    Trash,
}

/// The text is no special use that mailboxes here can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such special use")]
pub struct SpecialUseError;

impl SpecialUse {
    pub const ALL: [Self; 5] = [Self::Archive, Self::Drafts, Self::Junk, Self::Sent, Self::Trash];

    /// The attribute without its backslash. Also the name of the mailbox that each user has for it from the start.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "Archive",
            Self::Drafts => "Drafts",
            Self::Junk => "Junk",
            Self::Sent => "Sent",
            Self::Trash => "Trash",
        }
    }
}

impl fmt::Display for SpecialUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for SpecialUse {
    type Err = SpecialUseError;

    fn from_str(text: &str) -> Result<Self, SpecialUseError> {
        Self::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(text)).ok_or(SpecialUseError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        for special_use in SpecialUse::ALL {
            assert_eq!(special_use.as_str().to_uppercase().parse(), Ok(special_use));
        }
        assert_eq!("All".parse::<SpecialUse>(), Err(SpecialUseError));
    }
}
