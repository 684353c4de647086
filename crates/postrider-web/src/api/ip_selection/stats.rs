//! `GET /api/ip-selection/stats`: what this process knows of the service and has done with its answers.

use axum::Json;
use axum::extract::State;
use postrider_core::source::IpSelectionStats;

use crate::AppState;

/// What is known of the service that picks source addresses.
#[utoipa::path(
    get,
    path = "/api/ip-selection/stats",
    operation_id = "ipSelectionStats",
    tag = "source addresses",
    responses((status = 200, description = "Since the start of this process.", body = IpSelectionStats))
)]
pub(in crate::api) async fn stats(State(state): State<AppState>) -> Json<IpSelectionStats> {
    Json(state.control.ip_selection_stats())
}
