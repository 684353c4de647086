//! A user's mailboxes: their names, the flags and numbers of the messages in them, what is kept of a message so that a
//! mailbox is listed without opening it, and in which order and threads messages are shown.
//!
//! Nothing here knows a store or a protocol's grammar; IMAP's names (RFC 9051 section 2.3) are used because everyone knows
//! them.

mod calendar;
mod digest;
mod flags;
mod name;
mod sort;
mod special_use;
mod subject;
mod thread;
mod uid_set;

pub use calendar::CalendarDay;
pub use digest::{
    Digest, DigestError, KEPT_HEADER_BYTES_MAX, MESSAGE_ID_BYTES_MAX, REFERENCES_MAX, SEARCH_TEXT_BYTES_MAX,
};
pub use flags::{Flags, Keyword, KeywordError, NamedFlags};
pub use name::{MailboxName, MailboxNameError};
pub use sort::{ListedMessage, SortCriterion, SortKey, collation_key, sort};
pub use special_use::SpecialUse;
pub use subject::BaseSubject;
pub use thread::{Thread, ThreadAlgorithm, Threads};
pub use uid_set::UidSet;
