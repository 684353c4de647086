//! `GET /api/queue/stats`: the queue in numbers.

use axum::Json;
use axum::extract::State;
use postrider_store::QueueStats;

use crate::AppState;
use crate::problem::Problem;

pub(in crate::api) async fn stats(State(state): State<AppState>) -> Result<Json<QueueStats>, Problem> {
    Ok(Json(state.store.queue_stats(state.clock.now()).await?))
}
