//! Which scope each route asks for: checked at the route, and said in the document. What administrators change is recorded.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use postrider_store::tokens::Scope;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::AppState;
use crate::audit::{action_of, record};
use crate::auth::require;
use crate::problem::Problem;

/// The name of the one way to come in, in the document.
pub(crate) const SECURITY_SCHEME: &str = "token";

/// A route for everybody.
pub(crate) fn open(route: UtoipaMethodRouter<AppState>) -> UtoipaMethodRouter<AppState> {
    let (schemas, mut paths, router) = route;
    paths.paths.values_mut().flat_map(operations).for_each(|operation| operation.security = Some(Vec::new()));
    (schemas, paths, router)
}

/// A route for tokens with the scope `read`.
pub(crate) fn read(route: UtoipaMethodRouter<AppState>) -> UtoipaMethodRouter<AppState> {
    scoped(route, Scope::Read)
}

/// A route for tokens with the scope `send`.
pub(crate) fn send(route: UtoipaMethodRouter<AppState>) -> UtoipaMethodRouter<AppState> {
    scoped(route, Scope::Send)
}

/// A route for administrators.
pub(crate) fn admin(route: UtoipaMethodRouter<AppState>) -> UtoipaMethodRouter<AppState> {
    scoped(recorded(route), Scope::Admin)
}

/// Has what is changed there recorded, under the name of the operation. A route has one.
fn recorded(route: UtoipaMethodRouter<AppState>) -> UtoipaMethodRouter<AppState> {
    let (schemas, mut paths, router) = route;
    let operation = paths.paths.values_mut().flat_map(operations).find_map(|operation| operation.operation_id.clone());
    let action = Arc::<str>::from(action_of(operation.as_deref().unwrap_or_default()));
    (schemas, paths, router.route_layer(middleware::from_fn_with_state(action, record)))
}

/// Of a body that says nothing.
const NO_BODY_BYTES_MAX: usize = 64;

/// What a request may hold beside its path, as the document of its route says.
#[derive(Debug, Clone, Copy)]
struct Takes {
    query: bool,
    body: bool,
}

impl Takes {
    fn of(operation: &Operation) -> Self {
        let mut parameters = operation.parameters.iter().flatten();
        let is_of_query =
            |parameter: &_| matches!(parameter, RefOr::T(Parameter { parameter_in: ParameterIn::Query, .. }));
        Self { query: parameters.any(is_of_query), body: operation.request_body.is_some() }
    }
}

/// Refuses, before something is changed, what would be passed over: `dryRun` in the query where the body has it, or the other way round.
async fn exactly(State(takes): State<Takes>, request: Request, next: Next) -> Result<Response, Problem> {
    if request.method().is_safe() {
        return Ok(next.run(request).await);
    }
    if let Some(query) = request.uri().query().filter(|query| !takes.query && !query.is_empty()) {
        let name = query.split(['=', '&']).next().unwrap_or_default();
        let detail = "There are no parameters in the address here; what can be said stands in the body.";
        return Err(Problem::bad_parameter(name, detail));
    }
    if takes.body || request.body().size_hint().upper() == Some(0) {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    // Programs that always send JSON send an empty object.
    match to_bytes(body, NO_BODY_BYTES_MAX).await {
        Ok(body) if matches!(body.trim_ascii(), b"" | b"{}") => {
            Ok(next.run(Request::from_parts(parts, Body::empty())).await)
        }
        _ => Err(Problem::bad_body("There is no body here; what can be said stands in the address.")),
    }
}

/// Says in the document which scope the route asks for, and lets nobody else through to it.
fn scoped(route: UtoipaMethodRouter<AppState>, scope: Scope) -> UtoipaMethodRouter<AppState> {
    let (schemas, mut paths, router) = route;
    let mut takes = Takes { query: false, body: false };
    for operation in paths.paths.values_mut().flat_map(operations) {
        operation.security = Some(vec![SecurityRequirement::new(SECURITY_SCHEME, [scope.as_str()])]);
        let Takes { query, body } = Takes::of(operation);
        takes = Takes { query: takes.query || query, body: takes.body || body };
    }
    let router = router.route_layer(middleware::from_fn_with_state(takes, exactly));
    (schemas, paths, router.route_layer(middleware::from_fn_with_state(scope, require)))
}

/// What a path can be asked to do.
fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = path;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}
