//! Requests that came with a key of their sender's, so that one that comes again is known.

use std::time::Duration;

use postrider_core::Timestamp;
use postrider_core::submission::{RequestKey, RequestPart};

/// How long a request is known.
pub const REQUEST_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What is written of a request together with one of its e-mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    pub part: RequestPart,
    /// What became of it, in JSON: for whoever sends it again.
    pub answer: String,
}

/// A part of a request that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    pub part: RequestPart,
    /// When its e-mail was accepted.
    pub at: Timestamp,
    pub answer: String,
}

impl RequestRecord {
    /// Whether it counts still; those that do not are swept some time later.
    pub fn is_known(&self, now: Timestamp) -> bool {
        now.since(self.at) <= REQUEST_KEPT
    }

    /// The place of a part among all: by key, then by number.
    pub fn place(&self) -> (RequestKey, u32) {
        (self.part.key, self.part.number)
    }
}
