//! `GET /queue`: what waits, by recipient domain, with what keeps it and what can be ordered.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::Domain;
use postrider_core::queue::{ClaimWait, ConnectionsCause, DestinationStatus, DomainLine, LastResult, LineWait};
use postrider_store::{QueueDomain, QueueStats};

use super::address::Address;
use super::filters;
use super::format::{Counted, Grouped, When};
use super::frame::{Frame, Page, Visit};
use super::paging::page_of;
use crate::AppState;
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::queue_look::Part;

/// Domains of a page; with more, it would be slow over a slow line.
const DOMAINS: u64 = 40;

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    frame: Frame,
    tiles: Vec<Tile>,
    oldest: Option<When>,
    /// Whether this server sends at all.
    is_sending: bool,
    /// Whether others may send beside it.
    is_one_of_several: bool,
    prefix: String,
    total: Grouped,
    rows: Vec<Row>,
    next: Option<Address>,
    previous: Option<Address>,
}

/// A number at a glance; most lead to the e-mails that they count.
struct Tile {
    label: &'static str,
    count: Grouped,
    leads_to: Option<Address>,
}

/// What waits for one domain.
struct Row {
    domain: Domain,
    counts: Vec<Count>,
    /// Of all of it.
    depth: Grouped,
    /// Whether something is there that could be held, and that could be released.
    moves: bool,
    is_held: bool,
    oldest: Option<When>,
    next_attempt: Option<When>,
    /// What this server has sent there.
    last_minute: Option<String>,
    last_reply: Option<LastReply>,
    /// Of deferred mail, whatever server tried it, where the last reply does not say the same.
    last_error: Option<String>,
    /// Why this server takes on no more.
    claim_wait: Option<&'static str>,
    taken_on: Option<String>,
    destinations: Vec<Destination>,
}

/// What the last attempt heard, or what stood in its way.
struct LastReply {
    text: String,
    mx: Option<String>,
    at: When,
}

struct Count {
    label: &'static str,
    count: Grouped,
    /// `None` where there are none.
    leads_to: Option<Address>,
}

/// How this server sends to some hosts.
struct Destination {
    host: String,
    /// Each a sentence's worth, without a full stop.
    facts: Vec<String>,
    paused_until: Option<When>,
    waits_for: Option<&'static str>,
    goes_on: Option<When>,
}

pub(super) async fn queue(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<impl Template>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let page = page_of(&mut parameters)?;
    let prefix = parameters.text("prefix").map(|prefix| prefix.trim().to_ascii_lowercase());
    parameters.finish(&["page", "prefix"])?;
    let part = Part { prefix: prefix.clone(), page, limit: DOMAINS };
    let stats = state.queue_look.stats(state.store.as_ref()).await?;
    let seen = state.queue_look.domains(state.store.as_ref(), part).await?;
    let domains: Vec<Domain> = seen.domains.iter().map(|found| found.domain.clone()).collect();
    let lines = state.control.domain_lines(&domains);
    let here = Address::of(&uri).without(&["page"]);
    let turn = |page: u64| here.with("page", &page.to_string());
    let oldest = stats.oldest_queued_seconds.map(|seconds| visit.now - std::time::Duration::from_secs(seconds));
    Ok(Page(QueuePage {
        frame: visit.frame("Queue", "/queue"),
        tiles: tiles(&stats),
        oldest: oldest.map(|at| When::new(at, visit.now)),
        is_sending: state.control.node().is_some(),
        is_one_of_several: !state.store.is_exclusive(),
        prefix: prefix.unwrap_or_default(),
        total: Grouped(seen.total),
        rows: seen.domains.iter().zip(lines).map(|(found, line)| Row::new(found, line, &visit)).collect(),
        next: (page.saturating_mul(DOMAINS) < seen.total).then(|| turn(page + 1)),
        previous: (page > 1).then(|| turn(page - 1)),
    }))
}

fn tiles(stats: &QueueStats) -> Vec<Tile> {
    let of = |label, count, status: &str| Tile {
        label,
        count: Grouped(count),
        leads_to: Some(Address::new("/emails").with("q", &format!("status:{status}"))),
    };
    let rate = |label, count| Tile { label, count: Grouped(count), leads_to: None };
    vec![
        of("Queued", stats.queued, "queued"),
        of("Deferred", stats.deferred, "deferred"),
        of("Sending", stats.sending, "sending"),
        of("Held", stats.held, "held"),
        rate("Sent in the last minute", stats.sent_last_minute),
        rate("Failed in the last minute", stats.failed_last_minute),
    ]
}

