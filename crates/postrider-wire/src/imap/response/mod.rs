//! Writers of responses. Each appends to a buffer and allocates nothing else; what they are given is taken at its word.

mod code;
mod fetch;
mod mailbox;
mod search;
mod status;
pub mod text;

pub use self::code::Code;
pub use self::fetch::{FetchLine, expunge, vanished};
pub use self::mailbox::{
    ListLine, StatusValue, capability, enabled, exists, flags, id, list, lsub, metadata, metadata_changed, namespace,
    quota, quota_root, recent, status,
};
pub use self::search::{Esearch, Threading, search, sort, thread};
pub use self::status::{Condition, Status};
pub use self::text::Dialect;
