//! What endpoints are told of an event: the member `data` of a call.

use std::collections::BTreeMap;
use std::net::IpAddr;

use postrider_core::{
    Attempt, AuthenticationResult, Category, Direction, Instructions, ObjectId, Outcome, Timestamp, TlsInfo,
};
use postrider_store::{ClaimedDelivery, ClaimedEmail, NewEmail, Next};
use serde::Serialize;

/// An e-mail that came.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Came<'a> {
    #[serde(flatten)]
    email: EmailData<'a>,
    /// Those that the event is about.
    recipients: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    authentication: &'a [AuthenticationResult],
}

/// What became of a delivery.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended<'a> {
    #[serde(flatten)]
    email: EmailData<'a>,
    recipient: &'a str,
    smtp: Option<Smtp<'a>>,
    /// Of a failure or a deferral.
    category: Option<Category>,
    /// Why it failed or is deferred, in words.
    error: Option<String>,
    /// Whether it is not tried again.
    permanent: bool,
    attempts: u32,
    next_attempt_at: Option<Timestamp>,
    mx: Option<&'a str>,
    mx_ip: Option<IpAddr>,
    source_ip: Option<IpAddr>,
    tls: Option<&'a TlsInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EmailData<'a> {
    id: ObjectId,
    message_id: Option<&'a str>,
    direction: Direction,
    /// Empty for the null reverse-path.
    sender: &'a str,
    subject: Option<&'a str>,
    size: u64,
    created_at: Timestamp,
    tags: &'a [String],
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Smtp<'a> {
    code: u16,
    enhanced_code: Option<&'a str>,
    text: &'a str,
}

/// Of an e-mail that is being accepted; `kept`: of those of its recipients that are kept here, else of the others.
pub(super) fn came(email: &NewEmail, kept: bool) -> String {
    let summary = &email.message.summary;
    let recipients = match kept {
        true => email.kept.iter().map(|recipient| recipient.address.as_str()).collect(),
        false => email.deliveries.iter().map(|delivery| delivery.recipient.address.as_str()).collect(),
    };
    json(&Came {
        email: EmailData {
            id: email.id,
            message_id: summary.message_id.as_deref(),
            direction: email.direction,
            sender: email.envelope.reverse_path.as_str(),
            subject: summary.subject.as_deref(),
            size: email.message.raw.len() as u64,
            created_at: email.created_at,
            tags: &email.instructions.tags,
            metadata: &email.instructions.metadata,
        },
        recipients,
        authentication: &email.authentication,
    })
}

/// Of an attempt that ended.
pub(super) fn ended(email: &ClaimedEmail, delivery: &ClaimedDelivery, attempt: &Attempt, next: Next) -> String {
    let Instructions { tags, metadata, .. } = &email.instructions;
    let reply = attempt.outcome.reply();
    let is_delivered = matches!(attempt.outcome, Outcome::Delivered { .. });
    json(&Ended {
        email: EmailData {
            id: email.id,
            message_id: email.message_id.as_deref(),
            direction: Direction::Outbound,
            sender: email.envelope.reverse_path.as_str(),
            subject: email.subject.as_deref(),
            size: email.size,
            created_at: email.created_at,
            tags,
            metadata,
        },
        recipient: delivery.recipient.address.as_str(),
        smtp: reply.map(|reply| Smtp {
            code: reply.code,
            enhanced_code: reply.enhanced_code.as_deref(),
            text: &reply.text,
        }),
        category: attempt.outcome.category(),
        error: if is_delivered { None } else { attempt.outcome.error() },
        permanent: matches!(next, Next::Failed),
        attempts: attempt.number,
        next_attempt_at: match next {
            Next::Retry { at } => Some(at),
            Next::Sent | Next::Failed => None,
        },
        mx: attempt.mx.as_deref(),
        mx_ip: attempt.mx_ip,
        source_ip: attempt.source_ip,
        tls: attempt.tls.as_ref(),
    })
}

/// What a sample says: of an e-mail that never was.
pub(super) fn sample(now: Timestamp) -> String {
    json(&Ended {
        email: EmailData {
            id: ObjectId::default(),
            message_id: Some("sample@postrider.invalid"),
            direction: Direction::Outbound,
            sender: "sender@example.com",
            subject: Some("A sample, of no real e-mail"),
            size: 1_024,
            created_at: now,
            tags: &["sample".to_owned()],
            metadata: &BTreeMap::new(),
        },
        recipient: "recipient@example.com",
        smtp: Some(Smtp { code: 250, enhanced_code: Some("2.0.0"), text: "OK" }),
        category: None,
        error: None,
        permanent: false,
        attempts: 1,
        next_attempt_at: None,
        mx: Some("mx.example.com"),
        mx_ip: None,
        source_ip: None,
        tls: None,
    })
}

fn json(data: &impl Serialize) -> String {
    // Texts, numbers and addresses are always JSON.
    serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned())
}
