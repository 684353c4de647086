//! `DELETE /api/emails/{id}`: forgets an e-mail, its message and its deliveries.

use axum::extract::State;
use axum::http::StatusCode;

use super::no_such_email;
use crate::AppState;
use crate::extract::EmailId;
use crate::problem::Problem;

/// Forget an e-mail, its message and its deliveries.
#[utoipa::path(
    delete,
    path = "/api/emails/{id}",
    operation_id = "deleteEmail",
    tag = "emails",
    params(EmailId),
    responses((status = 204, description = "It is gone."))
)]
pub(in crate::api) async fn delete(State(state): State<AppState>, EmailId(id): EmailId) -> Result<StatusCode, Problem> {
    if !state.store.delete(id).await? {
        return Err(no_such_email(id));
    }
    tracing::info!(email = %id, "an e-mail was deleted by request");
    Ok(StatusCode::NO_CONTENT)
}
