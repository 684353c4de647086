//! `GET /`: what the server does and how it fares, at a glance.
//!
//! A part that cannot be told, because the store does not answer, is said to be missing; the rest is shown all the same.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::Timestamp;
use postrider_core::source::{BreakerState, IpSelectionStats};
use postrider_store::webhooks::Endpoint;
use postrider_store::{CallFilter, CallState, QueueStats, StoreError, StoreHealth, TrafficSpan};

use super::address::Address;
use super::format::{Counted, Grouped, Lasting, Size, When};
use super::frame::{Frame, Page, Visit};
use super::plot::{self, Plot, SpanLink, StepRow};
use crate::AppState;
use crate::api::health::in_time;
use crate::api::history::show::span;
use crate::problem::Problem;
use crate::view::history::{PercentilesView, Span, filled, total};

/// Destinations named; the page of the queue has all.
const DESTINATIONS_MAX: usize = 10;

/// A disk that has less left is to be looked after, and one with this little soon takes no mail.
const FREE_BYTES_WARNING: u64 = 1 << 30;
const FREE_BYTES_MIN: u64 = 64 << 20;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    /// What the store did not tell, and why.
    missing: Vec<String>,
    spans: Vec<SpanLink>,
    span: Span,
    history: Option<History>,
    queue: Option<Queue>,
    states: Vec<Condition>,
}

