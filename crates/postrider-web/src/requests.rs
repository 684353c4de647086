//! What the API and the page are asked, in numbers for `/metrics`.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use postrider_core::metrics::{self, MetricFamily};
use prometheus::{HistogramVec, IntCounterVec, Registry};
use tracing::field::Empty;
use tracing::{Instrument as _, debug_span};

use crate::AppState;

/// Counts requests. Its labels are routes as they are declared, so that nobody can make up new ones.
#[derive(Debug)]
pub(crate) struct RequestStats {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl RequestStats {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let requests = metrics::HTTP_REQUESTS.counters(&registry);
        let seconds = metrics::HTTP_REQUEST_SECONDS.histograms(&registry);
        Self { registry, requests, seconds }
    }

    pub(crate) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

/// Measures every request, the refused ones too.
pub(crate) async fn measure(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let method = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let began_at = Instant::now();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let span =
        debug_span!("request", http.request.method = method, http.route = route, http.response.status_code = Empty);
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    let stats = &state.requests;
    stats.seconds.with_label_values(&[method, route]).observe(began_at.elapsed().as_secs_f64());
    stats.requests.with_label_values(&[method, route, response.status().as_str()]).inc();
    response
}

/// RFC 9110 section 9.1 lets clients invent methods.
fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
