//! `POST /api/suppressions`: nothing is sent to an address any more.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use postrider_core::{Address, SuppressionReason};
use postrider_store::Suppression;
use serde::Deserialize;

use crate::AppState;
use crate::audit::Audit;
use crate::extract::JsonBody;
use crate::problem::Problem;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = NewSuppression)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    address: String,
    /// Why, for people: part of what is said of deliveries that fail for it.
    #[serde(default)]
    note: Option<String>,
}

/// Send nothing to an address any more.
#[utoipa::path(
    post,
    path = "/api/suppressions",
    operation_id = "addSuppression",
    tag = "suppressions",
    request_body = Body,
    responses((status = 201, description = "It is listed.", body = Suppression))
)]
pub(in crate::api) async fn add(
    State(state): State<AppState>,
    audit: Audit,
    JsonBody(body): JsonBody<Body>,
) -> Result<(StatusCode, Json<Suppression>), Problem> {
    let address = Address::parse(&body.address)
        .map_err(|error| Problem::bad_parameter("address", format!("address is wrong: {error}.")))?;
    audit.target(&address);
    let now = state.clock.now();
    let suppression = Suppression::new(address, SuppressionReason::Manual, None, body.note.as_deref(), now);
    if state.store.suppress(vec![suppression.clone()]).await? == 0 {
        return Err(Problem::conflict(format!("{} is listed already.", suppression.address)));
    }
    tracing::info!(address = %suppression.address, "an address was put on the suppression list by request");
    // As it is listed: addresses are spelled in one way there.
    let listed = state.store.suppressed(std::slice::from_ref(&suppression.address)).await?.pop().flatten();
    Ok((StatusCode::CREATED, Json(listed.unwrap_or(suppression))))
}
