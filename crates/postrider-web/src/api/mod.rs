//! The REST API. One folder per noun, one file per verb.

mod deliveries;
mod emails;
mod events;
mod health;
mod ip_selection;
mod queue;
mod smtp;
mod suppressions;
mod webhooks;

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post};

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
        .route("/api/emails/{id}/hold", post(emails::order::hold))
        .route("/api/emails/{id}/release", post(emails::order::release))
        .route("/api/emails/{id}/cancel", post(emails::order::cancel))
        .route("/api/emails/bulk/{action}", post(emails::bulk::bulk))
        .route("/api/queue/retry", post(queue::order::retry))
        .route("/api/queue/hold", post(queue::order::hold))
        .route("/api/queue/release", post(queue::order::release))
        .route("/api/queue/cancel", post(queue::order::cancel))
        .route("/api/suppressions", get(suppressions::list::list).post(suppressions::add::add))
        .route("/api/suppressions/{address}", delete(suppressions::remove::remove))
        .route("/api/events", get(events::follow::follow))
        .route("/api/webhooks", get(webhooks::list::list).post(webhooks::create::create))
        .route("/api/webhooks/deliveries", get(deliveries::list::list))
        .route("/api/webhooks/deliveries/replay", post(deliveries::replay::all))
        .route("/api/webhooks/deliveries/{id}", get(deliveries::show::show))
        .route("/api/webhooks/deliveries/{id}/replay", post(deliveries::replay::one))
        .route("/api/webhooks/{id}", webhook())
        .route("/api/webhooks/{id}/rotate", post(webhooks::rotate::rotate))
        .route("/api/webhooks/{id}/test", post(webhooks::test::test))
}

fn webhook() -> MethodRouter<AppState> {
    get(webhooks::show::show).patch(webhooks::update::update).delete(webhooks::delete::delete)
}
