//! `postrider domain catch-all`

use clap::Args;
use postrider_core::{Address, Domain, Timestamp};
use postrider_store::{Store, directory};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(in crate::cli) struct CatchAllArgs {
    /// The domain
    pub(super) name: Domain,
    /// The user who gets what is for nobody else
    #[arg(required_unless_present = "none")]
    pub(super) address: Option<Address>,
    /// Nobody gets it
    #[arg(long, conflicts_with = "address")]
    none: bool,
}

pub(super) async fn run(
    store: &dyn Store,
    configured: &[Domain],
    args: &CatchAllArgs,
    output: &mut Output,
) -> Result<(), Failure> {
    let CatchAllArgs { name, address, .. } = args;
    directory::set_catch_all(store, configured, name, address.as_ref(), Timestamp::system()).await?;
    if output.is_json() {
        return output.json(&json!({ "name": name, "catchAll": address }));
    }
    output.line(match address {
        Some(user) => format!("{user} gets what is for nobody else at {name}."),
        None => format!("{name} has no catch-all."),
    })
}
