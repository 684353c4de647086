//! `POST /api/ip-selection/clear-cache`: forgets what the service answered, so that it is asked anew.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::AppState;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::api) struct Cleared {
    /// Answers that were forgotten.
    cleared: usize,
}

/// Forget what the service answered.
#[utoipa::path(
    post,
    path = "/api/ip-selection/clear-cache",
    operation_id = "clearIpSelectionCache",
    tag = "source addresses",
    responses((status = 200, description = "How much was forgotten.", body = Cleared))
)]
pub(in crate::api) async fn clear_cache(State(state): State<AppState>) -> Json<Cleared> {
    Json(Cleared { cleared: state.control.clear_ip_selection_cache() })
}
