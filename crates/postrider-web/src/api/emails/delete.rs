//! `DELETE /api/emails/{id}`: forgets an e-mail, its message and its deliveries.

use axum::extract::State;
use axum::http::StatusCode;
use postrider_core::{EmailStatus, ObjectId};
use postrider_store::StoreError;

use super::no_such_email;
use crate::AppState;
use crate::extract::EmailId;
use crate::problem::Problem;

/// Forget an e-mail, its message and its deliveries.
///
/// 409 while it is being sent: what becomes of it then could be told to nobody.
#[utoipa::path(
    delete,
    path = "/api/emails/{id}",
    operation_id = "deleteEmail",
    tag = "emails",
    params(EmailId),
    responses((status = 204, description = "It is gone."))
)]
pub(in crate::api) async fn delete(State(state): State<AppState>, EmailId(id): EmailId) -> Result<StatusCode, Problem> {
    match forget(&state, id).await? {
        Forgotten::Gone => {}
        Forgotten::Unknown => return Err(no_such_email(id)),
        Forgotten::Sending => {
            return Err(Problem::conflict(
                "The e-mail is being sent at this moment. Cancel it, or wait until that is over, and delete it then.",
            ));
        }
    }
    tracing::info!(email = %id, "an e-mail was deleted by request");
    Ok(StatusCode::NO_CONTENT)
}

/// What came of forgetting an e-mail.
pub(super) enum Forgotten {
    Gone,
    Unknown,
    /// It stays: a node is at it.
    Sending,
}

/// One that a node takes on between the look and the deletion is gone all the same, and its outcome is not recorded.
pub(super) async fn forget(state: &AppState, id: ObjectId) -> Result<Forgotten, StoreError> {
    let Some(detail) = state.store.email(id).await? else { return Ok(Forgotten::Unknown) };
    if detail.email.status == EmailStatus::Sending {
        return Ok(Forgotten::Sending);
    }
    Ok(if state.store.delete(id).await? { Forgotten::Gone } else { Forgotten::Unknown })
}
