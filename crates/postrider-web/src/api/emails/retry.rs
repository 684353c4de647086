//! `POST /api/emails/{id}/retry`: tries all deliveries of an e-mail again that are not sent or held.

use axum::Json;
use axum::extract::State;
use postrider_store::{Order, Selection};

use super::{no_such_email, show};
use crate::AppState;
use crate::extract::EmailId;
use crate::problem::Problem;
use crate::view::EmailDetailView;

/// Try the deliveries of an e-mail again now.
///
/// Answers with the e-mail as it then stands; 409 where nothing was changed. An e-mail with `notBefore` is not sent before then.
#[utoipa::path(
    post,
    path = "/api/emails/{id}/retry",
    operation_id = "retryEmail",
    tag = "emails",
    params(EmailId),
    responses((status = 200, description = "The e-mail as it then stands.", body = EmailDetailView))
)]
pub(in crate::api) async fn retry(
    State(state): State<AppState>,
    EmailId(id): EmailId,
) -> Result<Json<EmailDetailView>, Problem> {
    let selection = Selection { emails: vec![id], ..Selection::default() };
    let ordered = state.store.order(selection, Order::Retry, state.clock.now()).await?;
    if ordered.changed > 0 {
        state.queue_changed();
        tracing::info!(email = %id, deliveries = ordered.changed, "deliveries are tried again by request");
        return show::find(&state, id).await.map(Json);
    }
    if state.store.email(id).await?.is_none() {
        return Err(no_such_email(id));
    }
    Err(Problem::conflict(if ordered.sending > 0 {
        "The e-mail is being sent at this moment. Look at it again shortly."
    } else if ordered.scheduled > 0 {
        "The e-mail is scheduled and is not sent before its time. To send it now, resend it and cancel this one."
    } else {
        "Nothing can be tried again: the e-mail has no delivery that is queued, deferred, failed or cancelled."
    }))
}
