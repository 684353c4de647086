//! What happened to e-mails, and who is told of it.

use std::time::Duration;

use postrider_core::{ObjectId, Timestamp};
use serde::{Deserialize, Serialize};

/// An event's id: the same for all who are told of it, however often.
pub type EventId = ObjectId;

/// Whoever is called by webhook.
pub type EndpointId = ObjectId;

/// One event told to one endpoint.
pub type CallId = ObjectId;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum EventKind {
    /// Taken, to be delivered elsewhere.
    #[serde(rename = "email.accepted")]
    Accepted,
    /// Taken, and kept here for at least one recipient.
    #[serde(rename = "email.received")]
    Received,
    #[serde(rename = "email.delivered")]
    Delivered,
    #[serde(rename = "email.deferred")]
    Deferred,
    #[serde(rename = "email.failed")]
    Failed,
}

impl EventKind {
    pub const ALL: [Self; 5] = [Self::Accepted, Self::Received, Self::Delivered, Self::Deferred, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "email.accepted",
            Self::Received => "email.received",
            Self::Delivered => "email.delivered",
            Self::Deferred => "email.deferred",
            Self::Failed => "email.failed",
        }
    }
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for EventKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is none of {}", names()))
    }
}

/// An event that is written together with what it tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub id: EventId,
    pub kind: EventKind,
    pub at: Timestamp,
    /// Who is to be told of it.
    pub calls: Vec<NewCall>,
    /// What they are told, a JSON object: kept with the calls, so that they outlive the e-mail. Empty where there are none.
    pub data: String,
}

/// One of an event's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCall {
    pub id: CallId,
    pub endpoint: EndpointId,
    /// Where it goes, if the endpoint does not say.
    pub url: Option<String>,
}

/// An event as it is kept for those who follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Where one goes on behind it; see [`crate::Outbox::events`].
    pub cursor: String,
    pub id: EventId,
    pub kind: EventKind,
    pub at: Timestamp,
    /// It may be deleted since.
    pub email: ObjectId,
    /// The number of the delivery that it is about, where it is about one.
    pub delivery: Option<u32>,
}

/// Events in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    pub events: Vec<EventRecord>,
    /// Where to go on.
    pub cursor: String,
}

/// How a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallState {
    /// To be made, now or later.
    Waiting,
    /// The endpoint took it.
    Delivered,
    /// It was tried as often as it is tried.
    GivenUp,
}

impl CallState {
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::GivenUp];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::GivenUp => "given-up",
        }
    }
}

impl std::str::FromStr for CallState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is none of {}", names()))
    }
}

/// What a worker asks of the outbox.
#[derive(Debug, Clone)]
pub struct CallClaimRequest {
    pub now: Timestamp,
    /// For so long nobody else gets the calls: longer than making one takes.
    pub lock: Duration,
    /// Calls at most, for each endpoint.
    pub endpoints: Vec<(EndpointId, usize)>,
}

/// A call to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedCall {
    pub id: CallId,
    pub endpoint: EndpointId,
    pub event: EventId,
    pub kind: EventKind,
    pub at: Timestamp,
    pub email: ObjectId,
    /// Where it goes, if the endpoint does not say.
    pub url: Option<String>,
    pub data: String,
    /// How often it was made since it came, or was replayed.
    pub tries: u32,
}

/// How one try of a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallAttempt {
    pub at: Timestamp,
    pub duration_ms: u64,
    /// The URL that was called; `None` where that was not recorded yet, or is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of the answer (RFC 9110); `None` where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was no answer, or why this one does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The beginning of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl CallAttempt {
    /// Bytes of [`CallAttempt::body`].
    pub const BODY_BYTES_MAX: usize = 1024;
}

/// Attempts that are kept of one call: the last ones.
pub const CALL_ATTEMPTS_MAX: usize = 20;

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSettlement {
    pub id: CallId,
    pub attempt: CallAttempt,
    pub next: CallNext,
}

/// What follows a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallNext {
    Delivered,
    Retry { at: Timestamp },
    GivenUp,
}

/// A call as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    pub id: CallId,
    pub endpoint: EndpointId,
    pub event: EventId,
    pub kind: EventKind,
    pub at: Timestamp,
    pub email: ObjectId,
    /// Where it goes, if the endpoint does not say.
    pub url: Option<String>,
    pub state: CallState,
    /// When it is made next; `None` unless it waits.
    pub due_at: Option<Timestamp>,
    pub tries: u32,
    /// The last ones, in order.
    pub attempts: Vec<CallAttempt>,
    pub data: String,
}

/// Which calls. Empty fields do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFilter {
    pub ids: Vec<CallId>,
    pub endpoint: Option<EndpointId>,
    pub state: Option<CallState>,
    pub kind: Option<EventKind>,
    pub email: Option<ObjectId>,
    /// Their events happened then or later.
    pub from: Option<Timestamp>,
    /// Their events happened before then.
    pub to: Option<Timestamp>,
}

/// A page of calls, those that came last first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallPage {
    pub calls: Vec<CallRecord>,
    /// How many match the filter in all.
    pub total: u64,
}

/// What is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxSweep {
    /// Events that happened before then.
    pub events_before: Timestamp,
    /// Calls that were delivered, and whose events happened before then.
    pub delivered_before: Timestamp,
    /// The same of those that were given up.
    pub given_up_before: Timestamp,
    /// Of each at most.
    pub count: usize,
}
