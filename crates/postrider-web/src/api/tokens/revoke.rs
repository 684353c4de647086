//! `DELETE /api/tokens/{id}`: a token opens nothing any more: here at once, on other nodes within a second.

use axum::extract::State;
use axum::http::StatusCode;
use postrider_store::tokens::Token;

use super::no_such_token;
use crate::AppState;
use crate::audit::Audit;
use crate::extract::Id;
use crate::problem::Problem;

/// Revoke a token.
#[utoipa::path(
    delete,
    path = "/api/tokens/{id}",
    operation_id = "revokeToken",
    tag = "tokens",
    params(Id),
    responses((status = 204, description = "It opens nothing any more."))
)]
pub(in crate::api) async fn revoke(
    State(state): State<AppState>,
    audit: Audit,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    if let Some(token) = Token::find(state.store.as_ref(), id).await? {
        audit.before(&token.settings);
    }
    let was_there = Token::revoke(state.store.as_ref(), id).await?;
    state.guard.forget_tokens();
    if !was_there {
        return Err(no_such_token(id));
    }
    tracing::info!(token.id = %id, "a token was revoked");
    Ok(StatusCode::NO_CONTENT)
}
