//! `GET /domains`: the domains whose mail is kept here.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::AppState;
use crate::extract::Parameters;
use crate::pages::address::Address;
use crate::pages::frame::{Frame, Page, Visit};
use crate::pages::paging::{Paging, cut, page_of};
use crate::problem::Problem;
use crate::view::directory::DomainView;

pub(super) const PLACE: &str = "/domains";

#[derive(Template)]
#[template(path = "administration/domains.html")]
pub(in crate::pages) struct DomainsPage {
    frame: Frame,
    q: String,
    domains: Vec<DomainView>,
    paging: Paging,
}

pub(in crate::pages) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<DomainsPage>, Problem> {
    let here = Address::of(&uri);
    let mut parameters = Parameters::of(&uri)?;
    let page = page_of(&mut parameters)?;
    let q = parameters.text("q").unwrap_or_default();
    parameters.finish(&["page", "q"])?;
    let records = state.store.domains().await?;
    let mut domains = DomainView::all(state.administration.configured_domains(), &records);
    let part = q.to_lowercase();
    domains.retain(|domain| domain.name.as_str().contains(&part));
    let paging = Paging::new(&here, page, domains.len() as u64);
    Ok(Page(DomainsPage { frame: visit.frame("Domains", PLACE), q, domains: cut(domains, page), paging }))
}
