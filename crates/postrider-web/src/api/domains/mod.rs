//! `/api/domains`: whose mail is kept here, with the keys that sign it and the DNS records that it needs.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod dkim;
pub(super) mod dns;
pub(super) mod list;
pub(super) mod show;
pub(super) mod update;

use postrider_core::{Address, Domain};

use crate::AppState;
use crate::problem::Problem;
use crate::view::directory::{DomainDetailView, DomainView};

/// A domain of the settings or the directory.
async fn find(state: &AppState, name: &Domain) -> Result<DomainView, Problem> {
    let record = state.store.domain(name).await?;
    let all = DomainView::all(state.administration.configured_domains(), record.as_slice());
    all.into_iter().find(|domain| domain.name == *name).ok_or_else(no_such_domain)
}

async fn detail(state: &AppState, name: &Domain) -> Result<DomainDetailView, Problem> {
    let domain = find(state, name).await?;
    let lives_there = |address: &Address| address.domain() == *name;
    let users = state.store.users().await?.into_iter().map(|user| user.address).filter(lives_there).collect();
    let aliases = state.store.aliases().await?.into_iter().map(|alias| alias.address).filter(lives_there).collect();
    Ok(DomainDetailView { domain, users, aliases })
}

fn no_such_domain() -> Problem {
    Problem::not_found("There is no such domain here.")
}
