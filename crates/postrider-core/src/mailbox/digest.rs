//! What is kept of a message so that mailboxes are listed, searched by header, sorted and threaded without opening it.
//!
//! A digest is its encoded form: one buffer, made once when the message is accepted, stored as it is and read in place. What
//! searches touch stands first. It knows no mailbox: flags, UID and dates of arrival are not the message's.

mod date;
mod encode;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use thiserror::Error;

use super::calendar::CalendarDay;
use crate::Timestamp;
use crate::mime::{Fields, Structure};

/// The header fields that are kept. Where they are longer together, [`Digest::header_fields`] knows none.
pub const KEPT_HEADER_BYTES_MAX: usize = 32 << 10;

/// The bytes of a decoded field that searches see.
pub const SEARCH_TEXT_BYTES_MAX: usize = 16 << 10;

/// Message-IDs kept of References: the first and the last ones.
pub const REFERENCES_MAX: usize = 100;

/// A longer Message-ID is none.
pub const MESSAGE_ID_BYTES_MAX: usize = 998;

/// What mail programs ask for when they list a mailbox, in lower case.
const KEPT_FIELDS: &[&str] = &[
    "auto-submitted",
    "bcc",
    "cc",
    "chat-version",
    "content-class",
    "content-description",
    "content-disposition",
    "content-id",
    "content-language",
    "content-transfer-encoding",
    "content-type",
    "date",
    "delivered-to",
    "disposition-notification-to",
    "envelope-to",
    "followup-to",
    "from",
    "importance",
    "in-reply-to",
    "lines",
    "list-id",
    "list-post",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "mail-followup-to",
    "mail-reply-to",
    "mailing-list",
    "message-id",
    "mime-version",
    "newsgroups",
    "organization",
    "precedence",
    "priority",
    "references",
    "reply-to",
    "return-path",
    "return-receipt-to",
    "sender",
    "sensitivity",
    "subject",
    "to",
    "user-agent",
    "x-draft-info",
    "x-forwarded-message-id",
    "x-label",
    "x-mailer",
    "x-mailing-list",
    "x-mozilla-draft-info",
    "x-msmail-priority",
    "x-original-to",
    "x-priority",
    "x-spam-flag",
    "x-spam-score",
    "x-spam-status",
    "x-tuid",
    "x-uniform-type-identifier",
    "x-universally-unique-identifier",
];

/// The encoded digest: see the module. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest(Bytes);

/// The bytes are no digest of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the digest of a message is damaged or of another version")]
pub struct DigestError;

/// The first byte: changed when the encoding is.
const VERSION: u8 = 1;

/// Bits of the second byte.
const HEADER_IS_COMPLETE: u8 = 1;
const HAS_ATTACHMENT: u8 = 2;
const HAS_SENT_AT: u8 = 4;
const IS_REPLY_OR_FORWARD: u8 = 8;

/// Where the fixed numbers stand: version, bits, two bytes for later, then these, then the ends of the texts.
const HEADER_BYTES_AT: usize = 4;
const SENT_AT_AT: usize = 8;
const SENT_DAY_AT: usize = 16;
const ENDS_AT: usize = 20;

/// The texts, in the order in which they stand.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Subject,
    From,
    To,
    Cc,
    Bcc,
    SubjectKey,
    FromKey,
    ToKey,
    CcKey,
    DisplayFromKey,
    DisplayToKey,
    ThreadId,
    MessageId,
    InReplyTo,
    References,
    Preview,
    Envelope,
    Body,
    BodyStructure,
    Header,
}

const SLOTS: usize = Slot::Header as usize + 1;
const TEXTS_AT: usize = ENDS_AT + 4 * SLOTS;

impl Digest {
    /// Of a message as it is stored.
    pub fn of(raw: &[u8]) -> Self {
        Self::of_structure(raw, &Structure::parse(raw))
    }

    /// As [`Digest::of`], where the structure is known already.
    pub fn of_structure(raw: &[u8], structure: &Structure) -> Self {
        encode::encode(raw, structure)
    }

