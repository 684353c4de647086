//! `postrider user remove`

use postrider_core::Address;
use postrider_store::{Store, directory};
use serde_json::json;

use super::no_such_user;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

pub(super) async fn run(store: &dyn Store, address: &Address, output: &mut Output) -> Result<(), Failure> {
    let ways = directory::ways_to(store, address).await?;
    if !store.remove_user(address).await? {
        return Err(no_such_user(address));
    }
    if output.is_json() {
        return output.json(&json!({ "address": address }));
    }
    output.line(format!("User {address} is removed, with all mailboxes."))?;
    for alias in &ways.aliases {
        output.line(format!(
            "The alias {alias} leads there no more: `postrider alias show {alias}` says whom it reaches."
        ))?;
    }
    for domain in &ways.catch_alls {
        output.line(format!(
            "What is for nobody else at {domain} reaches nobody now: `postrider domain catch-all {domain} ADDRESS`."
        ))?;
    }
    Ok(())
}
