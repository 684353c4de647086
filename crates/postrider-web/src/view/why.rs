//! Why each delivery of an e-mail is where it is, in a sentence and its facts: from the record, and from a running server where
//! one is asked.

use std::collections::HashMap;
use std::net::IpAddr;

use postrider_core::queue::{
    ClaimWait, ConnectionsCause, DeliveryPlace, DestinationStatus, DomainLine, LineWait, SUPPRESSED, Stage, WhyReason,
};
use postrider_core::{
    Address, Attempt, Category, DeliveryStatus, Domain, EmailStatus, ObjectId, Outcome, SourceDecision, Timestamp,
};
use postrider_store::{DeliveryRecord, EmailDetail, NodeId, NodeRecord};
use serde::Serialize;

/// Why an e-mail is where it is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct WhyView {
    id: ObjectId,
    status: EmailStatus,
    pub(crate) summary: String,
    /// Whether a running server was asked. Otherwise all is from the record.
    live: bool,
    pub(crate) deliveries: Vec<DeliveryWhyView>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryWhyView {
    pub(crate) recipient: String,
    pub(crate) status: EmailStatus,
    reason: WhyReason,
    /// The reason for people, with what is known of it.
    pub(crate) sentence: String,
    /// Since when this is so, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// When it goes on at the earliest, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
    facts: WhyFacts,
}

/// What the sentence stands on.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct WhyFacts {
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<Category>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mx: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    source_ip: Option<IpAddr>,
    /// How the source address of the last attempt was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_selection: Option<SourceDecision>,
    /// When the sender wants it given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// What an order makes of it once it is let go of, unless it is sent or fails for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    ordered: Option<DeliveryStatus>,
    /// The server that has taken it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeRecord>,
    /// Messages before it in line.
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<u64>,
    /// Deliveries to its domain that the asked server has taken on, and takes on at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_on: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_on_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<DestinationStatus>,
}

/// What a running server says.
#[derive(Debug, Default)]
pub struct Running {
    pub node: Option<NodeId>,
    pub places: Vec<DeliveryPlace>,
    /// Of the domains that [`waiting_domains`] named.
    pub lines: HashMap<Domain, DomainLine>,
}

/// The domains whose lines matter.
pub fn waiting_domains(detail: &EmailDetail) -> Vec<Domain> {
    let is_open = |status| matches!(status, EmailStatus::Queued | EmailStatus::Deferred | EmailStatus::Sending);
    let open = detail.deliveries.iter().filter(|delivery| is_open(delivery.status));
    let mut domains: Vec<Domain> = open.filter_map(domain_of).collect();
    domains.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    domains.dedup();
    domains
}

fn domain_of(delivery: &DeliveryRecord) -> Option<Domain> {
    Address::parse(&delivery.recipient).ok().map(|address| address.domain())
}

impl WhyView {
    /// `nodes`: those whose leases hold. `running`: `None` where no server could be asked.
    pub fn new(detail: &EmailDetail, nodes: &[NodeRecord], running: Option<&Running>, now: Timestamp) -> Self {
        let judge = Judge { detail, nodes, running, now };
        let deliveries: Vec<_> = detail.deliveries.iter().map(|delivery| judge.delivery(delivery)).collect();
        Self {
            id: detail.email.id,
            status: detail.email.status,
            summary: summary(&deliveries),
            live: running.is_some(),
            deliveries,
        }
    }
}

/// All deliveries in a sentence.
fn summary(deliveries: &[DeliveryWhyView]) -> String {
    match deliveries {
        [] => return "It is kept here; there is nothing to deliver elsewhere.".to_owned(),
        [one] => return one.sentence.clone(),
        _ => {}
    }
    let mut counts: Vec<(WhyReason, usize)> = Vec::new();
    for delivery in deliveries {
        match counts.iter_mut().find(|(reason, _)| *reason == delivery.reason) {
            Some((_, count)) => *count += 1,
            None => counts.push((delivery.reason, 1)),
        }
    }
    let counts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let next = deliveries.iter().filter_map(|delivery| delivery.until).min();
    let next = next.map(|at| format!("; the first goes on at {at}")).unwrap_or_default();
    format!("{} deliveries: {}{next}.", deliveries.len(), counts.join(", "))
}

