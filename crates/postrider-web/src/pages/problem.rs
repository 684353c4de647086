//! What went wrong, for people: the page in place of a problem document, and the way to signing in.

use askama::Template;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::utf8_percent_encode;

use super::assets::Asset;
use super::frame::Page;
use super::{SIGN_IN_PATH, is_page};
use crate::problem::Problem;

/// Of an address that stands in another one's query.
const QUERY_VALUE: &percent_encoding::AsciiSet = percent_encoding::NON_ALPHANUMERIC;

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl ProblemPage<'_> {
    fn asset(&self, name: &'static str) -> Asset {
        Asset(name)
    }
}

/// Shows people a page where programs get a problem document, and leads who is not known to where one signs in.
pub(crate) async fn for_people(request: Request, next: Next) -> Response {
    let is_for_people = is_page(request.uri().path()) && wants_html(request.headers());
    let back = request.method().is_safe().then(|| request.uri().clone());
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>().filter(|_| is_for_people) else {
        return response;
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        return Redirect::to(&sign_in_and_back(back.as_ref())).into_response();
    }
    let document = problem.document();
    let page = ProblemPage { title: document.title, status: document.status, detail: document.detail };
    let status = response.status();
    let mut shown = Page(page).into_response();
    *shown.status_mut() = status;
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            shown.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    shown
}

fn sign_in_and_back(back: Option<&Uri>) -> String {
    match back.and_then(Uri::path_and_query).map(|back| back.as_str()).filter(|back| *back != "/") {
        None => SIGN_IN_PATH.to_owned(),
        Some(back) => format!("{SIGN_IN_PATH}?next={}", utf8_percent_encode(back, QUERY_VALUE)),
    }
}

/// Browsers name HTML among what they take; programs seldom do.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}
