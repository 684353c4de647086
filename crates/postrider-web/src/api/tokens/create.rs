//! `POST /api/tokens`: makes a token. Its text is shown this once.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use postrider_store::tokens::{Token, TokenSettings};

use super::{Said, check_limit};
use crate::AppState;
use crate::audit::Audit;
use crate::auth::Caller;
use crate::extract::JsonBody;
use crate::problem::Problem;
use crate::view::TokenView;

/// Make a token.
#[utoipa::path(
    post,
    path = "/api/tokens",
    operation_id = "makeToken",
    tag = "tokens",
    request_body = Said,
    responses((status = 201, description = "The token; its text is shown this once.", body = TokenView))
)]
pub(in crate::api) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    audit: Audit,
    JsonBody(said): JsonBody<Said>,
) -> Result<(StatusCode, Json<TokenView>), Problem> {
    let mut settings = TokenSettings {
        name: String::new(),
        scopes: Vec::new(),
        domains: Vec::new(),
        expires_at: None,
        requests_per_minute: None,
    };
    said.apply(&mut settings)?;
    let now = state.clock.now();
    let (mut token, text) = Token::new(settings, now)?;
    check_limit(&caller, None, &token.settings)?;
    audit.target(token.id);
    audit.after(&token.settings);
    token.save(state.store.as_ref(), now).await?;
    state.guard.forget_tokens();
    tracing::info!(token.id = %token.id, token.name = token.settings.name, "a token was made");
    Ok((StatusCode::CREATED, Json(TokenView::with_text(token, text, now))))
}
