//! What a session is told when it begins: names, what is offered, limits. It knows no setting and no default of users.

use crate::sasl::ChannelBinding;

/// What all sessions of a listener share.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub protocol: Protocol,
    /// The name in the greeting and in the answer to EHLO.
    pub hostname: String,
    /// What follows `220 hostname ESMTP` (or `LMTP`) in the greeting; may be empty.
    pub banner: String,
    pub limits: Limits,
    /// Whether STARTTLS is offered to sessions that are not encrypted.
    pub starttls: bool,
    /// Whether DSN (RFC 3461) is offered; where not, its parameters are refused.
    pub dsn: bool,
    /// Whether MT-PRIORITY (RFC 6710) is offered; where not, its parameter is refused.
    pub priorities: bool,
    pub auth: AuthPolicy,
    /// Whether bare CR and LF in messages become CRLF instead of refusing the message. For trusted networks only.
    pub repair_line_ends: bool,
    /// From this the salts are made that unknown users seem to have. To be the same on all nodes and after restarts, or
    /// the change betrays who is unknown.
    pub scram_decoy_key: [u8; 32],
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Smtp,
    /// RFC 2033: LHLO in place of EHLO and HELO, and after the data one reply for each recipient that was accepted.
    Lmtp,
}

/// When AUTH is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthPolicy {
    Never,
    /// Only where the session is encrypted.
    TlsOnly,
    /// Also in the clear. For loopback only.
    Always,
}

/// Every length and number that a peer controls.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of a command line with its CRLF. RFC 5321 section 4.5.3.1.4 asks for 512, and more for what extensions add.
    pub command_line_bytes_max: usize,
    /// Of a line of an AUTH exchange with its CRLF (RFC 4954 section 4).
    pub auth_line_bytes_max: usize,
    /// Of a line of a message with its CRLF. RFC 5321 section 4.5.3.1.6 asks for 1,000; real mail has longer ones.
    pub text_line_bytes_max: usize,
    /// Accepted in one transaction. RFC 5321 section 4.5.3.1.8 asks for 100.
    pub recipients_max: usize,
    /// Of a message as the client sends it; announced by SIZE (RFC 1870).
    pub message_bytes_max: usize,
    /// Of a refused message that are read only to be thrown away, beyond `message_bytes_max`, before the session ends.
    pub discarded_bytes_max: u64,
    /// Commands answered with 5xx since the last accepted message; the next one ends the session. Refused recipients
    /// are counted apart.
    pub errors_max: usize,
    /// Recipients refused with 5xx since the last accepted message; the next one ends the session.
    pub refused_recipients_max: usize,
    /// Reserved at once for a message whose size was announced. What goes beyond is reserved as it comes.
    pub reserved_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_line_bytes_max: 4096,
            auth_line_bytes_max: 12_288,
            text_line_bytes_max: 1 << 20,
            recipients_max: 1000,
            message_bytes_max: 10_485_760,
            discarded_bytes_max: 256 << 20,
            errors_max: 20,
            refused_recipients_max: 200,
            reserved_bytes_max: 256 << 10,
        }
    }
}

impl ServerConfig {
    /// A configuration that offers all but STARTTLS, AUTH and MT-PRIORITY, with default limits and a decoy key of this process alone.
    pub fn new(hostname: impl Into<String>) -> Self {
        let mut scram_decoy_key = [0; 32];
        // Without random numbers the decoy salts could be guessed; nothing else hangs on this key.
        let _ = getrandom::fill(&mut scram_decoy_key);
        Self {
            protocol: Protocol::Smtp,
            hostname: hostname.into(),
            banner: String::new(),
            limits: Limits::default(),
            starttls: false,
            dsn: true,
            priorities: false,
            auth: AuthPolicy::Never,
            repair_line_ends: false,
            scram_decoy_key,
        }
    }

    /// A configuration of LMTP, with default limits. DSN is not offered: who delivers by LMTP hears of each recipient at
    /// once, and tells the sender itself.
    pub fn lmtp(hostname: impl Into<String>) -> Self {
        Self { protocol: Protocol::Lmtp, dsn: false, ..Self::new(hostname) }
    }
}

/// How long messages are held for later, as EHLO tells it (RFC 4865 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FutureRelease {
    pub seconds_max: u64,
    /// The same as a date-time (RFC 3339), by the driver's clock.
    pub date_time_max: String,
}

/// What the session must know of its encryption.
#[derive(Debug, Clone, Default)]
pub struct TlsFacts {
    /// What SCRAM-SHA-256-PLUS binds to; without it that mechanism is not offered.
    pub channel_binding: Option<ChannelBinding>,
}
