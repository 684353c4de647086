//! `GET /api/users/{address}`: a user with mailboxes, usage and all that leads there.

use axum::Json;
use axum::extract::State;

use super::{detail, find};
use crate::AppState;
use crate::extract::AddressInPath;
use crate::problem::Problem;
use crate::view::directory::UserDetailView;

/// One user.
#[utoipa::path(
    get,
    path = "/api/users/{address}",
    operation_id = "showUser",
    tag = "directory",
    params(AddressInPath),
    responses((status = 200, description = "The user.", body = UserDetailView))
)]
pub(in crate::api) async fn show(
    State(state): State<AppState>,
    AddressInPath(address): AddressInPath,
) -> Result<Json<UserDetailView>, Problem> {
    let user = find(&state, &address).await?;
    Ok(Json(detail(&state, &user).await?))
}
