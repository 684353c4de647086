//! `GET /api/ip-selection/stats`: what this process knows of the service and has done with its answers.

use axum::Json;
use axum::extract::State;
use postrider_core::source::IpSelectionStats;

use crate::AppState;

pub(in crate::api) async fn stats(State(state): State<AppState>) -> Json<IpSelectionStats> {
    Json(state.control.ip_selection_stats())
}
