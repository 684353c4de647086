//! `DELETE /api/webhooks/{id}`: forgets an endpoint, and what it is still to be told.

use axum::extract::State;
use axum::http::StatusCode;
use postrider_store::webhooks::Endpoint;

use super::{find, no_such_endpoint, recorded};
use crate::AppState;
use crate::audit::Audit;
use crate::extract::Id;
use crate::problem::Problem;

/// Remove a webhook endpoint.
#[utoipa::path(
    delete,
    path = "/api/webhooks/{id}",
    operation_id = "removeWebhook",
    tag = "webhooks",
    params(Id),
    responses((status = 204, description = "It is called no more."))
)]
pub(in crate::api) async fn delete(
    State(state): State<AppState>,
    Id(id): Id,
    audit: Audit,
) -> Result<StatusCode, Problem> {
    audit.before(&recorded(&find(state.store.as_ref(), id).await?));
    if !Endpoint::remove(state.store.as_ref(), id).await? {
        return Err(no_such_endpoint(id));
    }
    state.control.refresh_webhooks().await;
    tracing::info!(webhook.endpoint = %id, "a webhook endpoint was removed");
    Ok(StatusCode::NO_CONTENT)
}
