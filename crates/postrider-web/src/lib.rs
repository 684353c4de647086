//! The REST API and the pages: they show what the store holds and pass on what people order.
//!
//! This room must not know the server: it reads and writes through [`Store`], and asks a running server through
//! [`Control`]. It knows no settings either; who starts it hands it what it needs.

mod administration;
mod api;
mod audit;
mod auth;
mod bidi;
mod extract;
mod hardening;
mod pages;
mod problem;
mod queue_look;
mod requests;
mod scope;
mod streams;
mod wording;

pub mod view;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::{Router, middleware};
use postrider_core::{Clock, Control, LogTail};
use postrider_store::Store;

pub use crate::api::openapi::document as openapi;

pub use crate::administration::{Administration, AdministrationError};
use crate::auth::Guard;
pub use crate::auth::RateLimits;
use crate::problem::Problem;
use crate::queue_look::QueueLook;
use crate::requests::RequestStats;
use crate::streams::Streams;

/// No request has a longer body.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What the API and the pages are built on.
#[derive(Clone)]
pub struct Web {
    pub store: Arc<dyn Store>,
    pub control: Arc<dyn Control>,
    pub administration: Arc<dyn Administration>,
    pub log: Arc<dyn LogTail>,
    pub clock: Arc<dyn Clock>,
    /// The administrator's bearer token. Without one, everybody who reaches the listener is the administrator: then it
    /// must listen on loopback only.
    pub api_token: Option<String>,
    pub rate_limits: RateLimits,
    /// Shown by `/health`.
    pub version: &'static str,
}

/// What the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) control: Arc<dyn Control>,
    pub(crate) administration: Arc<dyn Administration>,
    pub(crate) log: Arc<dyn LogTail>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) version: &'static str,
    pub(crate) requests: Arc<RequestStats>,
    /// Clients that follow events or the log.
    pub(crate) streams: Arc<Streams>,
    /// Those of them that are told only that something happened.
    pub(crate) summaries: Arc<api::Summaries>,
    /// Requests with a key that are under way.
    pub(crate) under_way: Arc<api::UnderWay>,
    pub(crate) queue_look: Arc<QueueLook>,
}

impl AppState {
    /// To be called when deliveries were changed by an order.
    pub(crate) fn queue_changed(&self) {
        self.control.kick_queue();
        self.queue_look.forget();
    }
}

/// The API and the pages as one service.
pub fn router(web: Web) -> Router {
    let guard = Guard::new(web.api_token.as_deref(), web.rate_limits, web.store.clone(), web.clock.clone());
    let summaries = Arc::new(api::Summaries::new());
    let state = AppState {
        queue_look: Arc::new(QueueLook::new(web.clock.clone(), summaries.clone())),
        store: web.store,
        control: web.control,
        administration: web.administration,
        log: web.log,
        clock: web.clock,
        guard: Arc::new(guard),
        version: web.version,
        requests: Arc::new(RequestStats::new()),
        streams: Arc::default(),
        summaries,
        under_way: Arc::default(),
    };
    // The order of the layers, from the outside in: every answer gets the security headers, those of refused and of
    // timed-out requests too.
    Router::new()
        .merge(api::routes())
        .merge(pages::routes())
        .fallback(no_such_resource)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(state.clone(), auth::guard))
        .layer(middleware::from_fn_with_state(state.clone(), hardening::time_limit))
        .layer(middleware::from_fn(pages::for_people))
        .layer(middleware::from_fn(hardening::security_headers))
        .layer(middleware::from_fn_with_state(state.clone(), requests::measure))
        .with_state(state)
}

/// Answers requests until `shutdown` ends, then finishes those in hand and returns.
///
/// # Errors
///
/// Those of the listener that no later accept could mend.
pub async fn serve(
    listener: tokio::net::TcpListener,
    web: Web,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = router(web).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown).await
}

async fn no_such_resource(uri: Uri) -> Problem {
    Problem::not_found(format!("There is nothing at {}.", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::method_not_allowed(format!(
        "{} cannot be done with {method}; the Allow field of this answer lists what can.",
        uri.path()
    ))
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web")
            .field("store", &self.store)
            .field("control", &self.control)
            .field("administration", &self.administration)
            .field("log", &self.log)
            .field("clock", &self.clock)
            .field("api_token", &self.api_token.as_ref().map(|_| "***"))
            .field("rate_limits", &self.rate_limits)
            .field("version", &self.version)
            .finish()
    }
}
