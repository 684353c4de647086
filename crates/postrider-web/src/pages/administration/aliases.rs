//! `GET /users/aliases`: addresses whose mail goes to users of other addresses.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::Address as MailAddress;
use postrider_store::AliasRecord;

use super::listed;
use super::user::user_address;
use super::users::PLACE;
use crate::AppState;
use crate::extract::Parameters;
use crate::pages::address::Address;
use crate::pages::format::When;
use crate::pages::frame::{Frame, Page, Visit};
use crate::pages::paging::{Paging, cut, page_of};
use crate::problem::Problem;

#[derive(Template)]
#[template(path = "administration/aliases.html")]
pub(in crate::pages) struct AliasesPage {
    frame: Frame,
    q: String,
    rows: Vec<Row>,
    paging: Paging,
}

struct Row {
    address: MailAddress,
    targets: Vec<(MailAddress, Address)>,
    /// As the form has them.
    targets_text: String,
    changed: When,
}

pub(in crate::pages) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<AliasesPage>, Problem> {
    let here = Address::of(&uri);
    let mut parameters = Parameters::of(&uri)?;
    let page = page_of(&mut parameters)?;
    let q = parameters.text("q").unwrap_or_default();
    parameters.finish(&["page", "q"])?;
    let part = q.to_lowercase();
    let has_part = |address: &MailAddress| address.as_str().to_lowercase().contains(&part);
    let mut aliases = state.store.aliases().await?;
    aliases.retain(|alias| has_part(&alias.address) || alias.targets.iter().any(has_part));
    let paging = Paging::new(&here, page, aliases.len() as u64);
    let row = |alias: AliasRecord| Row {
        targets_text: listed(&alias.targets),
        targets: alias.targets.into_iter().map(|target| (target.clone(), user_address(&target))).collect(),
        changed: When::new(alias.updated_at, visit.now),
        address: alias.address,
    };
    let rows = cut(aliases, page).into_iter().map(row).collect();
    Ok(Page(AliasesPage { frame: visit.frame("Aliases", PLACE), q, rows, paging }))
}
