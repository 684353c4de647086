//! `GET /api/queue/stats`: the queue in numbers.

use axum::Json;
use axum::extract::State;
use postrider_store::QueueStats;

use crate::AppState;
use crate::problem::Problem;

/// The queue in numbers.
#[utoipa::path(
    get,
    path = "/api/queue/stats",
    operation_id = "queueStats",
    tag = "queue",
    responses((status = 200, description = "The queue in numbers.", body = QueueStats))
)]
pub(in crate::api) async fn stats(State(state): State<AppState>) -> Result<Json<QueueStats>, Problem> {
    Ok(Json(state.store.queue_stats(state.clock.now()).await?))
}
