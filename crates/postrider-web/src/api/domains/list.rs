//! `GET /api/domains`: all domains whose mail is kept here, those of `ALLOWED_DOMAINS` too.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use crate::AppState;
use crate::api::emails::list::{LIMIT_DEFAULT, LIMIT_MAX, PAGE_MAX, number};
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::directory::{DomainPageView, DomainView};

/// A page of the domains whose mail is kept here.
#[utoipa::path(
    get,
    path = "/api/domains",
    operation_id = "listDomains",
    tag = "directory",
    params(
        ("page" = Option<u64>, Query, description = "Counted from 1.", minimum = 1, maximum = 1000000),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 20 if not given.", minimum = 1, maximum = 100),
        ("q" = Option<String>, Query, description = "A part of the name.")
    ),
    responses((status = 200, description = "A page, by name.", body = DomainPageView))
)]
pub(in crate::api) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<DomainPageView>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let page = parameters.read("page", |value| number(value, PAGE_MAX))?.unwrap_or(1);
    let limit = parameters.read("limit", |value| number(value, LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT);
    let part = parameters.text("q").unwrap_or_default().to_lowercase();
    parameters.finish(&["page", "limit", "q"])?;
    let records = state.store.domains().await?;
    let mut domains = DomainView::all(state.administration.configured_domains(), &records);
    domains.retain(|domain| domain.name.as_str().contains(&part));
    Ok(Json(DomainPageView::new(domains, page, limit)))
}