/// What is decided of a delivery.
struct Verdict {
    reason: WhyReason,
    sentence: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Verdict {
    fn new(reason: WhyReason, sentence: impl Into<String>) -> Self {
        Self { reason, sentence: sentence.into(), since: None, until: None }
    }

    fn since(self, since: Option<Timestamp>) -> Self {
        Self { since, ..self }
    }

    fn until(self, until: Option<Timestamp>) -> Self {
        Self { until, ..self }
    }
}

struct Judge<'a> {
    detail: &'a EmailDetail,
    nodes: &'a [NodeRecord],
    running: Option<&'a Running>,
    now: Timestamp,
}

impl Judge<'_> {
    fn delivery(&self, delivery: &DeliveryRecord) -> DeliveryWhyView {
        let attempts = self.detail.attempts.iter().filter(|(number, _)| *number == delivery.number);
        let last = attempts.map(|(_, attempt)| attempt).next_back();
        let mut facts = WhyFacts {
            attempts: delivery.attempts,
            last_attempt_at: last.map(|attempt| attempt.started_at),
            last_error: delivery.last_error.clone(),
            category: delivery.category,
            mx: delivery.mx.clone(),
            source_ip: delivery.source_ip,
            ip_selection: last.and_then(|attempt| attempt.ip_selection.clone()),
            expires_at: self.detail.instructions.expires_at,
            ordered: delivery.ordered,
            ..WhyFacts::default()
        };
        let mut verdict = match delivery.status {
            EmailStatus::Sent => sent(delivery, last),
            EmailStatus::Failed => failed(delivery, last),
            EmailStatus::Cancelled => {
                Verdict::new(WhyReason::Cancelled, "It was given up by an order; a retry starts it again.")
            }
            EmailStatus::Held => {
                Verdict::new(WhyReason::Held, "It is held by an order, and waits until somebody releases it.")
            }
            EmailStatus::Sending => self.taken_on(delivery, &mut facts),
            EmailStatus::Queued | EmailStatus::Deferred | EmailStatus::Received => {
                self.waiting(delivery, last, &mut facts)
            }
        };
        if let Some(ordered) = delivery.ordered {
            verdict
                .sentence
                .push_str(&format!(" It is {ordered} as soon as it is let go of, unless it is sent or fails before."));
        }
        let Verdict { reason, sentence, since, until } = verdict;
        let DeliveryRecord { recipient, status, .. } = delivery.clone();
        DeliveryWhyView { recipient, status, reason, sentence, since, until, facts }
    }

    /// No server has it.
    fn waiting(&self, delivery: &DeliveryRecord, last: Option<&Attempt>, facts: &mut WhyFacts) -> Verdict {
        let due_at = delivery.next_attempt_at.filter(|&at| at > self.now);
        match (due_at, last) {
            (Some(at), Some(last)) if delivery.status == EmailStatus::Deferred => {
                let category = delivery.category.map(|category| format!(" ({category})")).unwrap_or_default();
                let sentence = format!(
                    "Attempt {} at {} did not succeed{category}: {}; the next one is made at {at}.",
                    last.number,
                    last.started_at,
                    error_of(delivery)
                );
                Verdict::new(WhyReason::BackOff, sentence).since(Some(ended_at(last))).until(due_at)
            }
            (Some(at), _) => {
                let sentence = format!("It is scheduled, and goes out at {at}, not before.");
                Verdict::new(WhyReason::Scheduled, sentence).until(due_at)
            }
            (None, _) => self.due(delivery, facts).since(delivery.next_attempt_at),
        }
    }

    /// Its time has come.
    fn due(&self, delivery: &DeliveryRecord, facts: &mut WhyFacts) -> Verdict {
        let domain = domain_of(delivery);
        let line = domain.as_ref().zip(self.running).and_then(|(domain, running)| running.lines.get(domain));
        let Some(line) = line else {
            return match self.nodes {
                [] => Verdict::new(WhyReason::NotSending, "It is due, and no server runs that could take it on."),
                _ => {
                    Verdict::new(WhyReason::Due, "It is due, and taken on by a server as soon as one has room for it.")
                }
            };
        };
        facts.taken_on = Some(line.taken_on);
        facts.taken_on_max = Some(line.taken_on_max);
        let destination = line.destinations.iter().max_by_key(|destination| destination.in_line);
        facts.destination = destination.cloned();
        match line.claim_wait {
            None => Verdict::new(WhyReason::Due, "It is due, and is taken on at once."),
            Some(ClaimWait::NotSending) => Verdict::new(
                WhyReason::NotSending,
                "It is due, and this server sends nothing now: it stops, or has lost its lease.",
            ),
            Some(ClaimWait::OtherServers) => {
                Verdict::new(WhyReason::OtherServer, "It is due, and left to other servers, which send to its domain.")
            }
            Some(ClaimWait::Full) => Verdict::new(
                WhyReason::Concurrency,
                "It is due, and the server has taken on as many deliveries as it does at a time (QUEUE_CONCURRENCY).",
            ),
            Some(ClaimWait::DomainFull) => {
                let before = format!("It is due, and {} others to its domain are before it", line.taken_on);
                let Some((destination, wait)) = destination.and_then(|one| Some((one, one.waits_for?))) else {
                    return Verdict::new(
                        WhyReason::Concurrency,
                        format!("{before}, as many as are taken on at a time."),
                    );
                };
                let sentence = format!("{before}: {}.", line_sentence(destination, wait));
                Verdict::new(wait.into(), sentence).until(destination.goes_on_at)
            }
        }
    }

    /// A server has it.
    fn taken_on(&self, delivery: &DeliveryRecord, facts: &mut WhyFacts) -> Verdict {
        let node = self.nodes.iter().find(|node| Some(node.id) == delivery.node);
        facts.node = node.cloned();
        if let Some(running) = self.running.filter(|running| delivery.node.is_some() && running.node == delivery.node) {
            return taken_on_here(delivery, running, facts);
        }
        let sentence = match node {
            Some(node) => format!(
                "The server on {} ({}) has taken it on, with a lease that ends at {}; what it waits for there, that server can tell.",
                node.host, node.id, node.lease_until
            ),
            None => {
                "A server that is gone had taken it on; another takes it on as soon as that is found out.".to_owned()
            }
        };
        Verdict::new(WhyReason::OtherServer, sentence)
    }
}

