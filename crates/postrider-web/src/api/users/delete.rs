//! `DELETE /api/users/{address}`: removes a user with all mailboxes. Aliases and catch-alls that lead there are not left to lead to
//! nobody: they are in the way, or go too.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use postrider_store::directory;

use super::no_such_user;
use crate::AppState;
use crate::audit::Audit;
use crate::extract::{AddressInPath, Parameters};
use crate::problem::Problem;

/// Remove a user, with all mailboxes.
///
/// Where aliases or catch-alls lead to the user it is refused (409), and the answer names them; `aliases=remove` removes these
/// too: aliases keep their other users, and go when they have none.
#[utoipa::path(
    delete,
    path = "/api/users/{address}",
    operation_id = "removeUser",
    tag = "directory",
    params(
        AddressInPath,
        ("aliases" = Option<String>, Query, description = "`remove`: aliases and catch-alls that lead there go too.")
    ),
    responses((status = 204, description = "The user is gone."))
)]
pub(in crate::api) async fn delete(
    State(state): State<AppState>,
    AddressInPath(address): AddressInPath,
    audit: Audit,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let with_ways = parameters.read("aliases", |value| match value {
        "remove" => Ok(true),
        _ => Err("it is remove, or not there".to_owned()),
    })?;
    parameters.finish(&["aliases"])?;
    let removed =
        directory::remove_user(state.store.as_ref(), &address, with_ways.is_some(), state.clock.now()).await?;
    let Some(ways) = removed else { return Err(no_such_user()) };
    if !ways.is_empty() {
        audit.note("aliases", &ways.aliases);
        audit.note("catchAlls", &ways.catch_alls);
    }
    tracing::info!(user = %address, "a user was removed by request");
    Ok(StatusCode::NO_CONTENT)
}
