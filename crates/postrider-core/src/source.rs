//! Source addresses: from which of this host's addresses an attempt is made, who decided that, and what is known of the
//! service that decides.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::address::{Address, ReversePath};
use crate::delivery::{millis, statuses};
use crate::id::ObjectId;
use crate::time::Timestamp;

statuses! {
    /// Where the source address of an attempt came from.
    SourceOrigin {
        /// The service was asked and answered.
        Api = "api",
        /// An answer of the service that still holds.
        Cache = "cache",
        /// An answer that does not hold any more, because the service gave no other.
        Stale = "stale",
        /// `FALLBACK_IP`.
        Fallback = "fallback",
        /// The system's choice.
        Default = "default",
        /// `SOURCE_IPS`.
        Configured = "configured",
        /// The e-mail's sender asked for it.
        Request = "request",
    }
}

/// How the source address of an attempt was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceDecision {
    /// `None`: the system chooses.
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    pub origin: SourceOrigin,
    /// How long the decision took.
    #[serde(rename = "latencyMs", with = "millis")]
    #[schema(value_type = u64)]
    pub latency: Duration,
    /// Why it is not what the service answered, or what was wrong with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether mail can come from an address at all: it is of one host. What any host could bind, or none, chooses nothing.
pub fn is_of_one_host(ip: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || is_broadcast)
}

/// Whether an address is one of the Internet: none of loopback, of a private or local network, or set apart (RFC 6890).
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            let is_set_apart =
                a == 0 || a >= 240 || (a == 198 && (b == 18 || b == 19)) || ip.octets()[..3] == [192, 0, 0];
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_documentation()
                || is_shared
                || is_set_apart)
        }
        IpAddr::V6(ip) => {
            let [first, second, .., seventh, eighth] = ip.segments();
            // RFC 6052: what a translator makes an IPv4 address of.
            let is_translated = first == 0x64 && second == 0xff9b;
            let [a, b] = seventh.to_be_bytes();
            let [c, d] = eighth.to_be_bytes();
            // Global unicast is 2000::/3; within it 6to4 and Teredo lead to IPv4 addresses.
            let is_global = first & 0xe000 == 0x2000 && first != 0x2002 && !(first == 0x2001 && second == 0);
            is_global || (is_translated && is_public(IpAddr::from([a, b, c, d])))
        }
    }
}

/// What the service is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceQuestion {
    pub email_id: Option<ObjectId>,
    /// Empty for the null reverse-path, and so is its domain.
    pub sender: String,
    pub sender_domain: String,
    pub recipient: String,
    pub recipient_domain: String,
    pub subject: Option<String>,
    /// In bytes.
    pub size: Option<u64>,
    /// 1 for the first.
    pub attempt: u32,
}

impl SourceQuestion {
    /// About the first attempt with an e-mail of which nothing but this is known.
    pub fn new(sender: &ReversePath, recipient: &Address) -> Self {
        let sender = sender.0.as_ref();
        Self {
            email_id: None,
            sender: sender.map(Address::to_string).unwrap_or_default(),
            sender_domain: sender.map(|address| address.domain().to_string()).unwrap_or_default(),
            recipient: recipient.to_string(),
            recipient_domain: recipient.domain().to_string(),
            subject: None,
            size: None,
            attempt: 1,
        }
    }
}

statuses! {
    /// Whether a service that fails is asked at all.
    BreakerState {
        /// It is asked.
        Closed = "closed",
        /// It has failed too often in a row: it is not asked for a while.
        Open = "open",
        /// The while is over: one question finds out whether it answers again.
        HalfOpen = "half-open",
    }
}

/// What the selection of source addresses has done since the start of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpSelectionStats {
    pub enabled: bool,
    pub breaker: BreakerStats,
    /// Answers kept, those that do not hold any more included.
    pub entries: u64,
    /// Decisions from an answer that held, and those for which there was none.
    pub hits: u64,
    pub misses: u64,
    /// Requests to the service, and those of them that gave no usable address.
    pub requests: u64,
    pub errors: u64,
    /// Decisions without a usable answer: by an old one, by `FALLBACK_IP`, by the system.
    pub stale: u64,
    pub fallbacks: u64,
    pub defaults: u64,
    /// Of the last answers of the service; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<LatencyStats>,
    /// What was sent from which address, the busiest first.
    pub addresses: Vec<AddressUse>,
    /// What the service is told that this host can send from.
    #[schema(value_type = Vec<String>)]
    pub candidates: Vec<IpAddr>,
    /// Addresses of `SOURCE_IP_WARMUP`, as far as they were used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warm_ups: Vec<WarmUpStats>,
}

/// How far an address is warmed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct WarmUpStats {
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// 1 for the first.
    pub day: i64,
    /// Messages that may leave on that day.
    pub limit: u64,
    /// Messages that have left, or are in hand on other nodes.
    pub used: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakerStats {
    pub state: BreakerState,
    /// Failures since the last success.
    pub failures: u32,
    /// When the service is asked again, while it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_until: Option<Timestamp>,
}

impl Default for BreakerStats {
    fn default() -> Self {
        Self { state: BreakerState::Closed, failures: 0, open_until: None }
    }
}

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LatencyStats {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressUse {
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// Attempts made from it.
    pub attempts: u64,
    pub last_used_at: Timestamp,
}

/// One question to the service and its answer, word by word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpSelectionTest {
    /// What would be done with the answer.
    pub decision: SourceDecision,
    /// The name for EHLO, where the answer gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ehlo: Option<String>,
    pub exchange: IpSelectionExchange,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpSelectionExchange {
    /// Without its password, if it has one.
    pub url: String,
    /// The body sent, in JSON.
    pub request: String,
    /// The HTTP status; absent where there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body that came, cut where it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    pub latency_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public() {
        let is = |text: &str| is_public(text.parse().unwrap());
        for public in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is(public), "{public}");
        }
        for other in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
