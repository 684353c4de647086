//! `POST /api/domains`: mail for a domain is kept here, and its mail to other hosts is signed.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use postrider_core::{Address, Domain};
use postrider_store::DomainRecord;
use postrider_store::directory::user_address;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::detail;
use crate::AppState;
use crate::audit::Audit;
use crate::extract::{JsonBody, parsed};
use crate::problem::Problem;
use crate::view::TxtRecordView;
use crate::view::directory::DomainDetailView;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = NewDomain)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    name: String,
    /// The user who gets what is for nobody else; without one that is refused or kept, as `UNKNOWN_RECIPIENTS` says.
    #[serde(default)]
    catch_all: Option<String>,
}

/// A domain that was added.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct AddedDomain {
    #[serde(flatten)]
    domain: DomainDetailView,
    /// To be published: else the signatures under its mail count for nothing.
    dkim_records: Vec<TxtRecordView>,
}

/// Keep a domain's mail here.
#[utoipa::path(
    post,
    path = "/api/domains",
    operation_id = "addDomain",
    tag = "directory",
    request_body = Body,
    responses((status = 201, description = "The domain, and the DNS records of its keys.", body = AddedDomain))
)]
pub(in crate::api) async fn create(
    State(state): State<AppState>,
    audit: Audit,
    JsonBody(body): JsonBody<Body>,
) -> Result<(StatusCode, Json<AddedDomain>), Problem> {
    let name: Domain = parsed("name", &body.name)?;
    audit.target(&name);
    // The user is looked for first: a domain without the catch-all that was asked for would take mail that it should not.
    let catch_all = match &body.catch_all {
        Some(text) => {
            let address: Address = parsed("catchAll", text)?;
            let configured = state.administration.configured_domains();
            Some(user_address(state.store.as_ref(), configured, &address).await?)
        }
        None => None,
    };
    audit.after(&json!({ "catchAll": catch_all }));
    let now = state.clock.now();
    let record = DomainRecord { name: name.clone(), catch_all, created_at: now, updated_at: now };
    state.store.add_domain(record).await?;
    tracing::info!(domain = %name, "a domain was added by request");
    let keys = state.administration.ensure_dkim_keys(&name).await?;
    let records = keys.signing(now).map(|pair| pair.records(&name)).unwrap_or_default();
    let dkim_records = records.into_iter().map(|(name, value)| TxtRecordView::new(name, value)).collect();
    Ok((StatusCode::CREATED, Json(AddedDomain { domain: detail(&state, &name).await?, dkim_records })))
}
