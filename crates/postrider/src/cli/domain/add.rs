//! `postrider domain add`

use clap::Args;
use postrider_core::{Address, Domain, Timestamp};
use postrider_store::{DomainRecord, Store, directory};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    /// The domain
    name: Domain,
    /// The user who gets what is for nobody else
    #[arg(long, value_name = "ADDRESS")]
    catch_all: Option<Address>,
}

pub(super) async fn run(
    store: &dyn Store,
    configured: &[Domain],
    args: &AddArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let AddArgs { name, catch_all } = args;
    let now = Timestamp::system();
    // The user is looked for first: a domain without the catch-all that was asked for would take mail that it should not.
    let catch_all = match catch_all {
        Some(address) => Some(directory::user_address(store, configured, address).await?),
        None => None,
    };
    let domain = DomainRecord { name: name.clone(), catch_all, created_at: now, updated_at: now };
    store.add_domain(domain.clone()).await?;
    if output.is_json() {
        return output.json(&json!({ "name": name, "catchAll": domain.catch_all }));
    }
    output.line(format!("Mail for {name} is kept here now. A running server knows it within a second."))?;
    match &domain.catch_all {
        Some(user) => output.line(format!("{user} gets what is for nobody else.")),
        None => Ok(()),
    }
}
