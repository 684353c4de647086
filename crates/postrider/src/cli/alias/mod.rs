//! `postrider alias`: addresses whose mail goes to users of other addresses.

mod add;
mod list;
mod remove;
mod set;
mod show;

use clap::{Args, Subcommand};
use postrider_core::Address;
use serde_json::{Value, json};

use crate::cli::audit::record;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum AliasCommand {
    /// Add an alias
    Add(TargetArgs),
    /// List all aliases
    List,
    /// Show an alias and whom it reaches
    Show {
        /// The alias
        address: Address,
    },
    /// Give an alias other users
    Set(TargetArgs),
    /// Remove an alias
    Remove {
        /// The alias
        address: Address,
    },
}

#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// The alias
    address: Address,
    /// The users who get its mail
    #[arg(required = true, value_name = "USER")]
    targets: Vec<Address>,
}

pub(super) fn run(command: AliasCommand, output: &mut Output) -> Result<(), Failure> {
    let configured = context::configured_domains()?;
    context::with_store(async |store| match command {
        AliasCommand::Add(args) => {
            let details = json!({ "after": { "targets": args.targets } });
            let added = add::run(store, &configured, &args, output);
            record(store, "alias.add", &args.address, details, added).await
        }
        AliasCommand::List => list::run(store, output).await,
        AliasCommand::Show { address } => show::run(store, &address, output).await,
        AliasCommand::Set(args) => {
            let details = json!({ "after": { "targets": args.targets } });
            let changed = set::run(store, &configured, &args, output);
            record(store, "alias.change", &args.address, details, changed).await
        }
        AliasCommand::Remove { address } => {
            record(store, "alias.remove", &address, Value::Null, remove::run(store, &address, output)).await
        }
    })
}

fn no_such_alias(address: &Address) -> Failure {
    Failure::NotFound(format!("there is no alias {address}"))
}

/// Addresses with commas between.
fn listed(addresses: &[Address]) -> String {
    addresses.iter().map(Address::as_str).collect::<Vec<_>>().join(", ")
}
