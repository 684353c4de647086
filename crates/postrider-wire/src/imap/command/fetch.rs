//! FETCH and STORE (RFC 9051 sections 6.4.5, 6.4.6) with BINARY (RFC 3516), CONDSTORE and QRESYNC (RFC 7162), OBJECTID
//! (RFC 8474), SAVEDATE (RFC 8514) and PREVIEW (RFC 8970).

use crate::imap::flag::Flag;
use crate::imap::sequence::MessageSet;

/// FETCH and UID FETCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    pub uid: bool,
    pub set: MessageSet,
    /// Macros spelt out, in the client's order, none twice. UID FETCH has [`FetchItem::Uid`] whether it was asked or not,
    /// and CHANGEDSINCE has [`FetchItem::ModSeq`].
    pub items: Vec<FetchItem>,
    /// Only what changed after this mod-sequence; at least 1.
    pub changed_since: Option<u64>,
    /// With `changed_since` and UID FETCH only: tell also what is gone.
    pub vanished: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItem {
    Uid,
    Flags,
    InternalDate,
    Rfc822Size,
    Envelope,
    /// `BODY` alone: the structure without extension data.
    Body,
    BodyStructure,
    /// `BODY[...]` and `BODY.PEEK[...]`.
    BodySection {
        /// Does not set `\Seen`.
        peek: bool,
        section: Section,
        partial: Option<Partial>,
    },
    /// `RFC822`: all of the message, sets `\Seen` (RFC 3501 only, as the next two).
    Rfc822,
    Rfc822Header,
    /// Sets `\Seen`.
    Rfc822Text,
    /// `BINARY[...]` and `BINARY.PEEK[...]`.
    Binary {
        peek: bool,
        /// Empty: the whole message.
        part: Vec<u32>,
        partial: Option<Partial>,
    },
    BinarySize {
        part: Vec<u32>,
    },
    ModSeq,
    SaveDate,
    Preview {
        /// Only if it costs nothing.
        lazy: bool,
    },
    EmailId,
    ThreadId,
}

/// What stands between the brackets of `BODY[...]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// Numbers of parts from the outside in, each at least 1; empty: the message itself.
    pub part: Vec<u32>,
    /// `None`: all of it.
    pub text: Option<SectionText>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionText {
    Header,
    /// At least one name, as the client wrote them: the answer has to repeat them.
    HeaderFields(Vec<String>),
    HeaderFieldsNot(Vec<String>),
    Text,
    /// Only with a part.
    Mime,
}

/// `<offset.length>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    pub offset: u64,
    /// At least 1.
    pub length: u64,
}

/// STORE and UID STORE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    pub uid: bool,
    pub set: MessageSet,
    /// Only where the mod-sequence is not above this (RFC 7162 section 3.1.3). 0 never holds but for new flags.
    pub unchanged_since: Option<u64>,
    pub action: StoreAction,
    pub silent: bool,
    /// Never [`Flag::Recent`]. May be empty.
    pub flags: Vec<Flag>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreAction {
    Replace,
    Add,
    Remove,
}