/// The server that is asked has it.
fn taken_on_here(delivery: &DeliveryRecord, running: &Running, facts: &mut WhyFacts) -> Verdict {
    // What went on while the places were looked up is at the last of them.
    let place = running.places.iter().rev().find(|place| place.number == delivery.number);
    let line = domain_of(delivery).and_then(|domain| running.lines.get(&domain));
    let destination =
        place.and_then(|place| place.destination.as_ref()).or_else(|| line.and_then(|line| line.destinations.first()));
    facts.destination = destination.cloned();
    let host = destination.map_or("its destination", |destination| &destination.host);
    let Some(place) = place else {
        let sentence = "The server has it between two steps, or records what came of it.";
        return Verdict::new(WhyReason::Recording, sentence);
    };
    let began = place.since.map(|at| format!(", which began at {at}")).unwrap_or_default();
    let verdict = match place.stage {
        Stage::Dns => Verdict::new(WhyReason::Dns, format!("DNS is asked where its mail goes{began}.")),
        Stage::SourceIp => {
            Verdict::new(WhyReason::SourceIp, format!("It is decided from which address it leaves{began}."))
        }
        Stage::InLine => {
            facts.ahead = Some(place.ahead);
            let before = match place.ahead {
                0 => format!("It is the first in line for {host}"),
                1 => format!("It is in line for {host}, behind one other"),
                ahead => format!("It is in line for {host}, behind {ahead} others"),
            };
            match destination.and_then(|destination| Some((destination, destination.waits_for?))) {
                Some((destination, wait)) => {
                    Verdict::new(wait.into(), format!("{before}: {}.", line_sentence(destination, wait)))
                }
                None => Verdict::new(WhyReason::InLine, format!("{before}, which moves.")),
            }
        }
        Stage::Connecting => {
            Verdict::new(WhyReason::Connecting, format!("A connection to {host} is opened for it{began}."))
        }
        Stage::Memory => Verdict::new(
            WhyReason::Memory,
            format!("It has a connection to {host}, and waits for room in memory for the message{began}."),
        ),
        Stage::Sending => Verdict::new(WhyReason::Sending, format!("It is being sent to {host}{began}.")),
    };
    verdict.since(place.since).until(place.until)
}

