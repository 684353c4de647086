//! Signing in with a token, and out again. Both work without scripts.

use std::net::SocketAddr;

use askama::Template;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::assets::Asset;
use super::frame::Page;
use crate::AppState;
use crate::auth::Caller;
use crate::auth::session::no_cookie;
use crate::extract::Parameters;
use crate::problem::Problem;

pub(crate) const SIGN_IN_PATH: &str = "/sign-in";
pub(crate) const SIGN_OUT_PATH: &str = "/sign-out";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    /// Where it goes on.
    next: String,
    error: Option<String>,
    version: &'static str,
}

impl SignInPage {
    fn asset(&self, name: &'static str) -> Asset {
        Asset(name)
    }
}

pub(super) async fn form(State(state): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    let next = Parameters::of(&uri)?.text("next");
    if !state.guard.asks_for_tokens() {
        return Ok(Redirect::to(&inside(next)).into_response());
    }
    Ok(Page(SignInPage { next: inside(next), error: None, version: state.version }).into_response())
}

#[derive(Debug, Deserialize)]
pub(super) struct SignIn {
    token: String,
    next: Option<String>,
}

pub(super) async fn sign_in(State(state): State<AppState>, request: Request) -> Result<Response, Problem> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let is_https = is_https(request.headers());
    let SignIn { token, next } = read(request, &state).await?;
    let next = inside(next);
    match state.guard.sign_in(&token, peer).await {
        Ok(None) => Ok(Redirect::to(&next).into_response()),
        Ok(Some(session)) => {
            Ok(([(header::SET_COOKIE, session.cookie(is_https))], Redirect::to(&next)).into_response())
        }
        Err(problem) => {
            let document = problem.document();
            let (status, error) = match StatusCode::from_u16(document.status) {
                Ok(StatusCode::UNAUTHORIZED) => (StatusCode::UNAUTHORIZED, WRONG_TOKEN.to_owned()),
                Ok(status) => (status, document.detail.to_owned()),
                Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, document.detail.to_owned()),
            };
            let page = Page(SignInPage { next, error: Some(error), version: state.version });
            Ok((status, page).into_response())
        }
    }
}

const WRONG_TOKEN: &str = "This token opens nothing: it is mistyped, was revoked or has expired. Give the value of API_TOKEN, or a \
     token that `postrider token add` showed.";

#[derive(Debug, Deserialize)]
pub(super) struct SignOut {
    csrf: String,
}

pub(super) async fn sign_out(
    State(state): State<AppState>,
    Caller(principal): Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let SignOut { csrf } = read(request, &state).await?;
    if let Some(session) = &principal.session {
        if !session.is_csrf_token(&csrf) {
            return Err(Problem::forbidden_origin(
                "The page is of another session than you are in now. Load it again.",
            ));
        }
        state.guard.sign_out(session).await?;
    }
    Ok(([(header::SET_COOKIE, no_cookie(is_https(&headers)))], Redirect::to(SIGN_IN_PATH)).into_response())
}

async fn read<T: serde::de::DeserializeOwned>(request: Request, state: &AppState) -> Result<T, Problem> {
    use axum::extract::FromRequest as _;
    let form: Result<Form<T>, FormRejection> = Form::from_request(request, state).await;
    form.map(|Form(form)| form).map_err(|_| Problem::bad_body("The form could not be read: load the page again."))
}

/// Whether the browser's connection is encrypted, as the proxy says that ends it. Who lies about it hides his own cookie.
fn is_https(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// An address of this server: one that somebody else made must lead nowhere else.
fn inside(next: Option<String>) -> String {
    let is_inside = |next: &String| {
        next.starts_with('/')
            && !next.starts_with("//")
            && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    next.filter(is_inside).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_inside() {
        let inside = |text: &str| inside(Some(text.to_owned()));
        assert_eq!(inside("/emails?q=status:failed"), "/emails?q=status:failed");
        for outside in ["//evil.example", "/\\evil.example", "https://evil.example", "", "/\tevil", "javascript:1"] {
            assert_eq!(inside(outside), "/", "{outside}");
        }
    }
}
