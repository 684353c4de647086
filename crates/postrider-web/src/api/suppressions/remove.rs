//! `DELETE /api/suppressions/{address}`: an address is sent to again.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use postrider_core::Address;

use crate::AppState;
use crate::problem::Problem;

/// Send to an address again.
#[utoipa::path(
    delete,
    path = "/api/suppressions/{address}",
    operation_id = "removeSuppression",
    tag = "suppressions",
    params(("address" = String, Path, description = "The address.")),
    responses((status = 204, description = "It is sent to again."))
)]
pub(in crate::api) async fn remove(
    State(state): State<AppState>,
    text: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let not_listed = || Problem::not_found("That address is not on the suppression list.");
    let address = text.ok().and_then(|Path(text)| Address::parse(&text).ok()).ok_or_else(not_listed)?;
    if !state.store.unsuppress(&address).await? {
        return Err(not_listed());
    }
    tracing::info!(%address, "an address was taken off the suppression list by request");
    Ok(StatusCode::NO_CONTENT)
}
