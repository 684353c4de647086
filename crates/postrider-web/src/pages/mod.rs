//! Pages for people: rendered here from what the store and the running server say, readable without scripts.
//!
//! A page only shows. What it changes goes through the REST API, so that checks, limits and the audit log exist once: its forms
//! name a route of the API in `data-api`, and `static/postrider.js` sends what is in them there. The same module keeps pages live:
//! when something happens it asks for the page anew and takes over what stands in `data-live`.
//!
//! To add a page: a template that extends `layout.html`, a file here with its handler, a line in [`frame::PLACES`] and a route below.

mod address;
mod administration;
mod assets;
mod chart;
mod emails;
mod filters;
mod format;
mod frame;
mod log;
mod overview;
mod paging;
mod plot;
mod problem;
mod queue;
mod sign_in;
mod simulator;
mod source_ips;

use axum::routing::{get, post};
use axum::{Router, middleware};
use postrider_store::tokens::Scope;

pub(crate) use self::assets::STATIC_PREFIX;
pub(crate) use self::problem::for_people;
pub(crate) use self::sign_in::{SIGN_IN_PATH, SIGN_OUT_PATH};

use crate::AppState;
use crate::auth;

pub(crate) fn routes() -> Router<AppState> {
    let open = Router::new()
        .route("/static/{name}", get(assets::serve))
        .route(SIGN_IN_PATH, get(sign_in::form).post(sign_in::sign_in));
    let read = Router::new()
        .route("/queue", get(queue::queue))
        .route("/", get(overview::show))
        .route("/source-ips", get(source_ips::show))
        .route("/emails", get(emails::list::list))
        .route("/domains", get(administration::domains::list))
        .route("/domains/{domain}", get(administration::domain::show))
        .route("/domains/{domain}/dns", get(administration::domain::dns))
        .route("/users", get(administration::users::list))
        .route("/users/aliases", get(administration::aliases::list))
        .route("/users/{address}", get(administration::user::show))
        .route("/suppressions", get(administration::suppressions::list))
        .route("/simulator", get(simulator::simulator))
        .route("/emails/{id}", get(emails::show::page))
        .route("/emails/{id}/html", get(emails::html::html))
        .route(SIGN_OUT_PATH, post(sign_in::sign_out));
    let admin = Router::new()
        .route("/webhooks", get(administration::webhooks::list))
        .route("/webhooks/deliveries", get(administration::deliveries::list))
        .route("/webhooks/deliveries/{id}", get(administration::deliveries::show))
        .route("/tokens", get(administration::tokens::list))
        .route("/settings", get(administration::settings::show))
        .route("/audit", get(administration::audit::list))
        .route("/log", get(log::log));
    open.merge(of_scope(read, Scope::Read)).merge(of_scope(admin, Scope::Admin))
}

fn of_scope(routes: Router<AppState>, scope: Scope) -> Router<AppState> {
    routes.route_layer(middleware::from_fn_with_state(scope, auth::require))
}

/// Whether a path is one of pages, where answers are for people: what programs ask for stands below `/api`.
pub(crate) fn is_page(path: &str) -> bool {
    !(path == "/api" || path.starts_with("/api/") || matches!(path, "/health" | "/metrics"))
}
