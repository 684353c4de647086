//! `PATCH /api/users/{address}`: gives a user another password, another quota, or both.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;

use super::{Password, SaidQuota, detail, find, no_such_user};
use crate::AppState;
use crate::audit::Audit;
use crate::extract::{AddressInPath, JsonBody};
use crate::problem::Problem;
use crate::view::directory::UserDetailView;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = UserChange)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    password: Option<Password>,
    quota: Option<SaidQuota>,
    /// Whether the user may log in. Who may not keeps password and mailboxes, and mail goes on to be kept; an open session ends
    /// with its next command, one that waits for news within minutes.
    enabled: Option<bool>,
}

/// Change a user.
#[utoipa::path(
    patch,
    path = "/api/users/{address}",
    operation_id = "changeUser",
    tag = "directory",
    params(AddressInPath),
    request_body = Body,
    responses((status = 200, description = "The user as it then stands.", body = UserDetailView))
)]
pub(in crate::api) async fn update(
    State(state): State<AppState>,
    audit: Audit,
    AddressInPath(address): AddressInPath,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<UserDetailView>, Problem> {
    let user = find(&state, &address).await?;
    let quota = body.quota.map(|said| said.applied_to(user.quota)).transpose()?;
    let password = match body.password {
        Some(Password(password)) => Some(state.administration.hash_password(password).await?),
        None => None,
    };
    let enabled = body.enabled.unwrap_or(user.is_enabled);
    audit.before(&json!({ "quota": user.quota, "enabled": user.is_enabled }));
    audit.after(&json!({
        "quota": quota.unwrap_or(user.quota),
        "enabled": enabled,
        "hasNewPassword": password.is_some(),
    }));
    let now = state.clock.now();
    // All is checked: what can still fail is the store, and then the same request again does the rest.
    if let Some((hash, keys)) = password {
        if !state.store.set_password(&address, hash, keys, now).await? {
            return Err(no_such_user());
        }
        tracing::info!(user = %user.address, "a user has a new password by request");
    }
    if let Some(quota) = quota {
        if !state.store.set_quota(&address, quota, now).await? {
            return Err(no_such_user());
        }
        tracing::info!(user = %user.address, "a user has a new quota by request");
    }
    if enabled != user.is_enabled {
        if !state.store.set_enabled(&address, enabled, now).await? {
            return Err(no_such_user());
        }
        tracing::info!(user = %user.address, enabled, "a user was enabled or disabled by request");
    }
    let user = find(&state, &address).await?;
    Ok(Json(detail(&state, &user).await?))
}
