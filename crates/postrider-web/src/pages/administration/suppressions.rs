//! `GET /suppressions`: the addresses that nothing is sent to, and why.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::SuppressionReason;
use postrider_store::{Suppression, SuppressionFilter};

use crate::AppState;
use crate::extract::Parameters;
use crate::pages::address::Address;
use crate::pages::filters;
use crate::pages::format::When;
use crate::pages::frame::{Frame, Page, Visit};
use crate::pages::paging::{Paging, ROWS, page_of};
use crate::problem::Problem;

const PLACE: &str = "/suppressions";

#[derive(Template)]
#[template(path = "administration/suppressions.html")]
pub(in crate::pages) struct SuppressionsPage {
    frame: Frame,
    q: String,
    reason: String,
    reasons: Vec<Choice>,
    rows: Vec<Row>,
    paging: Paging,
    is_filtered: bool,
    /// Whether the list has an effect.
    suppresses: bool,
}

struct Choice {
    label: &'static str,
    is_taken: bool,
    leads_to: Address,
}

struct Row {
    suppression: Suppression,
    listed: When,
}

pub(in crate::pages) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<SuppressionsPage>, Problem> {
    let here = Address::of(&uri);
    let mut parameters = Parameters::of(&uri)?;
    let page = page_of(&mut parameters)?;
    let filter = SuppressionFilter { query: parameters.text("q"), reason: parameters.parsed("reason")? };
    parameters.finish(&["page", "q", "reason"])?;
    let found = state.store.suppressions(&filter, page, ROWS).await?;
    let choice = |reason: Option<SuppressionReason>| Choice {
        label: reason.map_or("all", |reason| reason.as_str()),
        is_taken: filter.reason == reason,
        leads_to: match reason {
            Some(reason) => here.without(&["page"]).with("reason", reason.as_str()),
            None => here.without(&["page", "reason"]),
        },
    };
    let all = std::iter::once(None).chain(SuppressionReason::ALL.iter().copied().map(Some));
    let row = |suppression: Suppression| Row { listed: When::new(suppression.created_at, visit.now), suppression };
    Ok(Page(SuppressionsPage {
        frame: visit.frame("Suppressions", PLACE),
        reasons: all.map(choice).collect(),
        suppresses: state.administration.suppresses(),
        is_filtered: filter.query.is_some() || filter.reason.is_some(),
        reason: filter.reason.map(|reason| reason.to_string()).unwrap_or_default(),
        q: filter.query.unwrap_or_default(),
        rows: found.suppressions.into_iter().map(row).collect(),
        paging: Paging::new(&here, page, found.total),
    }))
}
