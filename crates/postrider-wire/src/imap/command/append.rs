//! APPEND (RFC 9051 section 6.3.12) with MULTIAPPEND (RFC 3502), CATENATE (RFC 4469), BINARY (RFC 3516) and UTF8
//! (RFC 6855), and REPLACE (RFC 8508).

use bytes::Bytes;

use crate::imap::date::DateTime;
use crate::imap::flag::Flag;
use crate::imap::sequence::SequenceNumber;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    pub mailbox: String,
    /// At least one; either all are kept or none (RFC 3502).
    pub messages: Vec<AppendMessage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendMessage {
    /// Never [`Flag::Recent`].
    pub flags: Vec<Flag>,
    pub internal_date: Option<DateTime>,
    pub data: AppendData,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendData {
    /// The message. It may be empty.
    Message { bytes: Bytes, kind: LiteralKind },
    /// The message is these parts, one behind the other. At least one.
    Catenate(Vec<CatenatePart>),
}

/// How a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiteralKind {
    /// `{n}`: no NUL in it.
    Plain,
    /// `~{n}`: anything may be in it (RFC 3516).
    Literal8,
    /// `UTF8 (~{n} ...)`: headers may be UTF-8 (RFC 6855 section 4).
    Utf8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatenatePart {
    Text(Bytes),
    /// An IMAP URL (RFC 5092), absolute or relative, as it came.
    Url(String),
}

/// REPLACE and UID REPLACE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replace {
    pub uid: bool,
    pub target: SequenceNumber,
    pub mailbox: String,
    pub message: AppendMessage,
}
