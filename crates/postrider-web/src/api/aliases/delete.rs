//! `DELETE /api/aliases/{address}`

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::no_such_alias;
use crate::AppState;
use crate::audit::Audit;
use crate::extract::AddressInPath;
use crate::problem::Problem;

/// Remove an alias.
#[utoipa::path(
    delete,
    path = "/api/aliases/{address}",
    operation_id = "removeAlias",
    tag = "directory",
    params(AddressInPath),
    responses((status = 204, description = "The alias is gone."))
)]
pub(in crate::api) async fn delete(
    State(state): State<AppState>,
    audit: Audit,
    AddressInPath(address): AddressInPath,
) -> Result<StatusCode, Problem> {
    if let Some(alias) = state.store.alias(&address).await? {
        audit.before(&json!({ "targets": alias.targets }));
    }
    if !state.store.remove_alias(&address).await? {
        return Err(no_such_alias());
    }
    tracing::info!(alias = %address, "an alias was removed by request");
    Ok(StatusCode::NO_CONTENT)
}
