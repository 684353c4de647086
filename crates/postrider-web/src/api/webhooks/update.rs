//! `PATCH /api/webhooks/{id}`: changes what is said of an endpoint; `paused` lets its calls wait.

use axum::Json;
use axum::extract::State;

use super::{Said, find, recorded, save, wrong};
use crate::AppState;
use crate::audit::Audit;
use crate::extract::{Id, JsonBody};
use crate::problem::Problem;
use crate::view::EndpointView;

/// Change, pause or resume a webhook endpoint.
#[utoipa::path(
    patch,
    path = "/api/webhooks/{id}",
    operation_id = "changeWebhook",
    tag = "webhooks",
    params(Id),
    request_body = Said,
    responses((status = 200, description = "The endpoint as it then stands.", body = EndpointView))
)]
pub(in crate::api) async fn update(
    State(state): State<AppState>,
    Id(id): Id,
    audit: Audit,
    JsonBody(said): JsonBody<Said>,
) -> Result<Json<EndpointView>, Problem> {
    if said.secret.is_some() {
        return Err(wrong(
            "secret",
            "POST to its /rotate instead: it makes a new one, and both sign for a day".to_owned(),
        ));
    }
    let mut endpoint = find(state.store.as_ref(), id).await?;
    audit.before(&recorded(&endpoint));
    said.apply(&mut endpoint.settings)?;
    save(&state, &mut endpoint).await?;
    audit.after(&recorded(&endpoint));
    Ok(Json(EndpointView::new(endpoint)))
}
