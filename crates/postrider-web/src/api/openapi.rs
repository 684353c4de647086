//! `GET /api/openapi.json`: the API in OpenAPI 3.1, made from the code. `/api/docs`: the same to browse and to try.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_swagger_ui::{Config, Url};

use crate::AppState;
use crate::problem::{Document, Problem};
use crate::scope::SECURITY_SCHEME;

const DOCUMENT_PATH: &str = "/api/openapi.json";
const DOCS_PATH: &str = "/api/docs";
const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// For the page at `/api/docs`: it is all from here, and sets styles of elements as it runs.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The answers that any operation of a kind can have besides its own: name, status, and when.
const PROBLEMS: &[(&str, u16, &str)] = &[
    ("BadRequest", 400, "A parameter or the body is wrong; `detail` says what is allowed."),
    ("Unauthorized", 401, "The token is missing or wrong."),
    ("Forbidden", 403, "The token lacks the scope, or the request comes from a page of another origin."),
    ("NotFound", 404, "There is no such thing."),
    ("Conflict", 409, "The state does not allow this now."),
    ("ContentTooLarge", 413, "The body is longer than is read."),
    ("UnsupportedMediaType", 415, "The body is of another type."),
    ("TooManyRequests", 429, "The limit is reached; Retry-After says when to come again."),
    ("InternalServerError", 500, "Something is broken here; the server's log says what."),
    ("ServiceUnavailable", 503, "Not possible at this moment; Retry-After says when to come again."),
];

/// What the document says beside its operations.
pub(super) fn frame() -> OpenApi {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "`API_TOKEN`, or a token with the scope that the operation names. Where `API_TOKEN` is not set, the server listens \
             on loopback only and asks for none.",
        ))
        .build();
    let mut components = Components::new();
    components.add_security_scheme(SECURITY_SCHEME, SecurityScheme::Http(token));
    let problem = Document::name();
    components.schemas.insert(problem.to_string(), Document::schema());
    for &(name, _, description) in PROBLEMS {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(problem.as_ref()))).build();
        let answer = ResponseBuilder::new().description(description).content(PROBLEM_MEDIA_TYPE, content).build();
        components.responses.insert(name.to_owned(), RefOr::T(answer));
    }
    let info = InfoBuilder::new()
        .title("Postrider")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Sending, finding and steering mail. Errors are problem documents (RFC 9457) with a stable `type`. Times are RFC \
             3339 in UTC.",
        ))
        .license(Some(License::new("ISC")))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// Adds to each operation the problems that it can answer with.
pub(super) fn finished(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let names_a_thing = path.contains('{');
        if let Some(operation) = &mut item.get {
            add_problems(operation, names_a_thing, true);
        }
        for operation in [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten() {
            add_problems(operation, names_a_thing, false);
        }
    }
    document
}

fn add_problems(operation: &mut Operation, names_a_thing: bool, is_safe: bool) {
    let is_open = operation.security.as_ref().is_some_and(Vec::is_empty);
    let has_body = operation.request_body.is_some();
    for &(name, status, _) in PROBLEMS {
        let can_be = match status {
            400 => !is_safe || has_body || operation.parameters.is_some(),
            401 | 403 => !is_open,
            404 => names_a_thing,
            409 => !is_safe,
            413 | 415 => has_body,
            _ => true,
        };
        if can_be {
            let answer = RefOr::Ref(Ref::from_response_name(name));
            operation.responses.responses.entry(status.to_string()).or_insert(answer);
        }
    }
}

/// Whether the path is one of those that only say what the API can do.
pub(crate) fn is_documentation(path: &str) -> bool {
    path == DOCUMENT_PATH || path.strip_prefix(DOCS_PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The document as it is kept in docs/.
pub fn document() -> String {
    let document = finished(super::described().into_openapi());
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The routes that show the document.
pub(super) fn routes(document: OpenApi) -> Router<AppState> {
    let json = Bytes::from(document.to_json().unwrap_or_default());
    let docs = Arc::new(Config::new([Url::from(DOCUMENT_PATH)]).try_it_out_enabled(true));
    let file = move |path: Option<Path<String>>| {
        let docs = docs.clone();
        async move { docs_file(path.as_ref().map_or("", |Path(path)| path), docs) }
    };
    Router::new()
        .route(DOCUMENT_PATH, get(async move || ([(header::CONTENT_TYPE, "application/json")], json)))
        .route("/api/docs", get(async || Redirect::permanent("/api/docs/")))
        .route("/api/docs/", get(file.clone()))
        .route("/api/docs/{*path}", get(file))
}

fn docs_file(path: &str, docs: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(path, docs) {
        Ok(Some(file)) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_str(&file.content_type)),
                (header::CONTENT_SECURITY_POLICY, Ok(HeaderValue::from_static(DOCS_POLICY))),
            ];
            let mut response = Bytes::from(file.bytes.into_owned()).into_response();
            for (name, value) in headers {
                if let Ok(value) = value {
                    response.headers_mut().insert(name, value);
                }
            }
            response
        }
        Ok(None) => Problem::not_found("There is no such page; the documentation is at /api/docs/.").into_response(),
        Err(error) => {
            tracing::error!(%error, "a page of the documentation could not be made");
            (StatusCode::INTERNAL_SERVER_ERROR, Problem::internal("The page could not be made.")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn parsed() -> Value {
        serde_json::from_str(&document()).unwrap()
    }

    /// Calls `look` with every object in a document.
    fn objects(value: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
        match value {
            Value::Object(object) => {
                look(object);
                object.values().for_each(|value| objects(value, look));
            }
            Value::Array(values) => values.iter().for_each(|value| objects(value, look)),
            _ => {}
        }
    }

    #[test]
    fn the_kept_document_is_current() {
        let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json"));
        assert!(kept.is_ok_and(|kept| kept == document()), "docs/openapi.json is not current; run `cargo xtask docs`");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = parsed();
        let mut references = 0;
        objects(&document, &mut |object| {
            let Some(Value::String(reference)) = object.get("$ref") else { return };
            references += 1;
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        });
        assert!(references > 100);
    }

    #[test]
    fn operations_have_names_of_their_own_and_say_who_may() {
        let document = parsed();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{name} is there twice");
                assert!(operation["summary"].is_string(), "{method} {path} has no summary");
                assert!(operation["security"].is_array(), "{method} {path} does not say who may");
                assert!(operation["tags"].is_array(), "{method} {path} has no tag");
            }
        }
        assert!(names.len() > 30);
    }
}
