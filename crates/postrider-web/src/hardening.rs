//! What every answer carries and every request keeps to, whatever it is about.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::AppState;
use crate::problem::Problem;

/// No request is worked on for longer, but for those whose bodies may be as large as messages.
const REQUEST_SECONDS_MAX: u64 = 30;
const UPLOAD_SECONDS_MAX: u64 = 300;

const UPLOAD_PATHS: &[&str] = &["/api/emails", "/api/emails/batch"];

/// For answers that are no pages: nothing in them is shown or run.
const CLOSED_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// Adds the security fields that a handler did not set itself.
pub(crate) async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, CLOSED_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not "no-referrer": then browsers would say of our own forms that they come from "null".
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Gives up what takes too long. A store call that is dropped is done wholly or not at all.
pub(crate) async fn time_limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let is_upload = request.method() == Method::POST && UPLOAD_PATHS.contains(&request.uri().path());
    let seconds_max = if is_upload { UPLOAD_SECONDS_MAX } else { REQUEST_SECONDS_MAX };
    let limit = state.clock.sleep(Duration::from_secs(seconds_max));
    tokio::select! {
        response = next.run(request) => response,
        () = limit => Problem::unavailable("The answer took too long. Try again later.", 5).into_response(),
    }
}