impl Row {
    fn new(found: &QueueDomain, line: DomainLine, visit: &Visit) -> Self {
        let QueueDomain { domain, queued, deferred, sending, held, oldest_at, next_attempt_at, last_error } = found;
        let when = |at| When::new(at, visit.now);
        let count = |label: &'static str, count: u64| Count {
            label,
            count: Grouped(count),
            leads_to: (count > 0).then(|| {
                Address::new("/emails").with("q", &format!("domain:{domain} status:{}", label.to_ascii_lowercase()))
            }),
        };
        let DomainLine {
            taken_on,
            taken_on_max,
            claim_wait,
            destinations,
            delivered_last_minute,
            deferred_last_minute,
            failed_last_minute,
            last_result,
        } = line;
        let last_reply = last_result.map(|last| LastReply::new(last, visit));
        let is_said = |error: &String| last_reply.as_ref().is_some_and(|reply| reply.text == *error);
        Self {
            counts: vec![
                count("Queued", *queued),
                count("Deferred", *deferred),
                count("Sending", *sending),
                count("Held", *held),
            ],
            depth: Grouped(queued + deferred + sending + held),
            moves: queued + deferred + sending > 0,
            is_held: *held > 0,
            oldest: oldest_at.map(when),
            next_attempt: next_attempt_at.map(when),
            last_minute: last_minute(delivered_last_minute, deferred_last_minute, failed_last_minute),
            last_error: last_error.clone().filter(|error| !is_said(error)),
            last_reply,
            claim_wait: claim_wait.map(claim_words),
            taken_on: (taken_on > 0).then(|| {
                let in_hand = Counted(taken_on, "delivery", "deliveries");
                format!("{in_hand} in hand on this server, of at most {} for one domain", Grouped(taken_on_max))
            }),
            destinations: destinations.into_iter().map(|status| Destination::new(status, visit)).collect(),
            domain: domain.clone(),
        }
    }
}

impl Destination {
    fn new(status: DestinationStatus, visit: &Visit) -> Self {
        let DestinationStatus {
            host,
            in_line,
            connections,
            connections_max,
            connections_cause,
            connections_limit,
            messages_per_minute,
            gap_ms,
            paused_until,
            waits_for,
            goes_on_at,
        } = status;
        let mut facts = vec![format!("{} in line", Grouped(in_line))];
        let of_all = if connections_max == connections_limit {
            String::new()
        } else {
            format!(" ({} for all servers)", Grouped(connections_limit))
        };
        let cause = cause_words(connections_cause);
        let most = Counted(connections_max, "connection", "connections");
        facts.push(format!("{connections} of {most}{of_all}: {cause}"));
        facts.extend(
            messages_per_minute
                .map(|count| format!("{} a minute at most", Counted(count.into(), "message", "messages"))),
        );
        facts.extend(
            gap_ms.map(|gap| format!("{} ms between two messages, because it said that it is too much", Grouped(gap))),
        );
        Self {
            host,
            facts,
            paused_until: paused_until.map(|at| When::new(at, visit.now)),
            waits_for: waits_for.map(wait_words),
            goes_on: goes_on_at.map(|at| When::new(at, visit.now)),
        }
    }
}

impl LastReply {
    fn new(LastResult { at, mx, outcome }: LastResult, visit: &Visit) -> Self {
        let heard = outcome.error().or_else(|| outcome.reply().map(ToString::to_string));
        Self { text: heard.unwrap_or_default(), mx, at: When::new(at, visit.now) }
    }
}

/// `12 sent, 1 deferred`; `None` where nothing was tried.
fn last_minute(delivered: u64, deferred: u64, failed: u64) -> Option<String> {
    let parts = [(delivered, "sent"), (deferred, "deferred"), (failed, "failed")];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", Grouped(count)))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn cause_words(cause: ConnectionsCause) -> &'static str {
    match cause {
        ConnectionsCause::Setting => "QUEUE_CONCURRENCY_PER_DOMAIN allows no more",
        ConnectionsCause::Profile => "its profile allows no more (SHAPING_FILE, or built in)",
        ConnectionsCause::Share => "the other servers have the rest",
        ConnectionsCause::Learnt => "it said that more are too many",
        ConnectionsCause::Growing => "more are opened as these come about",
    }
}

fn wait_words(wait: LineWait) -> &'static str {
    match wait {
        LineWait::RateLimit => "the next message by its rate",
        LineWait::Paused => "the end of the pause that it asked for",
        LineWait::Connections => "one of its connections",
        LineWait::Concurrency => "a place among all that is sent (QUEUE_CONCURRENCY)",
        LineWait::Connecting => "a connection",
    }
}

fn claim_words(wait: ClaimWait) -> &'static str {
    match wait {
        ClaimWait::DomainFull => "this server has as many as it takes on for one domain",
        ClaimWait::Full => "this server has as many as it takes on at a time",
        ClaimWait::OtherServers => "other servers send to it",
        ClaimWait::NotSending => "this server sends nothing now",
    }
}
