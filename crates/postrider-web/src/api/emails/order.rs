//! `POST /api/emails/{id}/hold`, `/release`, `/cancel`: one order to all deliveries of an e-mail.

use axum::Json;
use axum::extract::State;
use postrider_core::ObjectId;
use postrider_store::{Order, Selection};

use super::{no_such_email, show};
use crate::AppState;
use crate::extract::EmailId;
use crate::problem::Problem;
use crate::view::EmailDetailView;

/// Hold the deliveries of an e-mail.
#[utoipa::path(
    post,
    path = "/api/emails/{id}/hold",
    operation_id = "holdEmail",
    tag = "emails",
    params(EmailId),
    responses((status = 200, description = "The e-mail as it then stands.", body = EmailDetailView))
)]
pub(in crate::api) async fn hold(
    State(state): State<AppState>,
    EmailId(id): EmailId,
) -> Result<Json<EmailDetailView>, Problem> {
    give(&state, id, Order::Hold, "Nothing can be held: the e-mail has no delivery that is queued or deferred.").await
}

/// Release the held deliveries of an e-mail.
#[utoipa::path(
    post,
    path = "/api/emails/{id}/release",
    operation_id = "releaseEmail",
    tag = "emails",
    params(EmailId),
    responses((status = 200, description = "The e-mail as it then stands.", body = EmailDetailView))
)]
pub(in crate::api) async fn release(
    State(state): State<AppState>,
    EmailId(id): EmailId,
) -> Result<Json<EmailDetailView>, Problem> {
    give(&state, id, Order::Release, "Nothing can be released: the e-mail has no delivery that is held.").await
}

/// Give up the deliveries of an e-mail.
#[utoipa::path(
    post,
    path = "/api/emails/{id}/cancel",
    operation_id = "cancelEmail",
    tag = "emails",
    params(EmailId),
    responses((status = 200, description = "The e-mail as it then stands.", body = EmailDetailView))
)]
pub(in crate::api) async fn cancel(
    State(state): State<AppState>,
    EmailId(id): EmailId,
) -> Result<Json<EmailDetailView>, Problem> {
    let nothing = "Nothing can be cancelled: the e-mail has no delivery that is queued, deferred or held.";
    give(&state, id, Order::Cancel, nothing).await
}

/// Answers with the e-mail as it then stands; 409 where nothing was changed. What a node has taken on is `sending` until it lets
/// go, and says in `ordered` what it will be then.
async fn give(
    state: &AppState,
    id: ObjectId,
    order: Order,
    nothing: &'static str,
) -> Result<Json<EmailDetailView>, Problem> {
    let selection = Selection { emails: vec![id], ..Selection::default() };
    let ordered = state.store.order(selection, order, state.clock.now()).await?;
    if !ordered.is_nothing() {
        state.queue_changed();
        let (changed, recalled) = (ordered.changed, ordered.recalled);
        tracing::info!(email = %id, ?order, changed, recalled, "an order was given by request");
        return show::find(state, id).await.map(Json);
    }
    if state.store.email(id).await?.is_none() {
        return Err(no_such_email(id));
    }
    Err(Problem::conflict(nothing))
}