    /// Takes what [`Digest::as_bytes`] gave. Reads no more than where the texts end.
    pub fn decode(bytes: Bytes) -> Result<Self, DigestError> {
        if bytes.len() < TEXTS_AT || bytes[0] != VERSION {
            return Err(DigestError);
        }
        let digest = Self(bytes);
        let mut start = TEXTS_AT;
        for slot in 0..SLOTS {
            let end = digest.number(ENDS_AT + 4 * slot) as usize;
            if end < start {
                return Err(DigestError);
            }
            start = end;
        }
        if start != digest.0.len() { Err(DigestError) } else { Ok(digest) }
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// IMAP's ENVELOPE with its parentheses, ready for the wire (RFC 3501 section 7.4.2). May contain literals.
    pub fn envelope(&self) -> &[u8] {
        self.slot(Slot::Envelope)
    }

    /// BODYSTRUCTURE, likewise.
    pub fn body_structure(&self) -> &[u8] {
        self.slot(Slot::BodyStructure)
    }

    /// BODY: BODYSTRUCTURE without its extension data.
    pub fn body(&self) -> &[u8] {
        self.slot(Slot::Body)
    }

    /// The length of the message's header section with its empty line.
    pub fn header_bytes(&self) -> u32 {
        self.number(HEADER_BYTES_AT)
    }

    /// What `BODY[HEADER.FIELDS (names)]` answers: those fields verbatim, in the message's order, and an empty line.
    /// `None`: a name is not among those that are kept, or they were too long; the message must be opened.
    pub fn header_fields<N: AsRef<[u8]>>(&self, names: &[N]) -> Option<Vec<u8>> {
        let mut selected = Vec::with_capacity(512);
        self.write_header_fields(names, &mut selected).then_some(selected)
    }

    /// As [`Digest::header_fields`], appended to `out`. `false` and nothing appended where that is `None`.
    pub fn write_header_fields<N: AsRef<[u8]>>(&self, names: &[N], out: &mut Vec<u8>) -> bool {
        if !self.has_bit(HEADER_IS_COMPLETE) || !names.iter().all(|name| Self::keeps_field(name.as_ref())) {
            return false;
        }
        for field in Fields::new(self.slot(Slot::Header)) {
            if names.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_ref())) {
                out.extend_from_slice(field.line);
            }
        }
        out.extend_from_slice(b"\r\n");
        true
    }

    /// Whether fields of that name are kept.
    pub fn keeps_field(name: &[u8]) -> bool {
        // Nearly all names that are not kept are told by their first letter and length.
        let Some(first) = name.first().map(u8::to_ascii_lowercase) else { return false };
        KEPT_FIELDS.iter().any(|kept| {
            kept.len() == name.len() && kept.as_bytes()[0] == first && kept.as_bytes().eq_ignore_ascii_case(name)
        })
    }

    /// Whether [`Digest::header_fields`] can answer at all.
    pub fn header_is_complete(&self) -> bool {
        self.has_bit(HEADER_IS_COMPLETE)
    }

    /// Decoded, without folds; at most [`SEARCH_TEXT_BYTES_MAX`], as the address texts.
    pub fn subject(&self) -> &str {
        self.text(Slot::Subject)
    }

    /// The From field as text, decoded: `Name <local@domain>, ...`. For SEARCH FROM.
    pub fn from(&self) -> &str {
        self.text(Slot::From)
    }

    pub fn to(&self) -> &str {
        self.text(Slot::To)
    }

    pub fn cc(&self) -> &str {
        self.text(Slot::Cc)
    }

    pub fn bcc(&self) -> &str {
        self.text(Slot::Bcc)
    }

    /// The Date field in UTC; `None` where there is none that can be read: RFC 5256 then takes the time of arrival.
    pub fn sent_at(&self) -> Option<Timestamp> {
        let bytes = self.0[SENT_AT_AT..SENT_AT_AT + 8].try_into().unwrap_or_default();
        self.has_bit(HAS_SENT_AT).then(|| Timestamp::from_millis(i64::from_le_bytes(bytes)))
    }

    /// The day that the Date field names, in its own zone: for SENTON, SENTBEFORE, SENTSINCE (RFC 3501 section 6.4.4).
    pub fn sent_day(&self) -> Option<CalendarDay> {
        self.has_bit(HAS_SENT_AT).then(|| CalendarDay::from_days(self.number(SENT_DAY_AT) as i32))
    }

    /// Without angle brackets, quotes and blanks, as threading compares it; empty where there is none.
    pub fn message_id(&self) -> &str {
        self.text(Slot::MessageId)
    }

    /// The first Message-ID in In-Reply-To, likewise.
    pub fn in_reply_to(&self) -> &str {
        self.text(Slot::InReplyTo)
    }

    /// The Message-IDs in References, oldest first; those of In-Reply-To do not stand here.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.text(Slot::References).split(' ').filter(|id| !id.is_empty())
    }

    /// The same for all messages of a conversation (RFC 8474 section 5.3), as far as they name its first one. Only for
    /// grouping: whoever wants to can make two messages share one. `None` where the message names none, not even itself.
    pub fn thread_id(&self) -> Option<&str> {
        Some(self.text(Slot::ThreadId)).filter(|id| !id.is_empty())
    }

    /// Up to 200 characters of the message's text, for PREVIEW (RFC 8970).
    pub fn preview(&self) -> &str {
        self.text(Slot::Preview)
    }

    /// Whether a part is offered as a file.
    pub fn has_attachment(&self) -> bool {
        self.has_bit(HAS_ATTACHMENT)
    }

    /// Whether the subject has the mark of a reply or forward (RFC 5256 section 2.1).
    pub fn is_reply_or_forward(&self) -> bool {
        self.has_bit(IS_REPLY_OR_FORWARD)
    }

    /// The base subject as [`super::collation_key`] makes it comparable, like the other keys: compare their bytes.
    pub fn subject_key(&self) -> &[u8] {
        self.slot(Slot::SubjectKey)
    }

    /// The local part of the first address of From; empty where there is none (RFC 5256 section 3).
    pub fn from_key(&self) -> &[u8] {
        self.slot(Slot::FromKey)
    }

    pub fn to_key(&self) -> &[u8] {
        self.slot(Slot::ToKey)
    }

    pub fn cc_key(&self) -> &[u8] {
        self.slot(Slot::CcKey)
    }

    /// The first address of From as it is displayed (RFC 5957 section 3).
    pub fn display_from_key(&self) -> &[u8] {
        self.slot(Slot::DisplayFromKey)
    }

    pub fn display_to_key(&self) -> &[u8] {
        self.slot(Slot::DisplayToKey)
    }

    fn slot(&self, slot: Slot) -> &[u8] {
        let slot = slot as usize;
        let start = if slot == 0 { TEXTS_AT } else { self.number(ENDS_AT + 4 * (slot - 1)) as usize };
        let end = self.number(ENDS_AT + 4 * slot) as usize;
        // `decode` and `Encoder` see to it that they are in order.
        self.0.get(start..end).unwrap_or_default()
    }

    fn text(&self, slot: Slot) -> &str {
        std::str::from_utf8(self.slot(slot)).unwrap_or_default()
    }

    fn number(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap_or_default())
    }

    fn has_bit(&self, bit: u8) -> bool {
        self.0[1] & bit != 0
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digest").field("message_id", &self.message_id()).field("bytes", &self.0.len()).finish()
    }
}
