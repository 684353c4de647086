//! Deliveries: one message to one recipient, what has been tried, and what came of it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::source::SourceDecision;
use crate::time::Timestamp;

/// Defines a status with its name as users see it, so that the name stands once.
macro_rules! statuses {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:tt,)+ }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
        )]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("{text:?} is none of {}", [$($text),+].join(", "))),
                }
            }
        }
    };
}

pub(crate) use statuses;

statuses! {
    /// The state of one delivery as the store keeps it. That it is being sent right now is no state of its own but a
    /// claim on it (see the store's queue trait): a claim may lapse without anyone writing that down.
    DeliveryStatus {
        /// Never tried yet.
        Queued = "queued",
        /// Tried, and to be tried again.
        Deferred = "deferred",
        /// Accepted by the other side. Final.
        Sent = "sent",
        /// Refused for good, or expired. Final, unless somebody asks for a retry.
        Failed = "failed",
        /// Waits until somebody releases it.
        Held = "held",
        /// Given up by somebody's order. Final, unless somebody asks for a retry.
        Cancelled = "cancelled",
    }
}

impl DeliveryStatus {
    /// Whether the queue will try it, by itself, at some time.
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Queued | Self::Deferred)
    }
}

statuses! {
    /// The state of an e-mail: of its deliveries together, or [`EmailStatus::Received`] where it has none.
    EmailStatus {
        /// Kept here; nothing to deliver elsewhere.
        Received = "received",
        Queued = "queued",
        /// A node is sending at least one of its deliveries right now.
        Sending = "sending",
        Deferred = "deferred",
        Sent = "sent",
        Failed = "failed",
        Held = "held",
        Cancelled = "cancelled",
    }
}

impl EmailStatus {
    /// The status of an e-mail whose deliveries have these: what still moves comes before what rests, bad news before
    /// good. Never [`EmailStatus::Sending`]: that overlay belongs to whoever knows the claims.
    pub fn of(deliveries: impl IntoIterator<Item = DeliveryStatus>) -> Self {
        let rank = |status: DeliveryStatus| match status {
            DeliveryStatus::Queued => 0,
            DeliveryStatus::Deferred => 1,
            DeliveryStatus::Held => 2,
            DeliveryStatus::Failed => 3,
            DeliveryStatus::Sent => 4,
            DeliveryStatus::Cancelled => 5,
        };
        match deliveries.into_iter().min_by_key(|&status| rank(status)) {
            None => Self::Received,
            Some(DeliveryStatus::Queued) => Self::Queued,
            Some(DeliveryStatus::Deferred) => Self::Deferred,
            Some(DeliveryStatus::Held) => Self::Held,
            Some(DeliveryStatus::Failed) => Self::Failed,
            Some(DeliveryStatus::Sent) => Self::Sent,
            Some(DeliveryStatus::Cancelled) => Self::Cancelled,
        }
    }
}

statuses! {
    /// Why a delivery did not succeed: the first thing that an application sorts by.
    Category {
        /// The mailbox does not exist or takes no mail.
        BadMailbox = "bad-mailbox",
        /// The domain does not exist or takes no mail (null MX, RFC 7505).
        BadDomain = "bad-domain",
        /// Refused by a rule: reputation, authentication, relaying denied.
        Policy = "policy",
        /// Refused for what the message contains.
        Content = "content",
        /// The mailbox or the other system is full, or the message is too large.
        Quota = "quota",
        /// Names could not be resolved for now.
        Dns = "dns",
        /// No connection, or it broke.
        Connection = "connection",
        /// STARTTLS or the handshake failed.
        Tls = "tls",
        /// The other side did not answer in time.
        Timeout = "timeout",
        /// The other side said "not now" and nothing more exact.
        Temporary = "temporary",
        /// The other side does not speak the protocol, or lacks an extension that the message needs.
        Protocol = "protocol",
        /// Tried for as long as the schedule allows.
        Expired = "expired",
        /// Refused for good, and nothing more exact is known.
        Other = "other",
    }
}

statuses! {
    /// By what a mail server proves that it is the one that the mail is for.
    TlsAuthentication {
        /// A certificate that its domain's TLSA records, proven by DNSSEC, speak of (RFC 7672).
        Dane = "dane",
        /// A certificate for its name by an authority that is trusted here (RFC 5280), as MTA-STS and others ask for.
        Pkix = "pkix",
    }
}

statuses! {
    /// Why nothing is sent to an address any more.
    SuppressionReason {
        /// The other side said for good that there is no such mailbox.
        HardBounce = "hard-bounce",
        /// The recipient reported a message as unwanted (RFC 5965).
        Complaint = "complaint",
        /// Somebody here listed it.
        Manual = "manual",
    }
}

