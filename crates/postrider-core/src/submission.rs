//! Mail that an application hands in by a request instead of SMTP: what it brings, and what it is told.
//!
//! How the request came, and how the message was composed, is nobody's business here.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::address::{Address, Domain, ReversePath};
use crate::delivery::{EmailStatus, Reply};
use crate::id::ObjectId;
use crate::instructions::Instructions;
use crate::time::Timestamp;

/// A message with its envelope, to be taken as one from the applications' port of SMTP is.
#[derive(Debug)]
pub struct Submission {
    pub reverse_path: ReversePath,
    /// One that is named twice gets one copy.
    pub recipients: Vec<Address>,
    /// Without trace fields. Bare line ends become CRLF, and a missing Date or Message-ID is added.
    pub message: Bytes,
    pub instructions: Instructions,
    /// It is not to be sent before then.
    pub not_before: Option<Timestamp>,
    /// REQUIRETLS (RFC 8689 section 2).
    pub require_tls: bool,
    /// Whether the message was here before: then it keeps the signatures that it has, and gets none beside them.
    pub is_resent: bool,
    /// The domains in whose name it may be sent, in the envelope and in the message; empty: in anybody's.
    pub sender_domains: Vec<Domain>,
    /// By which the request is known if it comes again.
    pub request: Option<RequestPart>,
}

/// A request's key, as it is kept: a digest of whose it is and what it was given.
pub type RequestKey = [u8; 32];

/// One of the e-mails that a request with a key brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPart {
    pub key: RequestKey,
    /// Its place among the e-mails of the request, from 0.
    pub number: u32,
    /// Differs where the request is another.
    pub fingerprint: [u8; 32],
}

/// What became of a submission that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Submitted {
    pub id: ObjectId,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// `queued`, or `received` where all of its recipients are here.
    pub status: EmailStatus,
    pub recipients: Vec<SubmittedRecipient>,
}

/// What became of one recipient, in the order in which they were named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubmittedRecipient {
    pub address: Address,
    pub status: RecipientStatus,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Reply>,
}

crate::delivery::statuses! {
    /// Where a recipient's mail went.
    RecipientStatus {
        /// It is delivered to another host.
        Queued = "queued",
        /// It is kept here.
        Received = "received",
        /// It is not taken for this recipient.
        Refused = "refused",
    }
}

/// Why a submission was not taken. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// Tried again as it is, it fails again.
    #[error("{0}")]
    Refused(Reply),
    /// Of every recipient, why.
    #[error("no recipient was accepted")]
    NoRecipients(Vec<SubmittedRecipient>),
    #[error("the message is longer than {bytes_max} bytes (MAX_EMAIL_SIZE)")]
    TooLarge { bytes_max: usize },
    /// It is in the name of none of [`Submission::sender_domains`], or whom it is from cannot be told.
    #[error("the sender is at none of the domains that are allowed")]
    Sender,
    /// Mail cannot leave from the address that it asks for ([`Instructions::source_ip`]).
    #[error("{0} is no address of this host that mail can leave from")]
    SourceIp(std::net::IpAddr),
    /// It may be taken at another time.
    #[error("{0}")]
    NotNow(Reply),
    /// This part of the request was carried out before; what became of it is kept.
    #[error("the request was carried out before")]
    Known,
}

/// What submissions are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubmissionLimits {
    /// Of the message, as it is sent.
    pub message_bytes_max: usize,
    pub recipients_max: usize,
}
