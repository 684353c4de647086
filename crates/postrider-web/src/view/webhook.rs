//! The JSON shapes of webhook endpoints and of the calls to them.

use postrider_core::{Domain, ObjectId, Timestamp};
use postrider_store::webhooks::{Endpoint, EndpointSettings, WebhookSecret};
use postrider_store::{CallAttempt, CallPage, CallRecord, CallState, EventKind};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Pagination;

/// An endpoint. Its secret is shown once, when it is made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    id: ObjectId,
    url: String,
    description: String,
    types: Vec<EventKind>,
    domains: Vec<Domain>,
    tags: Vec<String>,
    paused: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl EndpointView {
    pub fn new(endpoint: Endpoint) -> Self {
        let EndpointSettings { url, description, kinds, domains, tags, is_paused } = endpoint.settings;
        Self {
            id: endpoint.id,
            url,
            description,
            types: kinds,
            domains,
            tags,
            paused: is_paused,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
            secret: None,
        }
    }

    /// With a secret that was just made.
    pub fn with_secret(endpoint: Endpoint, secret: WebhookSecret) -> Self {
        Self { secret: Some(secret.0), ..Self::new(endpoint) }
    }
}

/// A page of calls.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CallPageView {
    deliveries: Vec<CallView>,
    pagination: Pagination,
}

/// A call as it stands.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallView {
    id: ObjectId,
    endpoint: ObjectId,
    /// Where it goes, if an e-mail asked for it and no endpoint.
    url: Option<String>,
    /// As the endpoint is told in `webhook-id`.
    event: ObjectId,
    r#type: EventKind,
    timestamp: Timestamp,
    email: ObjectId,
    state: CallState,
    next_attempt_at: Option<Timestamp>,
    tries: u32,
    /// The last ones, in order.
    attempts: Vec<CallAttempt>,
    /// What the endpoint is told.
    #[schema(value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
}

impl CallPageView {
    /// What [`postrider_store::Outbox::calls`] answered when asked for `page` with `limit` calls a page.
    pub fn new(found: CallPage, page: u64, limit: u64) -> Self {
        let pagination = Pagination::new(page, limit, found.total);
        Self { deliveries: found.calls.into_iter().map(CallView::from).collect(), pagination }
    }
}

impl From<CallRecord> for CallView {
    fn from(call: CallRecord) -> Self {
        Self {
            id: call.id,
            endpoint: call.endpoint,
            url: call.url,
            event: call.event,
            r#type: call.kind,
            timestamp: call.at,
            email: call.email,
            state: call.state,
            next_attempt_at: call.due_at,
            tries: call.tries,
            attempts: call.attempts,
            data: RawValue::from_string(call.data).ok(),
        }
    }
}
