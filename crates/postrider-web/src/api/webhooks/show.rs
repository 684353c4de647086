//! `GET /api/webhooks/{id}`: one endpoint.

use axum::Json;
use axum::extract::State;

use super::find;
use crate::AppState;
use crate::extract::Id;
use crate::problem::Problem;
use crate::view::EndpointView;

/// One webhook endpoint.
#[utoipa::path(
    get,
    path = "/api/webhooks/{id}",
    operation_id = "showWebhook",
    tag = "webhooks",
    params(Id),
    responses((status = 200, description = "The endpoint.", body = EndpointView))
)]
pub(in crate::api) async fn show(State(state): State<AppState>, Id(id): Id) -> Result<Json<EndpointView>, Problem> {
    Ok(Json(EndpointView::new(find(state.store.as_ref(), id).await?)))
}
