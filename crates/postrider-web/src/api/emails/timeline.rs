//! `GET /api/emails/{id}/timeline`: what happened to an e-mail, in order.

use axum::Json;
use axum::extract::State;
use postrider_store::CallFilter;

use super::no_such_email;
use crate::AppState;
use crate::extract::EmailId;
use crate::problem::Problem;
use crate::view::TimelineView;

/// Calls to webhook endpoints that are shown: the last ones.
const CALLS_MAX: u64 = 500;

/// What happened to an e-mail, in order: accepted, parsed, each decision, each attempt with its replies, each webhook.
#[utoipa::path(
    get,
    path = "/api/emails/{id}/timeline",
    operation_id = "emailTimeline",
    tag = "emails",
    params(EmailId),
    responses((status = 200, description = "What happened, the first thing first.", body = TimelineView))
)]
pub(in crate::api) async fn timeline(
    State(state): State<AppState>,
    EmailId(id): EmailId,
) -> Result<Json<TimelineView>, Problem> {
    let detail = state.store.email(id).await?.ok_or_else(|| no_such_email(id))?;
    let about_it = CallFilter { email: Some(id), ..CallFilter::default() };
    let calls = state.store.calls(&about_it, 1, CALLS_MAX).await?;
    Ok(Json(TimelineView::new(detail, calls.calls, calls.total)))
}