impl Category {
    /// Reads the category out of a negative reply, by the rules of [`crate::bounce`].
    pub fn of_reply(reply: &Reply) -> Self {
        crate::bounce::classify_reply(reply).category
    }
}

/// A reply of an SMTP server as the records keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    pub code: u16,
    /// `5.1.1` (RFC 3463), where the server gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enhanced_code: Option<String>,
    /// The lines' texts, without codes, joined by line feeds.
    pub text: String,
}

impl Reply {
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = &self.enhanced_code {
            write!(f, " {enhanced}")?;
        }
        write!(f, " {}", self.text)
    }
}

/// How a connection was encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TlsInfo {
    /// `TLSv1.3`
    pub version: String,
    /// `TLS13_AES_256_GCM_SHA384`
    pub cipher: String,
    /// By what the other side proved to be the one that the mail was for; absent where it was not asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<TlsAuthentication>,
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", tag = "result")]
pub enum Outcome {
    Delivered {
        reply: Reply,
    },
    /// Not now: the delivery is tried again, unless it expires.
    Deferred {
        category: Category,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply: Option<Reply>,
        reason: String,
    },
    /// Never.
    Failed {
        category: Category,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply: Option<Reply>,
        reason: String,
    },
}

impl Outcome {
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Delivered { reply } => Some(reply),
            Self::Deferred { reply, .. } | Self::Failed { reply, .. } => reply.as_ref(),
        }
    }

    pub fn category(&self) -> Option<Category> {
        match self {
            Self::Delivered { .. } => None,
            Self::Deferred { category, .. } | Self::Failed { category, .. } => Some(*category),
        }
    }

    /// In a sentence, what stood in the way; `None` for a success.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Delivered { .. } => None,
            Self::Deferred { reply: Some(reply), .. } | Self::Failed { reply: Some(reply), .. } => {
                Some(reply.to_string())
            }
            Self::Deferred { reason, .. } | Self::Failed { reason, .. } => Some(reason.clone()),
        }
    }
}

/// One command of an attempt and the reply to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Exchange {
    /// `EHLO`, `MAIL`, `RCPT`, `DATA`, `.` for the end of data, `connect` for the greeting.
    pub command: String,
    pub reply: Reply,
}

/// One attempt to deliver to one recipient, kept for as long as the e-mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    pub started_at: Timestamp,
    #[serde(rename = "durationMs", with = "millis")]
    #[schema(value_type = u64)]
    pub duration: Duration,
    /// The host that was spoken to, or the last that was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mx: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub mx_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub source_ip: Option<IpAddr>,
    /// How the source address was chosen; absent where nobody chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_selection: Option<SourceDecision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsInfo>,
    /// What the other side answered, in order. On a reused connection it starts at MAIL.
    pub exchanges: Vec<Exchange>,
    pub outcome: Outcome,
}

/// A duration in whole milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_millis() as u64)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_is_what_its_deliveries_are() {
        use DeliveryStatus::*;
        assert_eq!(EmailStatus::of([]), EmailStatus::Received);
        assert_eq!(EmailStatus::of([Sent, Failed, Deferred]), EmailStatus::Deferred);
        assert_eq!(EmailStatus::of([Sent, Queued]), EmailStatus::Queued);
        assert_eq!(EmailStatus::of([Sent, Failed]), EmailStatus::Failed);
        assert_eq!(EmailStatus::of([Cancelled, Sent]), EmailStatus::Sent);
        assert_eq!(EmailStatus::of([Cancelled]), EmailStatus::Cancelled);
    }

    #[test]
    fn names_and_statuses_are_one() {
        for &status in EmailStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert!("sendin".parse::<EmailStatus>().unwrap_err().contains("sending"));
    }

    #[test]
    fn categories_of_replies() {
        let category = |code, enhanced: Option<&str>| {
            Category::of_reply(&Reply { code, enhanced_code: enhanced.map(Into::into), text: String::new() })
        };
        assert_eq!(category(550, Some("5.1.1")), Category::BadMailbox);
        assert_eq!(category(550, Some("5.7.26")), Category::Policy);
        assert_eq!(category(552, Some("5.2.2")), Category::Quota);
        assert_eq!(category(554, Some("5.6.0")), Category::Content);
        assert_eq!(category(550, None), Category::BadMailbox);
        assert_eq!(category(451, None), Category::Temporary);
        assert_eq!(category(450, Some("broken")), Category::Temporary);
    }
}
