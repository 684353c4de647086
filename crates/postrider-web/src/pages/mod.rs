//! Pages for people. Rendered here, without scripts.

mod escape;
mod root;

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, middleware};
use postrider_store::tokens::Scope;

use crate::AppState;
use crate::auth;

/// Pages load our style sheet and nothing else, run nothing, send forms nowhere and are shown in no frame.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(root::root))
        .route("/style.css", get(style))
        .route_layer(middleware::from_fn_with_state(Scope::Read, auth::require))
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css"))
}
