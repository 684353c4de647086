//! `POST /api/webhooks/{id}/rotate`: another secret. Calls are signed with the one before, too, for a day.

use axum::Json;
use axum::extract::State;
use postrider_store::webhooks::WebhookSecret;

use super::{find, save};
use crate::AppState;
use crate::extract::Id;
use crate::problem::Problem;
use crate::view::EndpointView;

/// Give a webhook endpoint a new secret.
#[utoipa::path(
    post,
    path = "/api/webhooks/{id}/rotate",
    operation_id = "rotateWebhookSecret",
    tag = "webhooks",
    params(Id),
    responses((status = 200, description = "With the new secret. The one before signs too, for a day.", body = EndpointView))
)]
pub(in crate::api) async fn rotate(State(state): State<AppState>, Id(id): Id) -> Result<Json<EndpointView>, Problem> {
    let mut endpoint = find(state.store.as_ref(), id).await?;
    let (secret, now) = (WebhookSecret::generate()?, state.clock.now());
    endpoint.rotate(secret.clone(), now);
    save(&state, &mut endpoint).await?;
    Ok(Json(EndpointView::with_secret(endpoint, secret)))
}
