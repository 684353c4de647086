//! `GET /api/smtp/stats`: what the SMTP listeners of this process have done.

use axum::Json;
use axum::extract::State;
use postrider_core::ports::SmtpStats;

use crate::AppState;

/// What the SMTP listeners have done.
#[utoipa::path(
    get,
    path = "/api/smtp/stats",
    operation_id = "smtpStats",
    tag = "server",
    responses((status = 200, description = "What the listeners have done since the start of this process.", body = SmtpStats))
)]
pub(in crate::api) async fn stats(State(state): State<AppState>) -> Json<SmtpStats> {
    Json(state.control.smtp_stats())
}
