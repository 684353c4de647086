//! `postrider alias`: addresses whose mail goes to users of other addresses.

mod add;
mod list;
mod remove;
mod set;
mod show;

use clap::{Args, Subcommand};
use postrider_core::Address;

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
        AliasCommand::Add(args) => add::run(store, &configured, &args, output).await,
        AliasCommand::List => list::run(store, output).await,
        AliasCommand::Show { address } => show::run(store, &address, output).await,
        AliasCommand::Set(args) => set::run(store, &configured, &args, output).await,
        AliasCommand::Remove { address } => remove::run(store, &address, output).await,
    })
}

fn no_such_alias(address: &Address) -> Failure {
    Failure::NotFound(format!("there is no alias {address}"))
}

/// Addresses with commas between.
fn listed(addresses: &[Address]) -> String {
    addresses.iter().map(Address::as_str).collect::<Vec<_>>().join(", ")
}
