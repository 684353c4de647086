//! Limits on what peers may make the server do. Those that operators set are in `postrider-config`.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Named limits of the server, each with its unit last.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open sessions of all listeners together; more are answered 421.
    pub sessions_max: usize,
    /// Open sessions of one address, or IPv6 network ([`counted_address`]), that is not in `TRUSTED_NETWORKS`.
    pub sessions_per_address_max: usize,
    /// Bytes of messages held in memory by all sessions and the queue together; past it DATA is answered 452.
    pub memory_bytes_max: usize,
    /// How long a session waits for the next command, to the end of its line (RFC 5321 section 4.5.3.2.7).
    pub command_timeout: Duration,
    /// How long a session waits for the next bytes of a message (the client's side is 3 minutes, RFC 5321 section
    /// 4.5.3.2.5).
    pub data_timeout: Duration,
    /// How long a whole message may take, from the permission to send it to its end, however steadily it trickles in.
    pub message_time_max: Duration,
    /// How long a session waits for the store, to keep a message above all. The client waits for 10 minutes (RFC 5321 section
    /// 4.5.3.2.6), and sends the message again if it gives up while we do not.
    pub store_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the peer may leave our replies unread.
    pub write_timeout: Duration,
    /// How long one session may last, however active it is.
    pub session_time_max: Duration,
    /// Recipients of one message.
    pub recipients_max: usize,
    /// How long a message may be held for later (RFC 4865), from its acceptance.
    pub hold_max: Duration,
    /// Faulty commands in one session.
    pub errors_max: usize,
    /// One text line of a message, in bytes, without its CRLF.
    pub text_line_bytes_max: usize,
    /// How long an IMAP client may take to log in, from its last answer on.
    pub imap_login_timeout: Duration,
    /// How long an IMAP client that is logged in may be silent (RFC 9051 section 5.4: at least 30 minutes).
    pub imap_idle_timeout: Duration,
    /// In IDLE the server says something at least this often.
    pub imap_idle_notice: Duration,
    /// Open IMAP sessions of one user.
    pub imap_connections_per_user_max: usize,
    /// The lease on life of this node; its claims on deliveries hold as long.
    pub lease: Duration,
    /// How often the queue looks into the store for what others put there.
    pub queue_poll: Duration,
    /// Claimed deliveries of one recipient domain, as a multiple of its concurrency: enough that commits, which take their
    /// time, do not set its pace.
    pub claims_per_domain_slot: usize,
    /// Claimed deliveries in all, as a multiple of the concurrency: enough that domains that do not move leave room for
    /// others.
    pub claims_per_slot: usize,
    /// How long a connection is kept for further mail to the same destination.
    pub connection_idle: Duration,
    /// Messages on one connection.
    pub messages_per_connection_max: u32,
    /// The port at which MTA-STS policies are fetched (RFC 8461 section 3.3).
    pub mta_sts_port: u16,
    /// Reports of TLS leave within this time after their day (RFC 8460 section 4.1).
    pub tls_report_spread: Duration,
    /// How long asking an authority for a certificate may take, all in all.
    pub acme_order_max: Duration,
    /// Deferred deliveries with NOTIFY=DELAY are told of after this time.
    pub delay_notice_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 10_000,
            sessions_per_address_max: 100,
            memory_bytes_max: 256 << 20,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            message_time_max: Duration::from_secs(3600),
            store_timeout: Duration::from_secs(120),
            handshake_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(300),
            session_time_max: Duration::from_secs(24 * 3600),
            recipients_max: 1000,
            hold_max: Duration::from_secs(365 * 24 * 3600),
            errors_max: 20,
            text_line_bytes_max: 1 << 20,
            imap_login_timeout: Duration::from_secs(180),
            imap_idle_timeout: Duration::from_secs(30 * 60),
            imap_idle_notice: Duration::from_secs(4 * 60),
            imap_connections_per_user_max: 100,
            lease: Duration::from_secs(30),
            queue_poll: Duration::from_secs(1),
            claims_per_domain_slot: 25,
            claims_per_slot: 50,
            connection_idle: Duration::from_secs(10),
            messages_per_connection_max: 1000,
            mta_sts_port: 443,
            tls_report_spread: Duration::from_secs(4 * 3600),
            acme_order_max: Duration::from_secs(600),
            delay_notice_after: Duration::from_secs(4 * 3600),
        }
    }
}

/// The address that limits count a peer by: an IPv6 host commonly has a whole /64 network to itself (RFC 6177).
pub(crate) fn counted_address(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}
