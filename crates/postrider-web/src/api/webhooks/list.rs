//! `GET /api/webhooks`: all endpoints, the oldest first.

use axum::Json;
use axum::extract::State;
use postrider_store::webhooks::Endpoint;
use serde::Serialize;

use crate::AppState;
use crate::problem::Problem;
use crate::view::EndpointView;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::api) struct Endpoints {
    webhooks: Vec<EndpointView>,
}

/// All webhook endpoints.
#[utoipa::path(
    get,
    path = "/api/webhooks",
    operation_id = "listWebhooks",
    tag = "webhooks",
    responses((status = 200, description = "All endpoints, the oldest first.", body = Endpoints))
)]
pub(in crate::api) async fn list(State(state): State<AppState>) -> Result<Json<Endpoints>, Problem> {
    let all = Endpoint::all(state.store.as_ref()).await?;
    Ok(Json(Endpoints { webhooks: all.into_iter().map(EndpointView::new).collect() }))
}
