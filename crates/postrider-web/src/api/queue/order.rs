//! `POST /api/queue/retry`, `/hold`, `/release`, `/cancel`: one order to all deliveries of a destination, sender, tag or state.

use axum::Json;
use axum::extract::State;
use postrider_core::{DeliveryStatus, Domain};
use postrider_store::{Order, Ordered, Selection};
use serde::{Deserialize, Serialize};

use crate::AppState;
use crate::audit::Audit;
use crate::extract::JsonBody;
use crate::problem::Problem;

/// What is given must hold together. Something must be given, or `all`.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = DeliverySelection)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    domain: Option<String>,
    sender: Option<String>,
    tag: Option<String>,
    status: Option<DeliveryStatus>,
    #[serde(default)]
    all: bool,
}

/// Try deliveries of a destination, sender, tag or state again now.
#[utoipa::path(
    post,
    path = "/api/queue/retry",
    operation_id = "retryDeliveries",
    tag = "queue",
    request_body = Body,
    responses((status = 200, description = "What the order did.", body = Ordered))
)]
pub(in crate::api) async fn retry(
    state: State<AppState>,
    audit: Audit,
    body: JsonBody<Body>,
) -> Result<Json<Ordered>, Problem> {
    give(state, audit, body, Order::Retry).await
}

/// Hold deliveries of a destination, sender, tag or state.
#[utoipa::path(
    post,
    path = "/api/queue/hold",
    operation_id = "holdDeliveries",
    tag = "queue",
    request_body = Body,
    responses((status = 200, description = "What the order did.", body = Ordered))
)]
pub(in crate::api) async fn hold(
    state: State<AppState>,
    audit: Audit,
    body: JsonBody<Body>,
) -> Result<Json<Ordered>, Problem> {
    give(state, audit, body, Order::Hold).await
}

/// Release held deliveries of a destination, sender or tag.
#[utoipa::path(
    post,
    path = "/api/queue/release",
    operation_id = "releaseDeliveries",
    tag = "queue",
    request_body = Body,
    responses((status = 200, description = "What the order did.", body = Ordered))
)]
pub(in crate::api) async fn release(
    state: State<AppState>,
    audit: Audit,
    body: JsonBody<Body>,
) -> Result<Json<Ordered>, Problem> {
    give(state, audit, body, Order::Release).await
}

/// Give up deliveries of a destination, sender, tag or state.
#[utoipa::path(
    post,
    path = "/api/queue/cancel",
    operation_id = "cancelDeliveries",
    tag = "queue",
    request_body = Body,
    responses((status = 200, description = "What the order did.", body = Ordered))
)]
pub(in crate::api) async fn cancel(
    state: State<AppState>,
    audit: Audit,
    body: JsonBody<Body>,
) -> Result<Json<Ordered>, Problem> {
    give(state, audit, body, Order::Cancel).await
}

async fn give(
    State(state): State<AppState>,
    audit: Audit,
    JsonBody(body): JsonBody<Body>,
    order: Order,
) -> Result<Json<Ordered>, Problem> {
    audit.note("selection", &body);
    let Body { domain, sender, tag, status, all } = body;
    let is_restricted = domain.is_some() || sender.is_some() || tag.is_some() || status.is_some();
    if is_restricted == all {
        return Err(Problem::bad_body("Give domain, sender, tag or status, or else \"all\": true."));
    }
    let recipient_domain = domain.map(|text| Domain::parse(&text)).transpose();
    let recipient_domain =
        recipient_domain.map_err(|error| Problem::bad_parameter("domain", format!("domain is wrong: {error}.")))?;
    let mut ordered = Ordered::default();
    for status in statuses(order, status) {
        let selection = Selection {
            emails: Vec::new(),
            recipient_domain: recipient_domain.clone(),
            sender: sender.clone(),
            tag: tag.clone(),
            status,
        };
        ordered.add(state.store.order(selection, order, state.clock.now()).await?);
    }
    audit.note("result", &ordered);
    if !ordered.is_nothing() {
        state.queue_changed();
        let (changed, recalled) = (ordered.changed, ordered.recalled);
        tracing::info!(?order, changed, recalled, "an order was given by request");
    }
    Ok(Json(ordered))
}

/// A filter that names no state does not mean what failed or was cancelled: to send all of that again is hardly ever meant.
fn statuses(order: Order, status: Option<DeliveryStatus>) -> Vec<Option<DeliveryStatus>> {
    match (order, status) {
        (Order::Retry, None) => vec![Some(DeliveryStatus::Queued), Some(DeliveryStatus::Deferred)],
        (_, status) => vec![status],
    }
}
