//! `GET /api/webhooks`: all endpoints, the oldest first.

use axum::Json;
use axum::extract::State;
use postrider_store::webhooks::Endpoint;
use serde::Serialize;

use crate::AppState;
use crate::problem::Problem;
use crate::view::EndpointView;

#[derive(Debug, Serialize)]
pub(in crate::api) struct Endpoints {
    webhooks: Vec<EndpointView>,
}

pub(in crate::api) async fn list(State(state): State<AppState>) -> Result<Json<Endpoints>, Problem> {
    let all = Endpoint::all(state.store.as_ref()).await?;
    Ok(Json(Endpoints { webhooks: all.into_iter().map(EndpointView::new).collect() }))
}
