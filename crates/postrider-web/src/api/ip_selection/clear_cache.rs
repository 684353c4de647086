//! `POST /api/ip-selection/clear-cache`: forgets what the service answered, so that it is asked anew.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::AppState;

#[derive(Debug, Serialize)]
pub(in crate::api) struct Cleared {
    /// Answers that were forgotten.
    cleared: usize,
}

pub(in crate::api) async fn clear_cache(State(state): State<AppState>) -> Json<Cleared> {
    Json(Cleared { cleared: state.control.clear_ip_selection_cache() })
}
