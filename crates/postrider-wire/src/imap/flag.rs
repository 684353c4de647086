//! Flags of messages and attributes of mailboxes, as clients name them (RFC 9051 section 2.3.2, RFC 6154).

/// A flag of a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    Answered,
    Deleted,
    Draft,
    Flagged,
    Seen,
    /// IMAP4rev1 only; no client may set it (RFC 3501 section 2.3.2). Only SEARCH brings it.
    Recent,
    /// As the client wrote it; names are equal in any case (RFC 9051 section 2.3.2). An atom, never empty.
    Keyword(String),
}

impl Flag {
    /// As it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Answered => "\\Answered",
            Self::Deleted => "\\Deleted",
            Self::Draft => "\\Draft",
            Self::Flagged => "\\Flagged",
            Self::Seen => "\\Seen",
            Self::Recent => "\\Recent",
            Self::Keyword(name) => name,
        }
    }

    /// A system flag by its name without the backslash, in any case.
    pub fn system(name: &str) -> Option<Self> {
        [Self::Answered, Self::Deleted, Self::Draft, Self::Flagged, Self::Seen, Self::Recent]
            .into_iter()
            .find(|flag| flag.as_str()[1..].eq_ignore_ascii_case(name))
    }
}

impl AsRef<str> for Flag {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// What a mailbox is for (RFC 6154 section 2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    All,
    Archive,
    Drafts,
    Flagged,
    Junk,
    Sent,
    Trash,
    /// RFC 8457.
    Important,
    /// Another attribute, with its backslash, as the client wrote it.
    Other(String),
}

impl SpecialUse {
    /// As it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::All => "\\All",
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
            Self::Important => "\\Important",
            Self::Other(name) => name,
        }
    }

    /// By its name with the backslash, in any case.
    pub fn from_name(name: &str) -> Self {
        [Self::All, Self::Archive, Self::Drafts, Self::Flagged, Self::Junk, Self::Sent, Self::Trash, Self::Important]
            .into_iter()
            .find(|special_use| special_use.as_str().eq_ignore_ascii_case(name))
            .unwrap_or_else(|| Self::Other(name.to_owned()))
    }
}
