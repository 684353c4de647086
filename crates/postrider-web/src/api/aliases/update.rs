//! `PATCH /api/aliases/{address}`: gives an alias other users.

use axum::Json;
use axum::extract::State;
use postrider_store::{AliasRecord, directory};
use serde::Deserialize;
use serde_json::json;

use super::targets;
use crate::AppState;
use crate::audit::Audit;
use crate::extract::{AddressInPath, JsonBody};
use crate::problem::Problem;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = AliasChange)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    /// The users who get its mail, in place of those who did.
    #[schema(min_items = 1, max_items = 100)]
    targets: Vec<String>,
}

/// Give an alias other users.
#[utoipa::path(
    patch,
    path = "/api/aliases/{address}",
    operation_id = "changeAlias",
    tag = "directory",
    params(AddressInPath),
    request_body = Body,
    responses((status = 200, description = "The alias as it then stands.", body = AliasRecord))
)]
pub(in crate::api) async fn update(
    State(state): State<AppState>,
    audit: Audit,
    AddressInPath(address): AddressInPath,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<AliasRecord>, Problem> {
    let targets = targets(&body.targets)?;
    if let Some(alias) = state.store.alias(&address).await? {
        audit.before(&json!({ "targets": alias.targets }));
    }
    audit.after(&json!({ "targets": targets }));
    let (store, configured) = (state.store.as_ref(), state.administration.configured_domains());
    let alias = directory::set_alias_targets(store, configured, &address, &targets, state.clock.now()).await?;
    tracing::info!(alias = %alias.address, "an alias was changed by request");
    Ok(Json(alias))
}
