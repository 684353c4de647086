//! The JSON shape of an e-mail's timeline.

use postrider_core::bounce::Feedback;
use postrider_core::{
    Attachment, Attempt, AuthenticationResult, Direction, EmailStatus, ObjectId, SourceDecision, Timestamp,
};
use postrider_store::{AuditEntry, AuditOutcome, CallAttempt, CallRecord, CallState, EmailDetail, EventKind};
use serde::Serialize;

/// What happened to an e-mail, in the order in which it happened.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineView {
    id: ObjectId,
    status: EmailStatus,
    pub(crate) entries: Vec<TimelineEntry>,
    /// Calls to webhook endpoints that are not among the entries: `/api/webhooks/deliveries?email=` lists all.
    pub(crate) webhooks_left_out: u64,
    /// Orders that are not among the entries: `/api/audit?target=` lists all.
    pub(crate) orders_left_out: u64,
}

/// What stands elsewhere of what happened to an e-mail.
#[derive(Debug, Default)]
pub struct TimelineSources {
    /// Calls about the e-mail, the last one first, of which there are `calls_total`.
    pub calls: Vec<CallRecord>,
    pub calls_total: u64,
    /// What was asked to be done with it, the last first, of which there are `orders_total`.
    pub orders: Vec<AuditEntry>,
    pub orders_total: u64,
    /// Whether whoever looks may know who asked.
    pub shows_actors: bool,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TimelineEntry {
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) what: Happening,
}

/// One thing that happened.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(crate) enum Happening {
    /// It was taken, and is on disk from then on.
    Accepted {
        direction: Direction,
        sender: String,
        recipients: Vec<String>,
        size: u64,
        /// What was found out about who it is from.
        authentication: Vec<AuthenticationResult>,
    },
    /// It was read.
    Parsed { message_id: Option<String>, subject: Option<String>, attachments: Vec<Attachment> },
    /// Somebody asked for it to be retried, held, released, cancelled, sent to others or deleted.
    Order {
        /// As `/api/audit` shows it.
        entry: ObjectId,
        /// Who; `null` for those who may not read the audit log.
        actor: Option<String>,
        /// A noun and a verb: `email.hold`.
        action: String,
        /// `null`: it is under way, or nobody lived to say.
        outcome: Option<AuditOutcome>,
    },
    /// The address was chosen that an attempt leaves from.
    SourceIp { recipient: String, attempt: u32, decision: SourceDecision },
    /// It was tried to deliver it; the time is that of the beginning.
    Attempt { recipient: String, attempt: Box<Attempt> },
    /// Something came back.
    Feedback { recipient: String, feedback: Feedback },
    /// An endpoint was told, or it was tried to.
    Webhook {
        /// As `/api/webhooks/deliveries/{id}` shows it.
        call: ObjectId,
        endpoint: ObjectId,
        event: EventKind,
        attempt: CallAttempt,
        /// Whether the call was over with it, and how.
        state: CallState,
    },
}

impl TimelineView {
    pub fn new(detail: EmailDetail, sources: TimelineSources) -> Self {
        let TimelineSources { calls, calls_total, orders, orders_total, shows_actors } = sources;
        let webhooks_left_out = calls_total.saturating_sub(calls.len() as u64);
        let orders_left_out = orders_total.saturating_sub(orders.len() as u64);
        let (id, status) = (detail.email.id, detail.email.status);
        let mut entries = taken(&detail);
        entries.extend(orders.into_iter().rev().map(|entry| ordered(entry, shows_actors)));
        entries.extend(tried(&detail));
        entries.extend(calls.into_iter().rev().flat_map(told));
        // What happened in the same millisecond stays in the order above: causes before what they cause.
        entries.sort_by_key(|entry| entry.at);
        Self { id, status, entries, webhooks_left_out, orders_left_out }
    }
}

fn taken(detail: &EmailDetail) -> Vec<TimelineEntry> {
    let email = detail.email.clone();
    let accepted = Happening::Accepted {
        direction: email.direction,
        sender: email.sender,
        recipients: email.recipients,
        size: email.size,
        authentication: detail.authentication.clone(),
    };
    let parsed =
        Happening::Parsed { message_id: email.message_id, subject: email.subject, attachments: email.attachments };
    [accepted, parsed].into_iter().map(|what| TimelineEntry { at: email.created_at, what }).collect()
}

fn ordered(entry: AuditEntry, shows_actor: bool) -> TimelineEntry {
    let AuditEntry { id, at, actor, action, outcome, .. } = entry;
    TimelineEntry {
        at,
        what: Happening::Order { entry: id, actor: shows_actor.then_some(actor.name), action, outcome },
    }
}

/// The attempts, and what came of them later.
fn tried(detail: &EmailDetail) -> Vec<TimelineEntry> {
    let recipient_of = |number: u32| {
        let delivery = detail.deliveries.iter().find(|delivery| delivery.number == number);
        delivery.map(|delivery| delivery.recipient.clone()).unwrap_or_default()
    };
    let mut entries = Vec::new();
    for (number, attempt) in &detail.attempts {
        let (at, recipient, attempt) = (attempt.started_at, recipient_of(*number), Box::new(attempt.clone()));
        if let Some(decision) = attempt.ip_selection.clone() {
            let what = Happening::SourceIp { recipient: recipient.clone(), attempt: attempt.number, decision };
            entries.push(TimelineEntry { at, what });
        }
        entries.push(TimelineEntry { at, what: Happening::Attempt { recipient, attempt } });
    }
    for delivery in &detail.deliveries {
        for feedback in delivery.feedback.clone() {
            let at = feedback.received_at;
            entries.push(TimelineEntry {
                at,
                what: Happening::Feedback { recipient: delivery.recipient.clone(), feedback },
            });
        }
    }
    entries
}

/// The tries of a call.
fn told(call: CallRecord) -> impl Iterator<Item = TimelineEntry> {
    let CallRecord { id, endpoint, kind, state, attempts, .. } = call;
    let count = attempts.len();
    attempts.into_iter().enumerate().map(move |(i, attempt)| {
        let state = if i + 1 == count { state } else { CallState::Waiting };
        // Where an endpoint is, and what it answered, is for those who administer endpoints.
        let attempt = CallAttempt { url: None, body: None, ..attempt };
        TimelineEntry { at: attempt.at, what: Happening::Webhook { call: id, endpoint, event: kind, attempt, state } }
    })
}
