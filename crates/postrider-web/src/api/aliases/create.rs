//! `POST /api/aliases`: adds an alias of a domain of this server, for users who are there.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use postrider_core::Address;
use postrider_store::{AliasRecord, directory};
use serde::Deserialize;
use serde_json::json;

use super::targets;
use crate::AppState;
use crate::audit::Audit;
use crate::extract::{JsonBody, parsed};
use crate::problem::Problem;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = NewAlias)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    address: String,
    /// The users who get its mail.
    #[schema(min_items = 1, max_items = 100)]
    targets: Vec<String>,
}

/// Add an alias.
#[utoipa::path(
    post,
    path = "/api/aliases",
    operation_id = "addAlias",
    tag = "directory",
    request_body = Body,
    responses((status = 201, description = "The alias.", body = AliasRecord))
)]
pub(in crate::api) async fn create(
    State(state): State<AppState>,
    audit: Audit,
    JsonBody(body): JsonBody<Body>,
) -> Result<(StatusCode, Json<AliasRecord>), Problem> {
    let address: Address = parsed("address", &body.address)?;
    audit.target(&address);
    let targets = targets(&body.targets)?;
    audit.after(&json!({ "targets": targets }));
    let (store, configured) = (state.store.as_ref(), state.administration.configured_domains());
    let alias = directory::add_alias(store, configured, &address, &targets, state.clock.now()).await?;
    tracing::info!(alias = %alias.address, "an alias was added by request");
    Ok((StatusCode::CREATED, Json(alias)))
}
