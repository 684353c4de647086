//! `GET /api/tokens`: all tokens, the oldest first.

use axum::Json;
use axum::extract::State;
use postrider_store::tokens::{Token, last_uses};
use serde::Serialize;

use crate::AppState;
use crate::problem::Problem;
use crate::view::TokenView;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::api) struct Tokens {
    tokens: Vec<TokenView>,
}

/// All tokens.
#[utoipa::path(
    get,
    path = "/api/tokens",
    operation_id = "listTokens",
    tag = "tokens",
    responses((status = 200, description = "All tokens, the oldest first; those that have expired too.", body = Tokens))
)]
pub(in crate::api) async fn list(State(state): State<AppState>) -> Result<Json<Tokens>, Problem> {
    let now = state.clock.now();
    let tokens = Token::all(state.store.as_ref()).await?;
    let uses = last_uses(state.store.as_ref()).await?;
    let view = |token: Token| {
        let last_used_at = uses.get(&token.id).copied();
        TokenView::new(token, last_used_at, now)
    };
    Ok(Json(Tokens { tokens: tokens.into_iter().map(view).collect() }))
}
