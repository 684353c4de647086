//! `POST /api/webhooks/deliveries/replay` and `.../{id}/replay`: calls are made anew, with the same `webhook-id`.
//!
//! Without a filter those are meant that were given up; `dryRun` only counts.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::ObjectId;
use postrider_store::{CallFilter, CallState, EventKind};
use serde::Serialize;

use super::{FILTERS, filter, no_such_delivery};
use crate::AppState;
use crate::audit::Audit;
use crate::extract::{Id, Parameters};
use crate::problem::Problem;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::api) struct Replayed {
    replayed: u64,
}

/// Make calls anew: those given up that the filter names, or all of them; with `state`, those that stand so.
#[utoipa::path(
    post,
    path = "/api/webhooks/deliveries/replay",
    operation_id = "replayWebhookDeliveries",
    tag = "webhooks",
    params(
        ("dryRun" = Option<bool>, Query, description = "Only count."),
        ("endpoint" = Option<ObjectId>, Query, description = "Only those to this endpoint."),
        ("state" = Option<CallState>, Query, description = "Those that stand so, in place of those given up."),
        ("type" = Option<EventKind>, Query, description = "Only those of events of this type."),
        ("email" = Option<ObjectId>, Query, description = "Only those about this e-mail."),
        ("from" = Option<String>, Query, description = "Of events then or later (RFC 3339, or a date)."),
        ("to" = Option<String>, Query, description = "Of events before then.")
    ),
    responses((status = 200, description = "How many are made anew.", body = Replayed))
)]
pub(in crate::api) async fn all(
    State(state): State<AppState>,
    audit: Audit,
    uri: Uri,
) -> Result<Json<Replayed>, Problem> {
    audit.note("filter", &uri.query());
    let mut parameters = Parameters::of(&uri)?;
    let is_dry: bool = parameters.parsed("dryRun")?.unwrap_or(false);
    let mut filter = filter(&mut parameters)?;
    parameters.finish(&[&["dryRun"][..], &FILTERS].concat())?;
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from >= to
    {
        return Err(Problem::bad_parameter("to", "to is not behind from: no event is from that time."));
    }
    filter.state.get_or_insert(CallState::GivenUp);
    let replayed = if is_dry {
        state.store.calls(&filter, 1, 0).await?.total
    } else {
        state.store.replay_calls(&filter, state.clock.now()).await?
    };
    audit.note("replayed", &replayed);
    Ok(Json(Replayed { replayed }))
}

/// Make one call anew.
#[utoipa::path(
    post,
    path = "/api/webhooks/deliveries/{id}/replay",
    operation_id = "replayWebhookDelivery",
    tag = "webhooks",
    params(Id),
    responses((status = 200, description = "It is made anew.", body = Replayed))
)]
pub(in crate::api) async fn one(State(state): State<AppState>, Id(id): Id) -> Result<Json<Replayed>, Problem> {
    let filter = CallFilter { ids: vec![id], ..CallFilter::default() };
    match state.store.replay_calls(&filter, state.clock.now()).await? {
        0 => Err(no_such_delivery(id)),
        replayed => Ok(Json(Replayed { replayed })),
    }
}
