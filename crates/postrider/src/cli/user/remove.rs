//! `postrider user remove`

use postrider_core::{Address, Timestamp};
use postrider_store::{Store, directory};
use serde_json::json;

use super::no_such_user;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) async fn run(
    store: &dyn Store,
    address: &Address,
    with_aliases: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let removed = directory::remove_user(store, address, with_aliases, Timestamp::system()).await?;
    let Some(ways) = removed else { return Err(no_such_user(address)) };
    if output.is_json() {
        return output.json(&json!({ "address": address, "aliases": ways.aliases, "catchAllOf": ways.catch_alls }));
    }
    output.line(format!("User {address} is removed, with all mailboxes."))?;
    for alias in &ways.aliases {
        let line = match store.alias(alias).await? {
            Some(_) => format!("The alias {alias} leads to its other users only."),
            None => format!("The alias {alias} is removed: it led to nobody else."),
        };
        output.line(line)?;
    }
    for domain in &ways.catch_alls {
        output.line(format!(
            "What is for nobody else at {domain} reaches nobody now: `postrider domain catch-all {domain} ADDRESS`."
        ))?;
    }
    Ok(())
}
