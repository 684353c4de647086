//! `POST /api/webhooks/{id}/test`: calls an endpoint with a sample, once, and tells what it answered.

use axum::Json;
use axum::extract::State;
use postrider_core::ports::WebhookTest;

use super::find;
use crate::AppState;
use crate::extract::Id;
use crate::problem::Problem;

/// Call a webhook endpoint with a sample.
#[utoipa::path(
    post,
    path = "/api/webhooks/{id}/test",
    operation_id = "testWebhook",
    tag = "webhooks",
    params(Id),
    responses((status = 200, description = "What the endpoint answered.", body = WebhookTest))
)]
pub(in crate::api) async fn test(State(state): State<AppState>, Id(id): Id) -> Result<Json<WebhookTest>, Problem> {
    find(state.store.as_ref(), id).await?;
    let tested = state.control.test_webhook(id).await;
    tested.map(Json).map_err(|error| Problem::conflict(format!("{error}.")))
}
