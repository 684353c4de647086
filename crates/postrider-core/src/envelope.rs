//! The envelope: what travels beside a message in SMTP commands (RFC 5321 section 2.3.1), with the parameters of DSN
//! (RFC 3461), 8BITMIME (RFC 6152) and SMTPUTF8 (RFC 6531).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::{Address, ReversePath};

/// Which way a message goes: kept here, or sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// All its recipients are kept here.
    Inbound,
    /// At least one recipient is delivered to another host.
    Outbound,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// The BODY parameter of MAIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyType {
    #[default]
    SevenBit,
    EightBitMime,
}

/// The RET parameter of MAIL: how much of the message a failure report brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DsnReturn {
    Full,
    Headers,
}

/// The NOTIFY parameter of RCPT (RFC 3461 section 4.1). All false is NEVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}

impl Notify {
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };
}

/// One recipient with what its RCPT command said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    pub address: Address,
    /// What the sender wants to hear; `None` where it did not say, which means failures (RFC 3461 section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// ORCPT as it came: `rfc822;` and the address in xtext (RFC 3461 section 4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_recipient: Option<String>,
}

impl Recipient {
    pub fn new(address: Address) -> Self {
        Self { address, notify: None, original_recipient: None }
    }

    pub fn notifies_of_failure(&self) -> bool {
        self.notify.is_none_or(|n| n.failure)
    }

    pub fn notifies_of_delay(&self) -> bool {
        self.notify.is_some_and(|n| n.delay)
    }

    pub fn notifies_of_success(&self) -> bool {
        self.notify.is_some_and(|n| n.success)
    }
}

/// What MAIL said, without the recipients: those are kept one by one with their deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Envelope {
    pub reverse_path: ReversePath,
    #[serde(default)]
    pub body: BodyType,
    #[serde(default)]
    pub smtputf8: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dsn_return: Option<DsnReturn>,
    /// ENVID as it came, in xtext (RFC 3461 section 4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope_id: Option<String>,
    /// REQUIRETLS (RFC 8689 section 2): it goes only over verified TLS, to hosts that keep to this too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_tls: bool,
}
