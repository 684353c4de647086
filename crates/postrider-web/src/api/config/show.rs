//! `GET /api/config`: the effective settings with where each came from, secrets masked.

use axum::Json;
use axum::extract::State;

use crate::AppState;
use crate::view::SettingsView;

/// The effective settings, secrets masked.
#[utoipa::path(
    get,
    path = "/api/config",
    operation_id = "showSettings",
    tag = "server",
    responses((status = 200, description = "Every setting, and where its value came from.", body = SettingsView))
)]
pub(in crate::api) async fn show(State(state): State<AppState>) -> Json<SettingsView> {
    Json(state.administration.settings())
}
