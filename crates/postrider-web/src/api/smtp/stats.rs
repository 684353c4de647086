//! `GET /api/smtp/stats`: what the SMTP listeners of this process have done.

use axum::Json;
use axum::extract::State;
use postrider_core::ports::SmtpStats;

use crate::AppState;

pub(in crate::api) async fn stats(State(state): State<AppState>) -> Json<SmtpStats> {
    Json(state.control.smtp_stats())
}
