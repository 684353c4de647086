//! `PATCH /api/tokens/{id}`: changes what a token is good for; its text stays.

use axum::Json;
use axum::extract::State;
use postrider_store::tokens::{Token, last_use};

use super::{Said, check_limit, no_such_token};
use crate::AppState;
use crate::audit::Audit;
use crate::auth::Caller;
use crate::extract::{Id, JsonBody};
use crate::problem::Problem;
use crate::view::TokenView;

/// Change what a token is good for.
#[utoipa::path(
    patch,
    path = "/api/tokens/{id}",
    operation_id = "changeToken",
    tag = "tokens",
    params(Id),
    request_body = Said,
    responses((status = 200, description = "The token as it then stands.", body = TokenView))
)]
pub(in crate::api) async fn update(
    State(state): State<AppState>,
    caller: Caller,
    audit: Audit,
    Id(id): Id,
    JsonBody(said): JsonBody<Said>,
) -> Result<Json<TokenView>, Problem> {
    let mut token = Token::find(state.store.as_ref(), id).await?.ok_or_else(|| no_such_token(id))?;
    let now = state.clock.now();
    audit.before(&token.settings);
    let mut settings = token.settings.clone();
    said.apply(&mut settings)?;
    // One that has expired may be renamed and still be so.
    let checked_at = if settings.expires_at == token.settings.expires_at { token.created_at } else { now };
    let settings = settings.checked(checked_at)?;
    check_limit(&caller, Some(&token.settings), &settings)?;
    token.settings = settings;
    audit.after(&token.settings);
    token.save(state.store.as_ref(), now).await?;
    state.guard.forget_tokens();
    tracing::info!(token.id = %id, token.name = token.settings.name, "a token was changed");
    let last_used_at = last_use(state.store.as_ref(), id).await?;
    Ok(Json(TokenView::new(token, last_used_at, now)))
}
