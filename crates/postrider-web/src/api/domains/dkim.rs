//! `/api/domains/{domain}/dkim`: the keys that sign a domain's mail.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use postrider_store::dkim::DkimKeys;
use serde::Deserialize;

use super::find;
use crate::AppState;
use crate::extract::{DomainInPath, JsonBody};
use crate::problem::Problem;
use crate::view::DkimView;

/// A year: who waits longer forgets it.
const SIGN_AFTER_HOURS_MAX: u64 = 8_760;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = KeyRotation)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    /// The new keys take over after this many hours, published or not. Without it, once their records are in DNS.
    #[serde(default)]
    #[schema(maximum = 8760)]
    sign_after_hours: Option<u64>,
}

/// The keys that sign a domain's mail, and whether DNS has their records.
#[utoipa::path(
    get,
    path = "/api/domains/{domain}/dkim",
    operation_id = "showDkimKeys",
    tag = "directory",
    params(DomainInPath),
    responses((status = 200, description = "All keys with their DNS records.", body = DkimView))
)]
pub(in crate::api) async fn show(
    State(state): State<AppState>,
    DomainInPath(name): DomainInPath,
) -> Result<Json<DkimView>, Problem> {
    let domain = find(&state, &name).await?.name;
    let keys = match DkimKeys::find(state.store.as_ref(), &domain).await? {
        Some(keys) => state.administration.show_dkim_keys(keys).await?,
        None => Vec::new(),
    };
    Ok(Json(DkimView { domain, keys }))
}

/// Make new keys, which follow those that sign now. A domain without keys gets its first, which sign at once.
#[utoipa::path(
    post,
    path = "/api/domains/{domain}/dkim/rotate",
    operation_id = "rotateDkimKeys",
    tag = "directory",
    params(DomainInPath),
    request_body = Option<Body>,
    responses((status = 201, description = "All keys, with the DNS records to publish.", body = DkimView))
)]
pub(in crate::api) async fn rotate(
    State(state): State<AppState>,
    DomainInPath(name): DomainInPath,
    body: Option<JsonBody<Body>>,
) -> Result<(StatusCode, Json<DkimView>), Problem> {
    let hours = body.and_then(|JsonBody(body)| body.sign_after_hours);
    if hours.is_some_and(|hours| hours > SIGN_AFTER_HOURS_MAX) {
        let detail = format!("signAfterHours is wrong: at most {SIGN_AFTER_HOURS_MAX}.");
        return Err(Problem::bad_parameter("signAfterHours", detail));
    }
    let domain = find(&state, &name).await?.name;
    let signs_from = hours.map(|hours| state.clock.now() + Duration::from_secs(hours * 3600));
    let keys = state.administration.rotate_dkim_keys(&domain, signs_from).await?;
    tracing::info!(%domain, "a domain has new DKIM keys by request");
    let keys = state.administration.show_dkim_keys(keys).await?;
    Ok((StatusCode::CREATED, Json(DkimView { domain, keys })))
}

/// Forget a domain's keys for good: its mail is signed no more.
#[utoipa::path(
    delete,
    path = "/api/domains/{domain}/dkim",
    operation_id = "removeDkimKeys",
    tag = "directory",
    params(DomainInPath),
    responses((status = 204, description = "Nothing is signed in the domain's name any more."))
)]
pub(in crate::api) async fn remove(
    State(state): State<AppState>,
    DomainInPath(name): DomainInPath,
) -> Result<StatusCode, Problem> {
    if !DkimKeys::remove(state.store.as_ref(), &name).await? {
        return Err(Problem::not_found("The domain has no DKIM keys."));
    }
    tracing::info!(domain = %name, "a domain's DKIM keys were removed by request");
    Ok(StatusCode::NO_CONTENT)
}
