//! SEARCH (RFC 9051 section 6.4.4) with SEARCHRES, WITHIN (RFC 5032), CONDSTORE, OBJECTID and SAVEDATE; SORT and THREAD
//! (RFC 5256, RFC 5957).
//!
//! Strings are UTF-8; of other charsets nothing gets here (RFC 5256 asks for US-ASCII and UTF-8).

use crate::imap::date::Date;
use crate::imap::flag::Flag;
use crate::imap::sequence::MessageSet;

/// SEARCH and UID SEARCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    pub uid: bool,
    /// `None`: no RETURN. IMAP4rev1 then gets SEARCH; IMAP4rev2 gets ESEARCH as if for ALL (RFC 9051 section 6.4.4).
    pub returns: Option<SearchReturn>,
    pub key: SearchKey,
}

/// RFC 4731, RFC 5182. An empty list stands for ALL and has it set here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchReturn {
    pub min: bool,
    pub max: bool,
    pub all: bool,
    pub count: bool,
    /// The result becomes `$`.
    pub save: bool,
}

/// Strings are looked for in any case, as substrings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    All,
    /// All of them hold. At least two.
    And(Vec<SearchKey>),
    Or(Box<SearchKey>, Box<SearchKey>),
    Not(Box<SearchKey>),
    /// ANSWERED, KEYWORD and their kin. NEW is `\Recent` and not `\Seen`.
    HasFlag(Flag),
    /// UNANSWERED, UNKEYWORD and their kin. OLD is without `\Recent`.
    LacksFlag(Flag),
    Sequence(MessageSet),
    Uid(MessageSet),
    From(String),
    To(String),
    Cc(String),
    Bcc(String),
    Subject(String),
    Header {
        name: String,
        /// Empty: any message that has the field.
        value: String,
    },
    Body(String),
    Text(String),
    /// Of the internal date: earlier than the day.
    Before(Date),
    On(Date),
    /// On the day or later.
    Since(Date),
    /// Of the Date field.
    SentBefore(Date),
    SentOn(Date),
    SentSince(Date),
    /// Of the date when it came into this mailbox (RFC 8514).
    SavedBefore(Date),
    SavedOn(Date),
    SavedSince(Date),
    SaveDateSupported,
    /// More bytes than this.
    Larger(u64),
    Smaller(u64),
    /// Internal date this many seconds ago or longer (RFC 5032).
    Older(u32),
    Younger(u32),
    /// Mod-sequence of at least this (RFC 7162 section 3.1.5).
    ModSeq {
        entry: Option<ModSeqEntry>,
        mod_sequence: u64,
    },
    EmailId(String),
    ThreadId(String),
}

impl SearchKey {
    /// Whether it asks for mod-sequences: the answer must tell the highest, and CONDSTORE is on from here.
    pub fn has_mod_sequence(&self) -> bool {
        match self {
            Self::ModSeq { .. } => true,
            Self::And(keys) => keys.iter().any(Self::has_mod_sequence),
            Self::Or(one, other) => one.has_mod_sequence() || other.has_mod_sequence(),
            Self::Not(key) => key.has_mod_sequence(),
            _ => false,
        }
    }
}

/// Whose mod-sequence: that of one flag. A server that keeps one for all flags uses that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModSeqEntry {
    pub flag: Flag,
    pub kind: ModSeqEntryKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModSeqEntryKind {
    Private,
    Shared,
    All,
}

/// SORT and UID SORT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    pub uid: bool,
    /// RFC 5267.
    pub returns: Option<SearchReturn>,
    /// At least one.
    pub criteria: Vec<SortCriterion>,
    pub key: SearchKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortCriterion {
    pub key: SortKey,
    pub reverse: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    Arrival,
    Cc,
    Date,
    From,
    Size,
    Subject,
    To,
    /// RFC 5957, as the next.
    DisplayFrom,
    DisplayTo,
}

/// THREAD and UID THREAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    pub uid: bool,
    pub algorithm: ThreadAlgorithm,
    pub key: SearchKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadAlgorithm {
    OrderedSubject,
    References,
}
