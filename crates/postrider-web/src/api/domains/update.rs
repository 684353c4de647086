//! `PATCH /api/domains/{domain}`: decides who gets what is for nobody else there.

use axum::Json;
use axum::extract::State;
use postrider_core::Address;
use postrider_store::directory;
use serde::Deserialize;
use serde_json::json;

use super::{detail, find};
use crate::AppState;
use crate::api::tokens::given;
use crate::audit::Audit;
use crate::extract::{DomainInPath, JsonBody, parsed};
use crate::problem::Problem;
use crate::view::directory::DomainDetailView;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = DomainChange)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    /// The user who gets what is for nobody else; `null`: nobody.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    catch_all: Option<Option<String>>,
}

/// Change a domain's catch-all.
#[utoipa::path(
    patch,
    path = "/api/domains/{domain}",
    operation_id = "changeDomain",
    tag = "directory",
    params(DomainInPath),
    request_body = Body,
    responses((status = 200, description = "The domain as it then stands.", body = DomainDetailView))
)]
pub(in crate::api) async fn update(
    State(state): State<AppState>,
    audit: Audit,
    DomainInPath(name): DomainInPath,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<DomainDetailView>, Problem> {
    if let Some(catch_all) = body.catch_all {
        let catch_all: Option<Address> = catch_all.map(|text| parsed("catchAll", &text)).transpose()?;
        audit.before(&json!({ "catchAll": find(&state, &name).await?.catch_all }));
        audit.after(&json!({ "catchAll": catch_all }));
        let (store, configured) = (state.store.as_ref(), state.administration.configured_domains());
        directory::set_catch_all(store, configured, &name, catch_all.as_ref(), state.clock.now()).await?;
        tracing::info!(domain = %name, "a domain has another catch-all by request");
    }
    Ok(Json(detail(&state, &name).await?))
}
