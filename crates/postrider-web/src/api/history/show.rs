//! `GET /api/history`: mail accepted, delivered, deferred and failed, minute by minute or in longer steps.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use postrider_store::TrafficSpan;

use crate::AppState;
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::history::{HistoryView, Span, filled};

/// What was done when, of all nodes together.
///
/// In steps of a minute for the last hour, of ten minutes for the last day, of an hour for the last week. What a node has counted is
/// here about a second later.
#[utoipa::path(
    get,
    path = "/api/history",
    operation_id = "history",
    tag = "server",
    params(("span" = Option<Span>, Query, description = "How far back; `hour` if not given.")),
    responses((status = 200, description = "Every step, the oldest first.", body = HistoryView))
)]
pub(in crate::api) async fn show(State(state): State<AppState>, uri: Uri) -> Result<Json<HistoryView>, Problem> {
    let span = span(&uri)?;
    let now = state.clock.now();
    let steps = steps(&state, span).await?;
    Ok(Json(HistoryView::new(span, now, &steps)))
}

/// The one parameter.
pub(crate) fn span(uri: &Uri) -> Result<Span, Problem> {
    let mut parameters = Parameters::of(uri)?;
    let span = parameters.parsed("span")?.unwrap_or_default();
    parameters.finish(&["span"])?;
    Ok(span)
}

/// Every step of a span.
async fn steps(state: &AppState, span: Span) -> Result<Vec<TrafficSpan>, Problem> {
    let now = state.clock.now();
    let (from, to) = span.bounds(now);
    Ok(filled(span, now, state.store.history(span.step(), from, to).await?))
}
