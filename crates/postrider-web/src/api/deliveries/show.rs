//! `GET /api/webhooks/deliveries/{id}`: one call, with every try.

use axum::Json;
use axum::extract::State;
use postrider_store::CallFilter;

use super::no_such_delivery;
use crate::AppState;
use crate::extract::Id;
use crate::problem::Problem;
use crate::view::CallView;

/// One call to a webhook endpoint.
#[utoipa::path(
    get,
    path = "/api/webhooks/deliveries/{id}",
    operation_id = "showWebhookDelivery",
    tag = "webhooks",
    params(Id),
    responses((status = 200, description = "The call, with its tries.", body = CallView))
)]
pub(in crate::api) async fn show(State(state): State<AppState>, Id(id): Id) -> Result<Json<CallView>, Problem> {
    let filter = CallFilter { ids: vec![id], ..CallFilter::default() };
    let found = state.store.calls(&filter, 1, 1).await?.calls.into_iter().next();
    found.map(|call| Json(CallView::from(call))).ok_or_else(|| no_such_delivery(id))
}
