//! The history's records.

use std::net::IpAddr;
use std::time::Duration;

use postrider_core::history::{AddressTraffic, Step, Traffic};
use postrider_core::{ObjectId, Timestamp};

/// The history is kept for so long: a week, and its first day whole.
pub const HISTORY_KEPT: Duration = Duration::from_secs(8 * 24 * 3600);

/// A part of a span's counts: who counts makes one for each span that it counts in, and it alone writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficPart {
    pub step: Step,
    /// When the span begins.
    pub at: Timestamp,
    pub part: ObjectId,
    /// All that was counted for this part, not only what is new.
    pub traffic: Traffic,
}

/// A part of what was sent from an address within an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPart {
    /// When the hour begins.
    pub at: Timestamp,
    pub ip: IpAddr,
    pub part: ObjectId,
    pub traffic: AddressTraffic,
}

/// A span, and what all counted in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficSpan {
    pub at: Timestamp,
    pub traffic: Traffic,
}

/// An address, and what all sent from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressHistory {
    pub ip: IpAddr,
    pub traffic: AddressTraffic,
    /// When the last hour begins in which something was sent from it.
    pub last_used_at: Timestamp,
}
