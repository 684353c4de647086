//! The style sheet, the module and the icon: part of the program, sent once to each browser.

use std::fmt;
use std::sync::LazyLock;

use axum::extract::{Path, RawQuery};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};

use crate::problem::Problem;

pub(crate) const STATIC_PREFIX: &str = "/static/";

/// Under an address that names its version a file never changes.
const KEPT: &str = "public, max-age=31536000, immutable";

/// A file that pages load.
#[derive(Debug)]
struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const FILES: &[File] = &[
    File {
        name: "postrider.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("../../static/postrider.css"),
    },
    File {
        name: "postrider.js",
        content_type: "text/javascript; charset=utf-8",
        text: include_str!("../../static/postrider.js"),
    },
    File { name: "icon.svg", content_type: "image/svg+xml", text: include_str!("../../static/icon.svg") },
];

/// Changes with any of the files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: String = FILES.iter().map(|file| file.text).collect();
    let digest = digest(&SHA256, all.as_bytes());
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
});

/// The address of a file, for templates.
pub(super) struct Asset(pub(super) &'static str);

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STATIC_PREFIX}{}?v={}", self.0, *VERSION)
    }
}

pub(super) async fn serve(Path(name): Path<String>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let file = FILES.iter().find(|file| file.name == name);
    let file = file.ok_or_else(|| Problem::not_found(format!("There is no file {name:?}.")))?;
    let is_of_this_version = query.is_some_and(|query| query.strip_prefix("v=") == Some(VERSION.as_str()));
    let kept = HeaderValue::from_static(if is_of_this_version { KEPT } else { "no-cache" });
    let content_type = HeaderValue::from_static(file.content_type);
    Ok(([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, kept)], file.text).into_response())
}
