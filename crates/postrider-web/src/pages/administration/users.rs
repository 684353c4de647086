//! `GET /users`: who may log in and has mailboxes, and how much of their quotas is used.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use futures_util::future::try_join_all;
use postrider_core::Domain;
use postrider_store::directory::is_local;
use postrider_store::{Quota, Usage, User};

use super::address_of;
use crate::AppState;
use crate::extract::Parameters;
use crate::pages::address::Address;
use crate::pages::format::{Grouped, Size, When};
use crate::pages::frame::{Frame, Page, Visit};
use crate::pages::paging::{Paging, cut, page_of};
use crate::problem::Problem;

pub(super) const PLACE: &str = "/users";

#[derive(Template)]
#[template(path = "administration/users.html")]
pub(in crate::pages) struct UsersPage {
    frame: Frame,
    q: String,
    rows: Vec<Row>,
    paging: Paging,
}

struct Row {
    user: User,
    receives_mail: bool,
    leads_to: Address,
    bytes: String,
    messages: String,
    changed: When,
}

pub(in crate::pages) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<UsersPage>, Problem> {
    let here = Address::of(&uri);
    let mut parameters = Parameters::of(&uri)?;
    let page = page_of(&mut parameters)?;
    let q = parameters.text("q").unwrap_or_default();
    parameters.finish(&["page", "q"])?;
    let part = q.to_lowercase();
    let mut users = state.store.users().await?;
    users.retain(|user| user.address.as_str().to_lowercase().contains(&part));
    let paging = Paging::new(&here, page, users.len() as u64);
    let users = cut(users, page);
    let mut domains: Vec<Domain> = users.iter().map(|user| user.address.domain()).collect();
    domains.sort_unstable();
    domains.dedup();
    let configured = state.administration.configured_domains();
    let store = state.store.as_ref();
    let are_local = try_join_all(domains.iter().map(|domain| is_local(store, configured, domain))).await?;
    let local: Vec<Domain> =
        domains.into_iter().zip(are_local).filter(|(_, is)| *is).map(|(domain, _)| domain).collect();
    let usages = try_join_all(users.iter().map(|user| state.store.usage(user.id))).await?;
    let row = |(user, usage): (User, Usage)| Row {
        receives_mail: local.contains(&user.address.domain()),
        leads_to: address_of(PLACE, user.address.as_str()),
        bytes: bytes_used(usage, user.quota),
        messages: messages_used(usage, user.quota),
        changed: When::new(user.updated_at, visit.now),
        user,
    };
    let rows = users.into_iter().zip(usages).map(row).collect();
    Ok(Page(UsersPage { frame: visit.frame("Users", PLACE), q, rows, paging }))
}

/// `1.5 MiB of 10.0 MiB`
pub(super) fn bytes_used(usage: Usage, quota: Quota) -> String {
    match quota.bytes {
        Some(max) => format!("{} of {}", Size(usage.bytes), Size(max)),
        None => Size(usage.bytes).to_string(),
    }
}

/// `12 of 500`
pub(super) fn messages_used(usage: Usage, quota: Quota) -> String {
    match quota.messages {
        Some(max) => format!("{} of {}", Grouped(usage.messages), Grouped(max)),
        None => Grouped(usage.messages).to_string(),
    }
}
