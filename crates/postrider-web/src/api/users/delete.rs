//! `DELETE /api/users/{address}`: removes a user with all mailboxes. Aliases and catch-alls that led there lead there no more.

use axum::extract::State;
use axum::http::StatusCode;

use super::no_such_user;
use crate::AppState;
use crate::extract::AddressInPath;
use crate::problem::Problem;

/// Remove a user, with all mailboxes.
#[utoipa::path(
    delete,
    path = "/api/users/{address}",
    operation_id = "removeUser",
    tag = "directory",
    params(AddressInPath),
    responses((status = 204, description = "The user is gone."))
)]
pub(in crate::api) async fn delete(
    State(state): State<AppState>,
    AddressInPath(address): AddressInPath,
) -> Result<StatusCode, Problem> {
    if !state.store.remove_user(&address).await? {
        return Err(no_such_user());
    }
    tracing::info!(user = %address, "a user was removed by request");
    Ok(StatusCode::NO_CONTENT)
}