/// What was done.
struct History {
    plots: Vec<Plot>,
    rows: Vec<StepRow>,
    /// Each is there before anything was delivered too: what comes later would move all below it.
    latency: [(&'static str, Option<Lasting>); 3],
    is_empty: bool,
}

/// What waits.
struct Queue {
    counts: Vec<(&'static str, Grouped, Address)>,
    oldest: Option<Lasting>,
    destinations: Vec<Destination>,
}

struct Destination {
    domain: String,
    leads_to: Address,
    queued: Grouped,
    deferred: Grouped,
    last_reply: String,
}

/// How a part of the server fares.
struct Condition {
    name: String,
    /// A class of the style sheet: `good`, `wait`, `bad`, or none where there is nothing to judge.
    class: &'static str,
    word: &'static str,
    detail: String,
    until: Option<When>,
    leads_to: Option<&'static str>,
}

impl Condition {
    fn new(name: impl Into<String>, class: &'static str, word: &'static str, detail: impl Into<String>) -> Self {
        Self { name: name.into(), class, word, detail: detail.into(), until: None, leads_to: None }
    }

    fn leading_to(self, path: &'static str) -> Self {
        Self { leads_to: Some(path), ..self }
    }
}

pub(super) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<impl Template>, Problem> {
    let span = span(&uri)?;
    let (from, to) = span.bounds(visit.now);
    let (steps, queue, health, webhooks) = tokio::join!(
        in_time(&state, state.store.history(span.step(), from, to)),
        in_time(&state, state.queue_look.stats(state.store.as_ref())),
        in_time(&state, state.store.health()),
        in_time(&state, webhooks(&state)),
    );
    let mut missing = Vec::new();
    let mut note = |what: &str, error: &StoreError| missing.push(format!("{what} cannot be told now: {error}."));
    let steps = steps.inspect_err(|error| note("What was done", error)).ok();
    let queue = queue.inspect_err(|error| note("What waits", error)).ok();
    let page = OverviewPage {
        frame: visit.frame("Overview", "/"),
        spans: plot::span_links("/", span),
        span,
        history: steps.map(|steps| History::new(span, visit.now, &filled(span, visit.now, steps))),
        queue: queue.as_deref().map(Queue::new),
        states: states(&state, &visit, health, webhooks),
        missing,
    };
    Ok(Page(page))
}

impl History {
    fn new(span: Span, now: Timestamp, steps: &[TrafficSpan]) -> Self {
        let all = total(steps);
        let lasting = |millis| Lasting(Duration::from_millis(millis));
        let latencies = PercentilesView::of(&all.latencies);
        Self {
            plots: plot::plots(span, now, steps),
            rows: plot::rows(span, steps),
            latency: [
                ("half delivered within", latencies.map(|all| lasting(all.p50))),
                ("95 % within", latencies.map(|all| lasting(all.p95))),
                ("99 % within", latencies.map(|all| lasting(all.p99))),
            ],
            is_empty: all.accepted + all.delivered + all.deferred + all.failed == 0,
        }
    }
}

impl Queue {
    fn new(stats: &QueueStats) -> Self {
        let (emails, queue) = (Address::new("/emails"), Address::new("/queue"));
        let counts = [
            ("queued", stats.queued),
            ("sending", stats.sending),
            ("deferred", stats.deferred),
            ("held", stats.held),
            ("failed", stats.failed),
        ];
        let counts = counts.map(|(status, count)| (status, Grouped(count), emails.with("status", status)));
        let mut domains: Vec<_> = stats.domains.iter().collect();
        // The worst: where most is put off.
        domains.sort_by(|a, b| (b.deferred, b.queued, &a.domain).cmp(&(a.deferred, a.queued, &b.domain)));
        let destinations = domains.into_iter().take(DESTINATIONS_MAX).map(|found| Destination {
            leads_to: queue.with("prefix", found.domain.as_str()),
            domain: found.domain.to_string(),
            queued: Grouped(found.queued),
            deferred: Grouped(found.deferred),
            last_reply: found.last_error.clone().unwrap_or_default(),
        });
        Self {
            counts: counts.into(),
            oldest: stats.oldest_queued_seconds.map(|seconds| Lasting(Duration::from_secs(seconds))),
            destinations: destinations.collect(),
        }
    }
}

/// Who is told of what happens, and how many calls were given up.
async fn webhooks(state: &AppState) -> Result<(Vec<Endpoint>, u64), StoreError> {
    let endpoints = Endpoint::all(state.store.as_ref()).await?;
    let given_up = CallFilter { state: Some(CallState::GivenUp), ..CallFilter::default() };
    Ok((endpoints, state.store.calls(&given_up, 1, 1).await?.total))
}

fn states(
    state: &AppState,
    visit: &Visit,
    health: Result<StoreHealth, StoreError>,
    webhooks: Result<(Vec<Endpoint>, u64), StoreError>,
) -> Vec<Condition> {
    let mut all: Vec<Condition> = state
        .control
        .listeners()
        .into_iter()
        .map(|listener| {
            let (class, word) = if listener.open { ("good", "open") } else { ("bad", "closed") };
            Condition::new(format!("Listener {}", listener.name), class, word, listener.address.to_string())
        })
        .collect();
    all.extend(store(health));
    all.push(selection(&state.control.ip_selection_stats(), visit.now));
    all.extend(webhooks.map(|(endpoints, given_up)| told(&endpoints, given_up)));
    let stats = state.control.smtp_stats();
    let detail = format!(
        "{} open, {} in memory for messages, up for {}",
        Counted(stats.sessions_open, "session", "sessions"),
        Size(stats.memory_bytes),
        Lasting(state.control.uptime())
    );
    all.push(Condition::new("Server", "good", "running", detail));
    all
}

fn store(health: Result<StoreHealth, StoreError>) -> Vec<Condition> {
    let health = match health {
        Ok(health) => health,
        Err(error) => return vec![Condition::new("Store", "bad", "failing", error.to_string())],
    };
    let size = health.size_bytes.map(|bytes| format!(", {} stored", Size(bytes))).unwrap_or_default();
    let detail = format!("{}, answers in {}{size}", health.engine, Lasting(health.latency));
    let mut all = vec![Condition::new("Store", "good", "working", detail)];
    all.extend(health.free_bytes.map(disk));
    all
}

fn disk(free_bytes: u64) -> Condition {
    let free = Size(free_bytes);
    match free_bytes {
        ..FREE_BYTES_MIN => Condition::new(
            "Disk",
            "bad",
            "full",
            format!("{free} left: make room in DATA_DIR's disk, or no mail is taken"),
        ),
        FREE_BYTES_MIN..FREE_BYTES_WARNING => {
            Condition::new("Disk", "wait", "filling up", format!("{free} left: make room in DATA_DIR's disk soon"))
        }
        _ => Condition::new("Disk", "good", "roomy", format!("{free} left")),
    }
}

/// The service that picks source addresses.
fn selection(stats: &IpSelectionStats, now: Timestamp) -> Condition {
    let name = "Source-IP service";
    if !stats.enabled {
        return Condition::new(name, "", "not used", "IP_SELECTION_ENABLED is false").leading_to("/source-ips");
    }
    let failures = stats.breaker.failures;
    let condition = match stats.breaker.state {
        BreakerState::Closed if failures == 0 => {
            Condition::new(name, "good", "working", format!("{} kept", Counted(stats.entries, "answer", "answers")))
        }
        BreakerState::Closed => {
            Condition::new(name, "wait", "failing", format!("{failures} failures in a row; test it to see its answer"))
        }
        BreakerState::HalfOpen => Condition::new(name, "wait", "trying again", format!("after {failures} failures")),
        BreakerState::Open => {
            let detail = format!("left alone after {failures} failures; test it to see its answer");
            Condition::new(name, "bad", "not asked", detail)
        }
    };
    let until = stats.breaker.open_until.map(|until| When::new(until, now));
    Condition { until, ..condition.leading_to("/source-ips") }
}

fn told(endpoints: &[Endpoint], given_up: u64) -> Condition {
    let paused = endpoints.iter().filter(|endpoint| endpoint.settings.is_paused).count();
    let mut detail = Counted(endpoints.len() as u64, "endpoint", "endpoints").to_string();
    if paused > 0 {
        detail.push_str(&format!(", {paused} of them paused"));
    }
    let (class, word) = match (endpoints.len(), given_up) {
        (_, 1..) => {
            detail.push_str(&format!(
                ", {} given up: replay them when the endpoint works",
                Counted(given_up, "call", "calls")
            ));
            ("wait", "not all told")
        }
        (0, 0) => ("", "not used"),
        (_, 0) => ("good", "working"),
    };
    Condition::new("Webhooks", class, word, detail).leading_to("/webhooks")
}

#[cfg(test)]
mod tests {
    use postrider_core::source::BreakerStats;

    use super::*;

    #[test]
    fn a_disk_is_judged_by_what_it_has_left() {
        let class = |bytes| disk(bytes).class;
        assert_eq!([0, FREE_BYTES_MIN, FREE_BYTES_WARNING].map(class), ["bad", "wait", "good"]);
    }

    #[test]
    fn a_service_is_judged_by_its_breaker() {
        let now = Timestamp::from_millis(0);
        let class = |enabled, state, failures| {
            let breaker = BreakerStats { state, failures, open_until: None };
            selection(&IpSelectionStats { enabled, breaker, ..IpSelectionStats::default() }, now).class
        };
        assert_eq!(class(false, BreakerState::Closed, 0), "");
        assert_eq!(class(true, BreakerState::Closed, 0), "good");
        assert_eq!(class(true, BreakerState::Closed, 1), "wait");
        assert_eq!(class(true, BreakerState::HalfOpen, 5), "wait");
        assert_eq!(class(true, BreakerState::Open, 5), "bad");
        assert_eq!((told(&[], 0).class, told(&[], 3).class), ("", "wait"));
    }
}
