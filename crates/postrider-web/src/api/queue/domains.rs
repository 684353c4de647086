//! `GET /api/queue/domains`: the queue by recipient domain, with what this server makes of each.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::Domain;
use postrider_store::QueueDomainFilter;

use crate::AppState;
use crate::api::emails::list::{LIMIT_DEFAULT, LIMIT_MAX, PAGE_MAX, number};
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::QueueDomainPageView;

/// The queue by recipient domain, those with the most first.
#[utoipa::path(
    get,
    path = "/api/queue/domains",
    operation_id = "listQueueDomains",
    tag = "queue",
    params(
        ("page" = Option<u64>, Query, description = "Counted from 1.", minimum = 1, maximum = 1000000),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 20 if not given.", minimum = 1, maximum = 100),
        ("prefix" = Option<String>, Query, description = "How the domain's name begins.")
    ),
    responses((status = 200, description = "A page, those with the most first.", body = QueueDomainPageView))
)]
pub(in crate::api) async fn list(
    State(state): State<AppState>,
    uri: Uri,
) -> Result<Json<QueueDomainPageView>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let page = parameters.read("page", |value| number(value, PAGE_MAX))?.unwrap_or(1);
    let limit = parameters.read("limit", |value| number(value, LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT);
    let filter = QueueDomainFilter { prefix: parameters.text("prefix") };
    parameters.finish(&["page", "limit", "prefix"])?;
    let found = state.store.queue_domains(&filter, page, limit).await?;
    let domains: Vec<Domain> = found.domains.iter().map(|found| found.domain.clone()).collect();
    let lines = state.control.domain_lines(&domains);
    Ok(Json(QueueDomainPageView::new(found, lines, page, limit)))
}
