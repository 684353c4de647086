//! What was done when, as the API and the page show it: a span of time up to now, cut into steps of one length.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use postrider_core::Timestamp;
use postrider_core::history::{AddressTraffic, Latencies, Step, Traffic};
use postrider_store::{AddressHistory, TrafficSpan};
use serde::Serialize;

/// How far back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    #[default]
    Hour,
    Day,
    Week,
}

impl Span {
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    /// The length of its steps: so that there are some sixty to two hundred.
    pub const fn step(self) -> Step {
        match self {
            Self::Hour => Step::Minute,
            Self::Day => Step::TenMinutes,
            Self::Week => Step::Hour,
        }
    }

    /// How many steps, the one that is not over yet included.
    pub const fn steps(self) -> u32 {
        match self {
            Self::Hour => 60,
            Self::Day => 144,
            Self::Week => 168,
        }
    }

    pub const fn length(self) -> Duration {
        Duration::from_secs(self.step().seconds() as u64 * self.steps() as u64)
    }

    /// When the first step begins, and when the last ends.
    pub fn bounds(self, now: Timestamp) -> (Timestamp, Timestamp) {
        let to = self.step().start_of(now) + self.step().duration();
        (to - self.length(), to)
    }

    /// When the first of the hours begins that cover it, for what is counted by hours.
    pub fn first_hour(self, now: Timestamp) -> Timestamp {
        Step::Hour.start_of(now - self.length())
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|span| span.as_str() == text);
        found.ok_or_else(|| "it is hour, day or week".to_owned())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What was done, step by step.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    span: Span,
    from: Timestamp,
    /// When the last step ends; it is not over yet.
    to: Timestamp,
    step_seconds: u32,
    /// Of all steps together.
    total: TrafficView,
    /// All of them, also those in which nothing was done.
    steps: Vec<StepView>,
}

/// One step.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct StepView {
    /// When it begins.
    at: Timestamp,
    #[serde(flatten)]
    traffic: TrafficView,
}

/// What was done.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct TrafficView {
    /// E-mails that were taken.
    accepted: u64,
    /// Attempts to deliver to a recipient, by what came of them.
    delivered: u64,
    deferred: u64,
    failed: u64,
    /// From when deliveries were queued until the other side had taken them; `null` where none was delivered.
    latency_ms: Option<PercentilesView>,
}

/// What so many of a hundred did not exceed, to within the width of a histogram's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PercentilesView {
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
}

impl HistoryView {
    /// `steps` as [`filled`] gives them.
    pub fn new(span: Span, now: Timestamp, steps: &[TrafficSpan]) -> Self {
        let (from, to) = span.bounds(now);
        let of = |step: &TrafficSpan| StepView { at: step.at, traffic: TrafficView::new(&step.traffic) };
        Self {
            span,
            from,
            to,
            step_seconds: span.step().seconds(),
            total: TrafficView::new(&total(steps)),
            steps: steps.iter().map(of).collect(),
        }
    }
}

impl TrafficView {
    fn new(traffic: &Traffic) -> Self {
        let Traffic { accepted, delivered, deferred, failed, latencies } = traffic;
        Self {
            accepted: *accepted,
            delivered: *delivered,
            deferred: *deferred,
            failed: *failed,
            latency_ms: PercentilesView::of(latencies),
        }
    }
}

impl PercentilesView {
    pub fn of(latencies: &Latencies) -> Option<Self> {
        let millis = |percent| latencies.percentile(percent).map(|latency| latency.as_millis() as u64);
        Some(Self { p50: millis(50.0)?, p95: millis(95.0)?, p99: millis(99.0)? })
    }
}

/// Every step of the span, in order: those that the store found, and the others empty.
pub fn filled(span: Span, now: Timestamp, found: Vec<TrafficSpan>) -> Vec<TrafficSpan> {
    let (from, _) = span.bounds(now);
    let mut found = found.into_iter().peekable();
    let steps = (0..span.steps()).map(|number| {
        let at = from + span.step().duration() * number;
        // The store gives them by time, and only such as begin with a step.
        while found.next_if(|step| step.at < at).is_some() {}
        found.next_if(|step| step.at == at).unwrap_or_else(|| TrafficSpan { at, traffic: Traffic::default() })
    });
    steps.collect()
}

pub fn total(steps: &[TrafficSpan]) -> Traffic {
    let mut total = Traffic::default();
    steps.iter().for_each(|step| total.add(&step.traffic));
    total
}

