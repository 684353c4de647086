//! `GET /metrics`: what the server counts and measures, for Prometheus.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use postrider_core::metrics::{self, MetricFamily};
use postrider_store::{QueueStats, StoreHealth};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};

use super::health::in_time;
use crate::AppState;
use crate::problem::Problem;

/// What the server counts and measures, for Prometheus: docs/metrics.md lists it.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "server",
    responses((status = 200, description = "The metrics.", content_type = "text/plain; version=0.0.4", body = String))
)]
pub(super) async fn metrics(State(state): State<AppState>) -> Result<impl IntoResponse, Problem> {
    let (health, queue) = tokio::join!(
        in_time(&state, state.store.health()),
        in_time(&state, state.store.queue_stats(state.clock.now()))
    );
    // Where the store is not well, the rest is told all the same.
    let mut families = looked_up(&state, health.ok(), queue.ok());
    families.extend(state.control.metrics());
    families.extend(state.requests.gather());
    let text = TextEncoder::new().encode_to_string(&families).map_err(|error| {
        tracing::error!(%error, "the metrics could not be written");
        Problem::internal("The metrics could not be written; the server's log says why.")
    })?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text))
}

/// What is not counted as it happens, but as it stands.
fn looked_up(state: &AppState, health: Option<StoreHealth>, queue: Option<QueueStats>) -> Vec<MetricFamily> {
    let registry = Registry::new();
    metrics::BUILD_INFO.gauges(&registry).with_label_values(&[state.version]).set(1);
    let engine = health.as_ref().map_or("", |health| health.engine);
    metrics::STORE_UP.gauges(&registry).with_label_values(&[engine]).set(i64::from(health.is_some()));
    if let Some(health) = health {
        metrics::STORE_READ_SECONDS.fractional_gauge(&registry).set(health.latency.as_secs_f64());
        if let Some(bytes) = health.size_bytes {
            metrics::STORE_SIZE_BYTES.fractional_gauge(&registry).set(bytes as f64);
        }
        if let Some(bytes) = health.free_bytes {
            metrics::STORE_FREE_BYTES.fractional_gauge(&registry).set(bytes as f64);
        }
    }
    if let Some(queue) = queue {
        let emails = metrics::QUEUE_EMAILS.gauges(&registry);
        for (status, count) in [
            ("queued", queue.queued),
            ("sending", queue.sending),
            ("deferred", queue.deferred),
            ("sent", queue.sent),
            ("failed", queue.failed),
            ("held", queue.held),
            ("cancelled", queue.cancelled),
            ("received", queue.received),
        ] {
            emails.with_label_values(&[status]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let oldest = queue.oldest_queued_seconds.unwrap_or(0);
        metrics::QUEUE_OLDEST_SECONDS.fractional_gauge(&registry).set(oldest as f64);
    }
    let listeners = metrics::LISTENER_UP.gauges(&registry);
    for listener in state.control.listeners() {
        listeners.with_label_values(&[listener.name]).set(i64::from(listener.open));
    }
    let streams = state.streams.open();
    metrics::EVENT_STREAMS_OPEN.fractional_gauge(&registry).set(streams as f64);
    registry.gather()
}
