//! What the domain needs from outside, as traits: so that tests bring their own time and their own Internet.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use crate::address::Domain;
use crate::id::ObjectId;
use crate::log::{LogFilter, LogPage};
use crate::metrics::MetricFamily;
use crate::queue::{DeliveryPlace, DomainLine};
use crate::source::{IpSelectionStats, IpSelectionTest, SourceQuestion};
use crate::submission::{Submission, SubmissionError, SubmissionLimits, Submitted};
use crate::time::Timestamp;

/// The time, and waiting for it. Everything that waits in Postrider waits here, so that a test can move the clock.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;

    /// Ends when `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Why a name was not resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// NXDOMAIN: the name does not exist.
    #[error("the domain does not exist")]
    NoSuchDomain,
    /// The name exists, but has no record of the type asked for.
    #[error("no such record")]
    NoRecords,
    /// SERVFAIL, time-out, no server reached: the answer may be another later.
    #[error("{0}")]
    Temporary(String),
}

/// One MX record (RFC 5321 section 5.1). An exchange of `.` is the null MX (RFC 7505).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxRecord {
    pub preference: u16,
    /// Without the final dot, but for `.` itself.
    pub exchange: String,
}

/// The version of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpVersion {
    V4,
    V6,
}

impl IpVersion {
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Looks names up. Implementations cache as the records' time to live allows.
#[async_trait]
pub trait Resolver: Send + Sync + fmt::Debug {
    /// The MX records of a domain, in no order.
    async fn mx(&self, domain: &str) -> Result<Vec<MxRecord>, ResolveError>;

    /// The A and AAAA records of a host. An error only if there is neither.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError>;

    /// The A or the AAAA records of a host alone.
    async fn addresses_of(&self, host: &str, version: IpVersion) -> Result<Vec<IpAddr>, ResolveError> {
        let mut addresses = self.addresses(host).await?;
        addresses.retain(|address| IpVersion::of(*address) == version);
        if addresses.is_empty() { Err(ResolveError::NoRecords) } else { Ok(addresses) }
    }

    /// The TXT records of a name, the strings of each joined.
    async fn texts(&self, name: &str) -> Result<Vec<String>, ResolveError>;

    /// The names of an address (PTR).
    async fn names(&self, address: IpAddr) -> Result<Vec<String>, ResolveError>;
}

/// A listener as it is bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// `smtp`, `smtp-mx`, `submission`, `submissions`, `lmtp`, `lmtps`, `imap`, `imaps`, `api`, `acme-http`, `acme-tls`.
    pub name: &'static str,
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// Whether it accepts connections now.
    pub open: bool,
}

/// What the SMTP listeners have done since the start of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmtpStats {
    pub sessions_open: u64,
    pub sessions_total: u64,
    pub sessions_refused: u64,
    pub messages_accepted: u64,
    /// Refused or deferred at or after the end of data.
    pub messages_refused: u64,
    pub bytes_received: u64,
    pub recipients_refused: u64,
    pub auth_successes: u64,
    pub auth_failures: u64,
    pub tls_handshakes: u64,
    pub tls_failures: u64,
    /// Bytes of messages held in memory now, in all sessions together.
    pub memory_bytes: u64,
}

/// What a webhook endpoint answered to a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookTest {
    /// Whether it would count as taken.
    pub delivered: bool,
    /// Of the answer (RFC 9110); `None` where there was none.
    pub status: Option<u16>,
    pub error: Option<String>,
    /// The beginning of the answer.
    pub body: Option<String>,
    pub duration_ms: u64,
}

/// Bytes of the memory that the server has for messages; given back when dropped.
pub trait MemoryLease: Send + Sync + fmt::Debug {
    /// Makes it so many bytes; `false`, and nothing changed, where there are not so many.
    fn resize(&mut self, bytes: usize) -> bool;
}

/// The last records of this process's log: those of `LOG_LEVEL`, whether or not they go to the console too. They are in memory, and
/// end with the process.
pub trait LogTail: Send + Sync + fmt::Debug {
    /// Up to `limit` records that match, in the order in which they were logged: the first behind the number `after`, or else the
    /// newest. A number that was never given here is that of another process's record: then they begin with the oldest there is.
    fn records(&self, after: Option<u64>, filter: &LogFilter, limit: usize) -> LogPage;
}

/// A request to a running server did not succeed; the text says why and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ControlError(pub String);

/// What the web and the command line may ask of a running server.
#[async_trait]
pub trait Control: Send + Sync + fmt::Debug {
    /// Looks at the queue now, because somebody changed it behind the server's back.
    fn kick_queue(&self);

    /// In whose name this server takes deliveries on; `None` while it takes none.
    fn node(&self) -> Option<ObjectId>;

    /// Where the deliveries of an e-mail are that this server has taken on. One that is not named is between two steps, or its
    /// outcome is being recorded.
    fn delivery_places(&self, email: ObjectId) -> Vec<DeliveryPlace>;

    /// What this server has taken on of these domains' mail, in their order.
    fn domain_lines(&self, domains: &[Domain]) -> Vec<DomainLine>;

    fn smtp_stats(&self) -> SmtpStats;

    /// What it has counted and measured since its start, by the names of [`crate::metrics`].
    fn metrics(&self) -> Vec<MetricFamily>;

    fn listeners(&self) -> Vec<ListenerStatus>;

    /// Since the start of this process.
    fn uptime(&self) -> Duration;

    fn ip_selection_stats(&self) -> IpSelectionStats;

    /// Forgets what the service answered that picks source addresses. How many answers there were.
    fn clear_ip_selection_cache(&self) -> usize;

    /// Asks that service once, whatever is known of it, and remembers nothing of it.
    async fn test_ip_selection(&self, question: SourceQuestion) -> Result<IpSelectionTest, ControlError>;

    /// Looks the webhook endpoints up, because they were changed: what happens from now on is told as they say.
    async fn refresh_webhooks(&self);

    /// Calls a webhook endpoint with a sample, once, whatever its filters and whether it is paused.
    async fn test_webhook(&self, endpoint: ObjectId) -> Result<WebhookTest, ControlError>;

    /// By what calls to a URL that e-mails ask for (`webhookUrl`) are signed: the same for all URLs of one scheme, host and port.
    /// `None`: they are not signed, for `WEBHOOK_SECRET` is not set.
    fn webhook_url_secret(&self, url: &str) -> Option<String>;

    /// Takes a message as the applications' port of SMTP does, and returns when it is durable. Who asks may send in any name.
    async fn submit(&self, submission: Submission) -> Result<Submitted, SubmissionError>;

    fn submission_limits(&self) -> SubmissionLimits;

    /// An empty part of the memory for messages, for whoever reads one.
    fn lease_memory(&self) -> Box<dyn MemoryLease>;

    /// Rereads what may change while running: certificates. Where one comes from an authority and is due, that is asked now.
    async fn reload(&self) -> Result<(), ControlError>;
}
