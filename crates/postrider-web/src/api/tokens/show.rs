//! `GET /api/tokens/{id}`

use axum::Json;
use axum::extract::State;
use postrider_store::tokens::{Token, last_use};

use super::no_such_token;
use crate::AppState;
use crate::extract::Id;
use crate::problem::Problem;
use crate::view::TokenView;

/// One token.
#[utoipa::path(
    get,
    path = "/api/tokens/{id}",
    operation_id = "showToken",
    tag = "tokens",
    params(Id),
    responses((status = 200, description = "The token, without its text.", body = TokenView))
)]
pub(in crate::api) async fn show(State(state): State<AppState>, Id(id): Id) -> Result<Json<TokenView>, Problem> {
    let token = Token::find(state.store.as_ref(), id).await?.ok_or_else(|| no_such_token(id))?;
    let last_used_at = last_use(state.store.as_ref(), id).await?;
    Ok(Json(TokenView::new(token, last_used_at, state.clock.now())))
}
