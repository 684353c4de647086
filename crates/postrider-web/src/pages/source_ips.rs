//! `GET /source-ips`: from which addresses mail leaves, who chose them, and what came of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::history::AddressTraffic;
use postrider_core::source::{BreakerState, IpSelectionStats, WarmUpStats};
use postrider_store::AddressHistory;

use super::address::Address;
use super::format::{Counted, Grouped, When};
use super::frame::{Frame, Page, Visit};
use super::plot::{self, SpanLink};
use crate::AppState;
use crate::api::health::in_time;
use crate::api::history::show::span;
use crate::problem::Problem;
use crate::view::history::busiest;

#[derive(Template)]
#[template(path = "source_ips.html")]
struct SourceIpsPage {
    frame: Frame,
    spans: Vec<SpanLink>,
    stats: IpSelectionStats,
    /// A class of the style sheet, and a word.
    breaker: (&'static str, &'static str),
    open_until: Option<When>,
    cache: Cache,
    /// Why the store told nothing.
    error: Option<String>,
    since: When,
    addresses: Counted,
    /// For the question before they are forgotten.
    answers: Counted,
    rows: Vec<Row>,
}

struct Cache {
    entries: Grouped,
    hits: Grouped,
    requests: Grouped,
    errors: Grouped,
    stale: Grouped,
    fallbacks: Grouped,
    defaults: Grouped,
}

struct Row {
    ip: IpAddr,
    /// The e-mails that left from it.
    leads_to: Address,
    is_here: bool,
    attempts: Grouped,
    delivered: Grouped,
    deferred: Grouped,
    failed: Grouped,
    /// How many of a hundred attempts delivered.
    percent: Option<u64>,
    origins: Vec<(&'static str, Grouped)>,
    warm_up: Option<WarmUp>,
    last_used: Option<When>,
}

struct WarmUp {
    day: i64,
    used: Grouped,
    limit: Grouped,
}

pub(super) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<impl Template>, Problem> {
    let span = span(&uri)?;
    let stats = state.control.ip_selection_stats();
    let since = span.first_hour(visit.now);
    let found = in_time(&state, state.store.address_history(since, span.bounds(visit.now).1)).await;
    let error = found.as_ref().err().map(ToString::to_string);
    let rows = rows(&stats, found.unwrap_or_default(), &visit);
    Ok(Page(SourceIpsPage {
        frame: visit.frame("Source IPs", "/source-ips"),
        spans: plot::span_links("/source-ips", span),
        breaker: match stats.breaker.state {
            BreakerState::Closed if stats.breaker.failures == 0 => ("good", "working"),
            BreakerState::Closed => ("wait", "failing"),
            BreakerState::HalfOpen => ("wait", "trying again"),
            BreakerState::Open => ("bad", "not asked"),
        },
        open_until: stats.breaker.open_until.map(|until| When::new(until, visit.now)),
        cache: Cache {
            entries: Grouped(stats.entries),
            hits: Grouped(stats.hits),
            requests: Grouped(stats.requests),
            errors: Grouped(stats.errors),
            stale: Grouped(stats.stale),
            fallbacks: Grouped(stats.fallbacks),
            defaults: Grouped(stats.defaults),
        },
        error,
        since: When::new(since, visit.now),
        addresses: Counted(rows.len() as u64, "address", "addresses"),
        answers: Counted(stats.entries, "answer", "answers"),
        rows,
        stats,
    }))
}

/// The addresses that were used, and those that can be: the busiest first.
fn rows(stats: &IpSelectionStats, found: Vec<AddressHistory>, visit: &Visit) -> Vec<Row> {
    let warm_ups: BTreeMap<IpAddr, &WarmUpStats> = stats.warm_ups.iter().map(|warm_up| (warm_up.ip, warm_up)).collect();
    let mut all = busiest(found);
    let unused = stats.candidates.iter().copied().chain(warm_ups.keys().copied());
    for ip in unused {
        if all.iter().all(|known| known.ip != ip) {
            all.push(AddressHistory { ip, traffic: AddressTraffic::default(), last_used_at: visit.now });
        }
    }
    all.into_iter().map(|found| row(&found, stats, warm_ups.get(&found.ip).copied(), visit)).collect()
}

fn row(found: &AddressHistory, stats: &IpSelectionStats, warm_up: Option<&WarmUpStats>, visit: &Visit) -> Row {
    let AddressHistory { ip, traffic, last_used_at } = found;
    let attempts = traffic.attempts();
    // What this process knows is more exact than the hour that the store tells.
    let here = stats.addresses.iter().find(|used| used.ip == *ip).map(|used| used.last_used_at);
    let last_used = here.or((attempts > 0).then_some(*last_used_at));
    Row {
        ip: *ip,
        leads_to: Address::new("/emails").with("q", &format!("sourceip:{ip}")),
        // Loopback and addresses that a setting names are no candidates, but can be used.
        is_here: stats.candidates.contains(ip) || here.is_some() || warm_up.is_some(),
        attempts: Grouped(attempts),
        delivered: Grouped(traffic.delivered),
        deferred: Grouped(traffic.deferred),
        failed: Grouped(traffic.failed),
        percent: (traffic.delivered * 100).checked_div(attempts),
        origins: traffic.by_origin().map(|(origin, count)| (origin.as_str(), Grouped(count))).collect(),
        warm_up: warm_up.map(|&WarmUpStats { day, used, limit, .. }| WarmUp {
            day,
            used: Grouped(used),
            limit: Grouped(limit),
        }),
        last_used: last_used.map(|at| When::new(at, visit.now)),
    }
}