/// What a line waits for, as the end of a sentence.
fn line_sentence(destination: &DestinationStatus, wait: LineWait) -> String {
    let host = &destination.host;
    match wait {
        LineWait::Paused => {
            let until = destination.paused_until.map(|at| format!("; it is sent to again at {at}")).unwrap_or_default();
            format!("{host} said that it is sent too much, and is sent nothing now{until}")
        }
        LineWait::RateLimit => match (destination.gap_ms, destination.messages_per_minute) {
            (None, Some(per_minute)) => {
                let messages = if per_minute == 1 { "message" } else { "messages" };
                format!("{host} is sent {per_minute} {messages} a minute (SHAPING_FILE, or what is built in)")
            }
            (Some(gap), _) => {
                format!("{host} is sent a message each {gap} ms, because it said that it is sent too much")
            }
            (None, None) => format!("{host} is sent one message after the other"),
        },
        LineWait::Connections => {
            let why = match destination.connections_cause {
                ConnectionsCause::Setting => "QUEUE_CONCURRENCY_PER_DOMAIN",
                ConnectionsCause::Profile => "SHAPING_FILE, or what is built in",
                ConnectionsCause::Share => "the other servers have the rest",
                ConnectionsCause::Learnt => "it said that it is sent too much",
                ConnectionsCause::Growing => "more are opened as these come about",
            };
            let max = destination.connections_max;
            format!("all connections to {host} that may be are in use, {max} of this server ({why})")
        }
        LineWait::Concurrency => "as much is sent at once as may be (QUEUE_CONCURRENCY)".to_owned(),
        LineWait::Connecting => format!("nobody is connected to {host} yet"),
    }
}

fn sent(delivery: &DeliveryRecord, last: Option<&Attempt>) -> Verdict {
    let reply = delivery.last_response.as_ref().map(|reply| format!(": {reply}")).unwrap_or_default();
    let host = delivery.mx.as_deref().unwrap_or("the other side");
    let at = last.map(ended_at);
    let when = at.map(|at| format!(" at {at}")).unwrap_or_default();
    let back = match delivery.feedback.len() {
        0 => "",
        _ => " Then trouble was reported; see the e-mail's feedback.",
    };
    Verdict::new(WhyReason::Sent, format!("{host} took it{when}{reply}.{back}")).since(at)
}

fn failed(delivery: &DeliveryRecord, last: Option<&Attempt>) -> Verdict {
    let error = error_of(delivery);
    let at = last.map(ended_at);
    let when = at.map(|at| format!(" at {at}")).unwrap_or_default();
    let is_refused = last.is_some_and(|attempt| matches!(attempt.outcome, Outcome::Failed { reply: Some(_), .. }));
    let verdict = match (delivery.category, &delivery.mx) {
        (Some(Category::Expired), _) => Verdict::new(WhyReason::Expired, format!("It was given up{when}: {error}.")),
        _ if error.contains(SUPPRESSED) => {
            Verdict::new(WhyReason::Suppressed, format!("Its recipient gets no mail from here: {error}."))
        }
        (_, Some(mx)) if is_refused => {
            Verdict::new(WhyReason::Failed, format!("{mx} refused it for good{when}: {error}."))
        }
        _ => Verdict::new(WhyReason::Failed, format!("It failed for good{when}: {error}.")),
    };
    verdict.since(at)
}

/// What stood in the way, on one line.
fn error_of(delivery: &DeliveryRecord) -> String {
    let error = delivery.last_error.as_deref().unwrap_or("no reason is on record");
    error.replace('\n', " ").trim_end_matches('.').to_owned()
}

fn ended_at(attempt: &Attempt) -> Timestamp {
    attempt.started_at + attempt.duration
}
