//! Parameters of MAIL and RCPT that both sides speak of (RFC 6152, RFC 3461, RFC 4865).

/// BODY (RFC 6152).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyType {
    #[default]
    SevenBit,
    EightBitMime,
}

/// RET (RFC 3461 section 4.3): how much of the message a failure report brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DsnReturn {
    Full,
    Headers,
}

/// Before when a message is not to be sent (RFC 4865 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// HOLDFOR: so long from now.
    ForSeconds(u64),
    /// HOLDUNTIL: a date-time of RFC 3339, as it came.
    Until(String),
}

/// NOTIFY (RFC 3461 section 4.1): of what the sender wants to hear. All false is NEVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}
