//! Which scope each route asks for: checked at the route, and said in the document. What administrators change is recorded.

use std::sync::Arc;

use axum::middleware;
use postrider_store::tokens::Scope;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::AppState;
use crate::audit::{action_of, record};
use crate::auth::require;

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

/// Says in the document which scope the route asks for, and lets nobody else through to it.
fn scoped(route: UtoipaMethodRouter<AppState>, scope: Scope) -> UtoipaMethodRouter<AppState> {
    let (schemas, mut paths, router) = route;
    for operation in paths.paths.values_mut().flat_map(operations) {
        operation.security = Some(vec![SecurityRequirement::new(SECURITY_SCHEME, [scope.as_str()])]);
    }
    (schemas, paths, router.route_layer(middleware::from_fn_with_state(scope, require)))
}

/// What a path can be asked to do.
fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = path;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}
