//! What a token may be good for, and which of it each route asks for.

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::AppState;

/// The name of the one way to come in, in the document.
pub(crate) const SECURITY_SCHEME: &str = "token";

/// A right that a token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To see everything but secrets.
    Read,
    /// To send mail, and to see what became of it.
    Send,
    /// Everything.
    Admin,
}

impl Scope {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "send",
            Self::Admin => "admin",
        }
    }
}

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
#[expect(dead_code, reason = "sending comes next")]
pub(crate) fn send(route: UtoipaMethodRouter<AppState>) -> UtoipaMethodRouter<AppState> {
    scoped(route, Scope::Send)
}

/// A route for administrators.
pub(crate) fn admin(route: UtoipaMethodRouter<AppState>) -> UtoipaMethodRouter<AppState> {
    scoped(route, Scope::Admin)
}

/// Says in the document which scope the route asks for, and lets nobody else through to it.
fn scoped(route: UtoipaMethodRouter<AppState>, scope: Scope) -> UtoipaMethodRouter<AppState> {
    let (schemas, mut paths, router) = route;
    for operation in paths.paths.values_mut().flat_map(operations) {
        operation.security = Some(vec![SecurityRequirement::new(SECURITY_SCHEME, [scope.as_str()])]);
    }
    let check = move |request: Request, next: Next| check(scope, request, next);
    (schemas, paths, router.route_layer(middleware::from_fn(check)))
}

async fn check(_scope: Scope, request: Request, next: Next) -> Response {
    // The guard has let in nobody but the administrator.
    next.run(request).await
}

/// What a path can be asked to do.
fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = path;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}
