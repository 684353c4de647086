//! `GET /health`: whether this process can do its work, for load balancers (the status code) and people (the rest).

use std::future::Future;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use postrider_core::ports::ListenerStatus;
use postrider_store::tokens::Scope;
use postrider_store::{QueueStats, StoreError, StoreHealth};
use serde::Serialize;
use utoipa::ToSchema;

use crate::AppState;
use crate::auth::Caller;

/// A store that takes longer to answer is not well, and who asks must hear that in time.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// `ok` where all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Failing,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: Verdict,
    store: StorePart,
    queue: QueuePart,
    listeners: Vec<ListenerStatus>,
    version: &'static str,
    uptime_seconds: u64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StorePart {
    status: Verdict,
    #[serde(flatten)]
    health: Option<StoreHealth>,
    latency_ms: Option<u64>,
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueuePart {
    status: Verdict,
    queued: Option<u64>,
    sending: Option<u64>,
    deferred: Option<u64>,
    oldest_queued_seconds: Option<u64>,
}

/// For those who may not see more.
#[derive(Serialize)]
struct Brief {
    status: Verdict,
}

/// Whether the server can do its work.
///
/// 200 when the store answers and all listeners accept connections, 503 otherwise: also while the process shuts down.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "server",
    responses(
        (status = 200, description = "All is well.", body = Health),
        (status = 503, description = "Something is not; also while the server shuts down.", body = Health)
    )
)]
pub(super) async fn health(State(state): State<AppState>, caller: Option<Extension<Caller>>) -> Response {
    let (store, queue) = tokio::join!(
        in_time(&state, state.store.health()),
        in_time(&state, state.store.queue_stats(state.clock.now()))
    );
    let (store, queue) = (StorePart::of(store), QueuePart::of(queue));
    let listeners = state.control.listeners();
    let is_well =
        store.status == Verdict::Ok && queue.status == Verdict::Ok && listeners.iter().all(|listener| listener.open);
    let status = if is_well { Verdict::Ok } else { Verdict::Failing };
    let code = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !caller.is_some_and(|Extension(Caller(principal))| principal.has(Scope::Read)) {
        return (code, Json(Brief { status })).into_response();
    }
    let uptime_seconds = state.control.uptime().as_secs();
    (code, Json(Health { status, store, queue, listeners, version: state.version, uptime_seconds })).into_response()
}

pub(crate) async fn in_time<T>(
    state: &AppState,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::select! {
        answer = answer => answer,
        () = state.clock.sleep(STORE_PATIENCE) => Err(StoreError::Unavailable("it does not answer in time".to_owned())),
    }
}

impl StorePart {
    fn of(health: Result<StoreHealth, StoreError>) -> Self {
        match health {
            Ok(health) => {
                let latency_ms = u64::try_from(health.latency.as_millis()).ok();
                Self { status: Verdict::Ok, latency_ms, health: Some(health), error: None }
            }
            Err(error) => {
                tracing::debug!(%error, "the store is not well");
                Self { status: Verdict::Failing, latency_ms: None, health: None, error: Some(error.to_string()) }
            }
        }
    }
}

impl QueuePart {
    fn of(stats: Result<QueueStats, StoreError>) -> Self {
        match stats {
            Ok(stats) => Self {
                status: Verdict::Ok,
                queued: Some(stats.queued),
                sending: Some(stats.sending),
                deferred: Some(stats.deferred),
                oldest_queued_seconds: stats.oldest_queued_seconds,
            },
            Err(error) => {
                tracing::debug!(%error, "the queue cannot be counted");
                Self {
                    status: Verdict::Failing,
                    queued: None,
                    sending: None,
                    deferred: None,
                    oldest_queued_seconds: None,
                }
            }
        }
    }
}
