//! The running queue as others see it: where deliveries are that a server has taken on, and what their destinations take.
//!
//! Only what is told. What it follows from is known to the server alone.

use serde::Serialize;

use crate::delivery::{Outcome, statuses};
use crate::time::Timestamp;

/// How the reason of a delivery begins that failed because its recipient is on the suppression list.
pub const SUPPRESSED: &str = "not sent, because the address is on the suppression list";

statuses! {
    /// Where a server is with a delivery that it has taken on.
    Stage {
        /// DNS is asked where it goes.
        Dns = "dns",
        /// It is decided from which address it leaves, by a service perhaps.
        SourceIp = "source-ip",
        /// In the line of its destination.
        InLine = "in-line",
        /// A connection is opened for it.
        Connecting = "connecting",
        /// It has a connection, and waits for room in memory.
        Memory = "memory",
        /// In a transaction.
        Sending = "sending",
    }
}

statuses! {
    /// What the line of a destination waits for.
    LineWait {
        /// For the next message by the number per minute, or by the distance that the destination asked for by its replies.
        RateLimit = "rate-limit",
        /// The destination said that it is too much: nothing is sent for a while.
        Paused = "paused",
        /// All connections that it may have are in use.
        Connections = "connections",
        /// So much is sent to others that there is no place (`QUEUE_CONCURRENCY`).
        Concurrency = "concurrency",
        /// Nobody is connected yet.
        Connecting = "connecting",
    }
}

statuses! {
    /// Why a server has no more connections to a destination than it has at most.
    ConnectionsCause {
        /// `QUEUE_CONCURRENCY_PER_DOMAIN`.
        Setting = "setting",
        /// `SHAPING_FILE`, or what is built in.
        Profile = "profile",
        /// The other servers have the rest.
        Share = "share",
        /// The destination said that it is too much.
        Learnt = "learnt",
        /// More are opened as these come about.
        Growing = "growing",
    }
}

statuses! {
    /// Why a server takes on no more deliveries to a domain.
    ClaimWait {
        /// It has as many to that domain as it takes on at a time.
        DomainFull = "domain-full",
        /// It has as many as it takes on at a time, to all domains.
        Full = "full",
        /// Other servers send to that domain.
        OtherServers = "other-servers",
        /// It sends nothing now: it stops, or its lease has lapsed.
        NotSending = "not-sending",
    }
}

statuses! {
    /// Why a delivery is where it is.
    WhyReason {
        Sent = "sent",
        /// Refused for good.
        Failed = "failed",
        /// Tried for as long as it was to be.
        Expired = "expired",
        /// Its recipient is on the suppression list.
        Suppressed = "suppressed",
        Cancelled = "cancelled",
        Held = "held",
        /// It is not to be sent before a time.
        Scheduled = "scheduled",
        /// It was tried, and is tried again later.
        BackOff = "back-off",
        /// A server takes it on at once.
        Due = "due",
        /// No server sends now.
        NotSending = "not-sending",
        /// Another server has it, or will have it.
        OtherServer = "other-server",
        /// DNS is asked where it goes.
        Dns = "dns",
        /// It is decided from which address it leaves.
        SourceIp = "source-ip",
        /// It is in line, which moves.
        InLine = "in-line",
        /// Its destination is sent so many messages in a time.
        RateLimit = "rate-limit",
        /// Its destination said that it is sent too much.
        Paused = "paused",
        /// All connections to its destination are in use.
        Connections = "connections",
        /// As much is sent, or taken on, as may be at a time.
        Concurrency = "concurrency",
        /// A connection is being opened.
        Connecting = "connecting",
        /// There is no room in memory.
        Memory = "memory",
        /// In a transaction.
        Sending = "sending",
        /// A server has it between two steps, or records what came of it.
        Recording = "recording",
    }
}

impl From<LineWait> for WhyReason {
    fn from(wait: LineWait) -> Self {
        match wait {
            LineWait::RateLimit => Self::RateLimit,
            LineWait::Paused => Self::Paused,
            LineWait::Connections => Self::Connections,
            LineWait::Concurrency => Self::Concurrency,
            LineWait::Connecting => Self::Connecting,
        }
    }
}

/// A destination as this server sends to it: the hosts that take mail for one domain or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationStatus {
    /// The host that is tried first.
    pub host: String,
    /// Deliveries in line.
    pub in_line: u64,
    /// Connections of this server: in use, or kept for more mail.
    pub connections: u64,
    /// How many this server may have now, and why no more.
    pub connections_max: u64,
    pub connections_cause: ConnectionsCause,
    /// How many all servers together may have.
    pub connections_limit: u64,
    /// What all servers together may send, where that is limited.
    pub messages_per_minute: Option<u32>,
    /// Between two messages, in milliseconds, because the destination said that it is too much.
    pub gap_ms: Option<u64>,
    /// Nothing is sent until then, because the destination said that it is too much.
    pub paused_until: Option<Timestamp>,
    /// What its line waits for; `None` where that is nothing, or nobody is in it.
    pub waits_for: Option<LineWait>,
    /// When the first in line goes on, where that is known.
    pub goes_on_at: Option<Timestamp>,
}

/// Where a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPlace {
    /// Of the delivery, within its e-mail.
    pub number: u32,
    pub stage: Stage,
    /// Since when; `None` where that is not known.
    pub since: Option<Timestamp>,
    /// Messages that are before it in line.
    pub ahead: u64,
    /// When it leaves at the earliest, where something is known that keeps it until then.
    pub until: Option<Timestamp>,
    /// `None` before that is known.
    pub destination: Option<DestinationStatus>,
}

/// How the last attempt of a server to a domain ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastResult {
    pub at: Timestamp,
    /// The host that was spoken to, or the last that was tried.
    pub mx: Option<String>,
    /// What the other side answered, and what that means, or why there was no answer. Of long texts the beginning.
    pub outcome: Outcome,
}

/// What a server has taken on of a domain's mail, and what came of what it sent there. Other servers do the same beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainLine {
    /// Deliveries, and how many it takes on at a time.
    pub taken_on: u64,
    pub taken_on_max: u64,
    /// Why it takes on no more, where it does not.
    pub claim_wait: Option<ClaimWait>,
    /// Where they go: mostly one.
    pub destinations: Vec<DestinationStatus>,
    /// How many attempts of this server have ended in the last minute, by what came of them: to five seconds.
    pub delivered_last_minute: u64,
    /// Those that are tried again.
    pub deferred_last_minute: u64,
    /// Those that failed for good.
    pub failed_last_minute: u64,
    /// The last attempt of this server, however long ago; `None` where it has made none since its start, or sent to very many other
    /// domains since.
    pub last_result: Option<LastResult>,
}
