//! What clients ask, as values. All that a parser can decide is decided here: names are UTF-8, macros are spelt out,
//! dates exist, sets are sets. What a command does is for others.
//!
//! The machine answers CAPABILITY, LOGOUT, STARTTLS, AUTHENTICATE, LOGIN, IDLE and COMPRESS by itself, with events of
//! their own where the driver has a part; they do not come as commands.

mod append;
mod fetch;
mod list;
mod notify;
mod search;

pub use self::append::{Append, AppendData, AppendMessage, CatenatePart, LiteralKind, Replace};
pub use self::fetch::{Fetch, FetchItem, Partial, Section, SectionText, Store, StoreAction};
pub use self::list::{List, ListReturn, ListSelection, Lsub, StatusItem};
pub use self::notify::{EventGroup, MailboxFilter, Notify, NotifyEvent};
pub use self::search::{
    ModSeqEntry, ModSeqEntryKind, Search, SearchKey, SearchReturn, Sort, SortCriterion, SortKey, Thread,
    ThreadAlgorithm,
};

use bytes::Bytes;

use super::flag::SpecialUse;
use super::sequence::{MessageSet, SequenceSet};

/// One command of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What the client will know the answer by. Never empty; printable ASCII.
    pub tag: String,
    pub body: CommandBody,
}

/// Names of mailboxes are UTF-8, whatever they were sent as; INBOX is `INBOX`. They have no control characters and hold
/// to [`Limits::mailbox_name_bytes_max`](super::server::Limits::mailbox_name_bytes_max). Whether a mailbox of such a
/// name may exist is for others to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandBody {
    Noop,
    /// RFC 2971. Fields in the client's order; none where it sent NIL.
    Id(Vec<(String, Option<String>)>),
    /// RFC 5161. Answer with [`response::enabled`](super::response::enabled) of what was not enabled yet, after
    /// [`Session::enable`](super::server::Session::enable).
    Enable(Vec<Extension>),
    /// SELECT and EXAMINE.
    Select(Select),
    Create(Create),
    Delete {
        mailbox: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Subscribe {
        mailbox: String,
    },
    Unsubscribe {
        mailbox: String,
    },
    List(List),
    Lsub(Lsub),
    /// RFC 2342.
    Namespace,
    Status {
        mailbox: String,
        /// In the client's order, each once.
        items: Vec<StatusItem>,
    },
    Append(Append),
    /// RFC 8508.
    Replace(Replace),
    /// RFC 9208.
    GetQuota {
        root: String,
    },
    GetQuotaRoot {
        mailbox: String,
    },
    SetQuota {
        root: String,
        /// Name of a resource in the client's case, and its limit.
        limits: Vec<(String, u64)>,
    },
    Check,
    Close,
    Unselect,
    /// `uids`: UID EXPUNGE, only these (RFC 4315).
    Expunge {
        uids: Option<MessageSet>,
    },
    Search(Search),
    /// RFC 5256.
    Sort(Sort),
    Thread(Thread),
    Fetch(Fetch),
    Store(Store),
    Copy {
        uid: bool,
        set: MessageSet,
        mailbox: String,
    },
    /// RFC 6851.
    Move {
        uid: bool,
        set: MessageSet,
        mailbox: String,
    },
    /// RFC 5464.
    GetMetadata(GetMetadata),
    SetMetadata(SetMetadata),
    /// RFC 5465.
    Notify(Notify),
}

/// What ENABLE names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    Condstore,
    Qresync,
    /// `UTF8=ACCEPT` (RFC 6855).
    Utf8Accept,
    Imap4Rev2,
    /// Unknown here: to be passed over in silence (RFC 5161 section 3.1).
    Other(String),
}

impl Extension {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Condstore => "CONDSTORE",
            Self::Qresync => "QRESYNC",
            Self::Utf8Accept => "UTF8=ACCEPT",
            Self::Imap4Rev2 => "IMAP4rev2",
            Self::Other(name) => name,
        }
    }
}

/// SELECT and EXAMINE (RFC 9051 sections 6.3.2, 6.3.3) with the parameters of RFC 7162.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    pub mailbox: String,
    /// EXAMINE.
    pub read_only: bool,
    pub condstore: bool,
    pub qresync: Option<Qresync>,
}

/// What a client knows of a mailbox (RFC 7162 section 3.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qresync {
    pub uid_validity: u32,
    /// At least 1.
    pub mod_sequence: u64,
    pub known_uids: Option<SequenceSet>,
    /// Sequence numbers, and the UIDs that they had.
    pub sequence_match: Option<(SequenceSet, SequenceSet)>,
}

/// CREATE, with what the mailbox is for (RFC 6154 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// May end with the hierarchy delimiter: the client means to make mailboxes below it (RFC 9051 section 6.3.4).
    pub mailbox: String,
    pub special_use: Vec<SpecialUse>,
}

/// GETMETADATA (RFC 5464 section 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetMetadata {
    /// Empty: the server's.
    pub mailbox: String,
    /// Longer values are not wanted; in bytes.
    pub max_size_bytes: Option<u64>,
    pub depth: MetadataDepth,
    /// Names in the client's case; each begins with `/private/` or `/shared/` in any case.
    pub entries: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetadataDepth {
    /// The entry alone.
    #[default]
    Zero,
    /// And those right below it.
    One,
    Infinity,
}

/// SETMETADATA (RFC 5464 section 4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMetadata {
    /// Empty: the server's.
    pub mailbox: String,
    /// `None`: the entry is to go.
    pub entries: Vec<(String, Option<Bytes>)>,
}
