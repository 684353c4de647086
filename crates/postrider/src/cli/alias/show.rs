//! `postrider alias show`

use postrider_core::Address;
use postrider_store::{Store, directory};
use serde_json::json;

use super::no_such_alias;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) async fn run(store: &dyn Store, address: &Address, output: &mut Output) -> Result<(), Failure> {
    let alias = store.alias(address).await?.ok_or_else(|| no_such_alias(address))?;
    let reached = directory::resolve(store, address).await?.len();
    if output.is_json() {
        let mut shown = json!(alias);
        shown["usersReached"] = json!(reached);
        return output.json(&shown);
    }
    output.field("Alias", alias.address.as_str())?;
    for target in &alias.targets {
        let is_there = store.user(target).await?.is_some();
        output.field("User", format!("{target}{}", if is_there { "" } else { " (gone)" }))?;
    }
    output.field("Added", alias.created_at.to_string())?;
    output.field("Changed", alias.updated_at.to_string())
}
