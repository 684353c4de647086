//! A user's mailboxes: their names, the flags and numbers of the messages in them, and what is kept of a message so that
//! a mailbox is listed without opening it.
//!
//! Nothing here knows a store or a protocol's grammar; IMAP's names (RFC 9051 section 2.3) are used because everyone knows
//! them.

mod flags;
mod name;
mod special_use;
mod uid_set;

pub use flags::{Flags, Keyword, KeywordError, NamedFlags};
pub use name::{MailboxName, MailboxNameError};
pub use special_use::SpecialUse;
pub use uid_set::UidSet;
