//! `postrider domain show`

use postrider_core::{Address, Domain};
use postrider_store::Store;
use postrider_web::view::directory::DomainView;
use serde_json::json;

use super::{list, no_such_domain};
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) async fn run(
    store: &dyn Store,
    configured: &[Domain],
    name: &Domain,
    output: &mut Output,
) -> Result<(), Failure> {
    let record = store.domain(name).await?;
    let all = DomainView::all(configured, record.as_slice());
    let domain = all.iter().find(|domain| domain.name == *name).ok_or_else(|| no_such_domain(name))?;
    let (users, aliases) = inhabitants(store, name).await?;
    if output.is_json() {
        let mut shown = json!(domain);
        shown["users"] = json!(users);
        shown["aliases"] = json!(aliases);
        return output.json(&shown);
    }
    output.field("Domain", name.as_str())?;
    output.field("From", list::origin(domain))?;
    output.field("Catch-all", domain.catch_all.as_ref().map_or("", Address::as_str))?;
    for user in &users {
        output.field("User", user.as_str())?;
    }
    for alias in &aliases {
        output.field("Alias", alias.as_str())?;
    }
    Ok(())
}

/// The domain's users and aliases.
pub(super) async fn inhabitants(store: &dyn Store, name: &Domain) -> Result<(Vec<Address>, Vec<Address>), Failure> {
    let lives_there = |address: &Address| address.domain() == *name;
    let users = store.users().await?.into_iter().map(|user| user.address).filter(lives_there).collect();
    let aliases = store.aliases().await?.into_iter().map(|alias| alias.address).filter(lives_there).collect();
    Ok((users, aliases))
}
