//! `GET /api/aliases/{address}`

use axum::Json;
use axum::extract::State;
use postrider_store::AliasRecord;

use super::no_such_alias;
use crate::AppState;
use crate::extract::AddressInPath;
use crate::problem::Problem;

/// One alias.
#[utoipa::path(
    get,
    path = "/api/aliases/{address}",
    operation_id = "showAlias",
    tag = "directory",
    params(AddressInPath),
    responses((status = 200, description = "The alias.", body = AliasRecord))
)]
pub(in crate::api) async fn show(
    State(state): State<AppState>,
    AddressInPath(address): AddressInPath,
) -> Result<Json<AliasRecord>, Problem> {
    Ok(Json(state.store.alias(&address).await?.ok_or_else(no_such_alias)?))
}
