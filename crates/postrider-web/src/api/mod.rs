//! The REST API. One folder per noun, one file per verb.

mod emails;
mod health;
mod ip_selection;
mod queue;
mod smtp;

use axum::Router;
use axum::routing::{get, post};

use crate::AppState;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/health", get(health::health))
        .route("/api/queue/stats", get(queue::stats::stats))
        .route("/api/smtp/stats", get(smtp::stats::stats))
        .route("/api/ip-selection/stats", get(ip_selection::stats::stats))
        .route("/api/ip-selection/clear-cache", post(ip_selection::clear_cache::clear_cache))
        .route("/api/ip-selection/test", post(ip_selection::test::test))
        .route("/api/emails", get(emails::list::list))
        .route("/api/emails/{id}", get(emails::show::show).delete(emails::delete::delete))
        .route("/api/emails/{id}/raw", get(emails::raw::raw))
        .route("/api/emails/{id}/retry", post(emails::retry::retry))
}
