//! What happened to an e-mail, as the page tells it.

use postrider_core::{Attempt, Outcome, SourceDecision, Timestamp};

use crate::pages::format::{Lasting, Size, When};
use crate::view::{Happening, TimelineEntry};

/// One thing that happened.
pub(super) struct Entry {
    pub(super) at: When,
    /// How it reads: `good`, `bad`, `wait` or nothing.
    pub(super) mood: &'static str,
    pub(super) title: String,
    /// More of it, each with its name.
    pub(super) facts: Vec<(&'static str, String)>,
    /// The dialogue of an attempt: command and reply.
    pub(super) dialogue: Vec<(String, String)>,
}

impl Entry {
    pub(super) fn new(entry: TimelineEntry, now: Timestamp) -> Self {
        let TimelineEntry { at, what } = entry;
        let mut told = match what {
            Happening::Accepted { direction, sender, recipients, size, .. } => {
                let sender = if sender.is_empty() { "<>".to_owned() } else { sender };
                let facts = vec![
                    ("Direction", direction.to_string()),
                    ("From", sender),
                    ("To", recipients.join(", ")),
                    ("Size", Size(size).to_string()),
                ];
                Self::of("", "Accepted, and on disk from then on").with(facts)
            }
            Happening::Parsed { message_id, attachments, .. } => {
                let mut facts = Vec::new();
                facts.extend(message_id.map(|id| ("Message-ID", id)));
                facts.push(("Attachments", attachments.len().to_string()));
                Self::of("", "Read").with(facts)
            }
            Happening::Order { actor, action, outcome, .. } => {
                let outcome = outcome.map_or_else(|| "under way".to_owned(), |outcome| outcome.to_string());
                let mut facts = vec![("Outcome", outcome)];
                facts.extend(actor.map(|actor| ("By", actor)));
                Self::of("", format!("Asked for: {action}")).with(facts)
            }
            Happening::SourceIp { recipient, attempt, decision } => source_ip(&recipient, attempt, decision),
            Happening::Attempt { recipient, attempt } => tried(&recipient, *attempt),
            Happening::Feedback { recipient, feedback } => {
                let mut facts = vec![("Report", feedback.report.to_string()), ("It says", feedback.text)];
                facts.extend(feedback.category.map(|category| ("Category", category.to_string())));
                Self::of("bad", format!("A report came back about {recipient}")).with(facts)
            }
            Happening::Webhook { call, event, attempt, state, .. } => {
                let mut facts = vec![("Call", call.to_string()), ("State", state.as_str().to_owned())];
                facts.extend(attempt.status.map(|status| ("Answer", status.to_string())));
                facts.extend(attempt.error.map(|error| ("Error", error)));
                facts.push(("Took", format!("{} ms", attempt.duration_ms)));
                let mood =
                    if attempt.status.is_some_and(|status| (200..300).contains(&status)) { "good" } else { "wait" };
                Self::of(mood, format!("Webhook {event}")).with(facts)
            }
        };
        told.at = When::new(at, now);
        told
    }

    fn of(mood: &'static str, title: impl Into<String>) -> Self {
        let at = When::new(Timestamp::from_millis(0), Timestamp::from_millis(0));
        Self { at, mood, title: title.into(), facts: Vec::new(), dialogue: Vec::new() }
    }

    fn with(self, facts: Vec<(&'static str, String)>) -> Self {
        Self { facts, ..self }
    }
}

fn source_ip(recipient: &str, attempt: u32, decision: SourceDecision) -> Entry {
    let SourceDecision { ip, origin, latency, error } = decision;
    let ip = ip.map_or_else(|| "the system's choice".to_owned(), |ip| ip.to_string());
    let mut facts = vec![("Chosen by", origin.to_string()), ("Took", Lasting(latency).to_string())];
    let mood = if error.is_some() { "wait" } else { "" };
    facts.extend(error.map(|error| ("Because", error)));
    Entry::of(mood, format!("Attempt {attempt} to {recipient} leaves from {ip}")).with(facts)
}

fn tried(recipient: &str, attempt: Attempt) -> Entry {
    let number = attempt.number;
    let (mood, title) = match &attempt.outcome {
        Outcome::Delivered { .. } => ("good", format!("Attempt {number}: delivered to {recipient}")),
        Outcome::Deferred { .. } => ("wait", format!("Attempt {number}: {recipient} deferred")),
        Outcome::Failed { .. } => ("bad", format!("Attempt {number}: {recipient} failed for good")),
    };
    let mut facts = Vec::new();
    match &attempt.outcome {
        Outcome::Delivered { reply } => facts.push(("Reply", reply.to_string())),
        Outcome::Deferred { category, reason, .. } | Outcome::Failed { category, reason, .. } => {
            facts.extend([("Because", reason.clone()), ("Category", category.to_string())]);
        }
    }
    let mx_ip = attempt.mx_ip.map(|ip| format!(" [{ip}]")).unwrap_or_default();
    facts.extend(attempt.mx.map(|mx| ("Host", format!("{mx}{mx_ip}"))));
    facts.extend(attempt.source_ip.map(|ip| ("From address", ip.to_string())));
    facts.push(match attempt.tls {
        None => ("TLS", "none".to_owned()),
        Some(tls) => {
            let proven = tls.authentication.map(|by| format!(", proven by {by}")).unwrap_or_default();
            ("TLS", format!("{}, {}{proven}", tls.version, tls.cipher))
        }
    });
    facts.push(("Took", Lasting(attempt.duration).to_string()));
    let dialogue = attempt.exchanges.into_iter().map(|exchange| (exchange.command, exchange.reply.to_string()));
    Entry { dialogue: dialogue.collect(), ..Entry::of(mood, title).with(facts) }
}
