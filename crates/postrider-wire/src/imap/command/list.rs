//! LIST with LIST-EXTENDED (RFC 5258), LIST-STATUS (RFC 5819) and SPECIAL-USE (RFC 6154), LSUB, and what STATUS tells.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub reference: String,
    /// At least one, in UTF-8, with `*` and `%`. Alone and empty: the client asks for the hierarchy delimiter.
    pub patterns: Vec<String>,
    pub selection: ListSelection,
    pub returns: ListReturn,
    /// The client used the syntax of RFC 5258: it knows CHILDINFO and `\NonExistent`.
    pub extended: bool,
}

/// Which mailboxes are wanted (RFC 5258 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListSelection {
    pub subscribed: bool,
    pub remote: bool,
    /// Only with another option (the parser sees to it).
    pub recursive_match: bool,
    pub special_use: bool,
}

/// What is wanted of each (RFC 5258 section 3.2). What the selection asks for is to be told whether it stands here or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListReturn {
    pub subscribed: bool,
    pub children: bool,
    pub special_use: bool,
    pub status: Option<Vec<StatusItem>>,
}

/// RFC 3501 section 6.3.9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lsub {
    pub reference: String,
    pub pattern: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusItem {
    Messages,
    /// RFC 3501 only.
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    /// RFC 9051.
    Deleted,
    /// RFC 8438.
    Size,
    /// RFC 7162.
    HighestModSeq,
    /// RFC 8474.
    MailboxId,
    /// RFC 7889.
    AppendLimit,
    /// RFC 9208.
    DeletedStorage,
}

impl StatusItem {
    pub const ALL: [Self; 11] = [
        Self::Messages,
        Self::Recent,
        Self::UidNext,
        Self::UidValidity,
        Self::Unseen,
        Self::Deleted,
        Self::Size,
        Self::HighestModSeq,
        Self::MailboxId,
        Self::AppendLimit,
        Self::DeletedStorage,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "MESSAGES",
            Self::Recent => "RECENT",
            Self::UidNext => "UIDNEXT",
            Self::UidValidity => "UIDVALIDITY",
            Self::Unseen => "UNSEEN",
            Self::Deleted => "DELETED",
            Self::Size => "SIZE",
            Self::HighestModSeq => "HIGHESTMODSEQ",
            Self::MailboxId => "MAILBOXID",
            Self::AppendLimit => "APPENDLIMIT",
            Self::DeletedStorage => "DELETED-STORAGE",
        }
    }
}