/// Addresses told of at most.
pub const ADDRESSES_MAX: usize = 1_000;

/// What was sent from each address.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AddressHistoryView {
    span: Span,
    /// When the first hour begins that is counted.
    from: Timestamp,
    /// The busiest first, a thousand at most.
    #[schema(max_items = 1000)]
    addresses: Vec<AddressView>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AddressTraffic)]
#[serde(rename_all = "camelCase")]
struct AddressView {
    #[schema(value_type = String)]
    ip: IpAddr,
    /// Attempts to deliver to a recipient, and what came of them.
    attempts: u64,
    delivered: u64,
    deferred: u64,
    failed: u64,
    /// Attempts by who chose the address: `api`, `cache`, `stale`, `fallback`, `default`, `configured`, `request`.
    origins: BTreeMap<&'static str, u64>,
    /// When the last hour begins in which something was sent from it.
    last_used_at: Timestamp,
}

impl AddressHistoryView {
    pub fn new(span: Span, now: Timestamp, found: Vec<AddressHistory>) -> Self {
        let addresses = busiest(found).into_iter().map(AddressView::from).collect();
        Self { span, from: span.first_hour(now), addresses }
    }
}

impl From<AddressHistory> for AddressView {
    fn from(found: AddressHistory) -> Self {
        let AddressHistory { ip, traffic, last_used_at } = found;
        let AddressTraffic { delivered, deferred, failed, .. } = traffic;
        let origins = traffic.by_origin().map(|(origin, count)| (origin.as_str(), count)).collect();
        Self { ip, attempts: traffic.attempts(), delivered, deferred, failed, origins, last_used_at }
    }
}

/// The busiest first, no more than are told of.
pub fn busiest(mut found: Vec<AddressHistory>) -> Vec<AddressHistory> {
    found.sort_by_key(|address| (std::cmp::Reverse(address.traffic.attempts()), address.ip));
    found.truncate(ADDRESSES_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn step(at: Timestamp, accepted: u64) -> TrafficSpan {
        TrafficSpan { at, traffic: Traffic { accepted, ..Traffic::default() } }
    }

    #[test]
    fn every_step_is_there_once_and_in_order() {
        let now = at("2026-11-22T13:39:40Z");
        for span in Span::ALL {
            let (from, to) = span.bounds(now);
            assert!(from < now && now < to && to - span.length() == from);
            let last = to - span.step().duration();
            let found = vec![step(from, 1), step(last, 2)];
            let steps = filled(span, now, found);
            assert_eq!(steps.len(), span.steps() as usize);
            assert!(steps.is_sorted_by(|a, b| a.at + span.step().duration() == b.at));
            assert_eq!((steps[0].traffic.accepted, steps.last().unwrap().traffic.accepted), (1, 2));
            assert_eq!(total(&steps).accepted, 3);
            assert_eq!(total(&filled(span, now, Vec::new())), Traffic::default());
            assert_eq!(span.as_str().parse(), Ok(span));
        }
        assert_eq!(Span::Hour.bounds(now).0, at("2026-11-22T12:40:00Z"));
        assert_eq!(Span::Hour.first_hour(now), at("2026-11-22T12:00:00Z"));
        assert!("month".parse::<Span>().is_err());
    }

    #[test]
    fn what_does_not_belong_is_left_out() {
        let now = at("2026-11-22T13:39:40Z");
        let (from, to) = Span::Hour.bounds(now);
        let odd = from + Duration::from_secs(90);
        let found = vec![
            step(from - Duration::from_secs(60), 1),
            step(odd, 2),
            step(odd + Duration::from_secs(30), 3),
            step(to, 4),
        ];
        let steps = filled(Span::Hour, now, found);
        assert_eq!((steps.len(), total(&steps).accepted), (60, 3));
    }

    #[test]
    fn json_says_null_where_there_is_nothing() {
        let now = at("2026-11-22T13:39:40Z");
        let empty = HistoryView::new(Span::Hour, now, &filled(Span::Hour, now, Vec::new()));
        let json = serde_json::to_value(&empty).unwrap();
        assert_eq!((json["stepSeconds"].as_u64(), json["steps"].as_array().unwrap().len()), (Some(60), 60));
        assert!(json["total"]["latencyMs"].is_null() && json["steps"][0]["accepted"] == 0);
    }
}
