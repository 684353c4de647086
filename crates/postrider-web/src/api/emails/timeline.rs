//! `GET /api/emails/{id}/timeline`: what happened to an e-mail, in order.

use axum::Json;
use axum::extract::State;
use postrider_store::tokens::Scope;
use postrider_store::{AuditFilter, CallFilter, EmailDetail};

use super::no_such_email;
use crate::AppState;
use crate::auth::{Caller, Principal};
use crate::extract::EmailId;
use crate::problem::Problem;
use crate::view::{TimelineSources, TimelineView};

/// Calls to webhook endpoints that are shown: the last ones.
const CALLS_MAX: u64 = 500;

/// Orders that are shown: the last ones.
const ORDERS_MAX: u64 = 100;

/// What happened to an e-mail, in order: accepted, parsed, each order for it alone, each decision, each attempt with its replies, each
/// webhook.
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
    Caller(caller): Caller,
) -> Result<Json<TimelineView>, Problem> {
    let detail = state.store.email(id).await?.ok_or_else(|| no_such_email(id))?;
    collect(&state, &caller, detail).await.map(Json)
}

/// All that is on record of it.
pub(crate) async fn collect(
    state: &AppState,
    caller: &Principal,
    detail: EmailDetail,
) -> Result<TimelineView, Problem> {
    let id = detail.email.id;
    let about_it = CallFilter { email: Some(id), ..CallFilter::default() };
    let calls = state.store.calls(&about_it, 1, CALLS_MAX).await?;
    // From its acceptance on: so that no more of the log is looked through.
    let for_it =
        AuditFilter { target: Some(id.to_string()), from: Some(detail.email.created_at), ..AuditFilter::default() };
    let orders = state.store.audit_entries(&for_it, 1, ORDERS_MAX).await?;
    let sources = TimelineSources {
        calls: calls.calls,
        calls_total: calls.total,
        orders: orders.entries,
        orders_total: orders.total,
        shows_actors: caller.has(Scope::Admin),
    };
    Ok(TimelineView::new(detail, sources))
}
