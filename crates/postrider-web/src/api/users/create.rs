//! `POST /api/users`: adds a user, with the mailboxes that each has from the start.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use postrider_core::Address;
use postrider_store::Quota;
use serde::Deserialize;
use serde_json::json;

use super::{Password, SaidQuota, detail};
use crate::AppState;
use crate::audit::Audit;
use crate::extract::{JsonBody, parsed};
use crate::problem::Problem;
use crate::view::directory::UserDetailView;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = NewUser)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    /// The login name too.
    address: String,
    password: Password,
    #[serde(default)]
    quota: SaidQuota,
}

/// Add a user.
#[utoipa::path(
    post,
    path = "/api/users",
    operation_id = "addUser",
    tag = "directory",
    request_body = Body,
    responses((status = 201, description = "The user, who may log in from now on.", body = UserDetailView))
)]
pub(in crate::api) async fn create(
    State(state): State<AppState>,
    audit: Audit,
    JsonBody(body): JsonBody<Body>,
) -> Result<(StatusCode, Json<UserDetailView>), Problem> {
    let address: Address = parsed("address", &body.address)?;
    audit.target(&address);
    let quota = body.quota.applied_to(Quota::default())?;
    // Before the password is hashed, which costs time; the store has the last word.
    if state.store.user(&address).await?.is_some() {
        return Err(Problem::conflict(format!("{address} exists already.")));
    }
    if state.store.alias(&address).await?.is_some() {
        return Err(Problem::conflict(format!(
            "{address} is an alias: remove it first, with DELETE /api/aliases/{address}."
        )));
    }
    let mut user = state.administration.new_user(address, body.password.0).await?;
    user.quota = quota;
    audit.after(&json!({ "quota": quota }));
    state.store.add_user(user.clone()).await?;
    tracing::info!(user = %user.address, "a user was added by request");
    Ok((StatusCode::CREATED, Json(detail(&state, &user).await?)))
}
