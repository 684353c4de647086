//! `postrider suppression`: addresses that nothing is sent to.

mod add;
mod list;
mod remove;

use clap::Subcommand;
use postrider_core::Address;
use serde_json::Value;

use crate::cli::audit::record;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum SuppressionCommand {
    /// List suppressed addresses, those that came last first
    List(list::ListArgs),
    /// Send nothing to an address any more
    Add(add::AddArgs),
    /// Send to an address again; what failed meanwhile is not sent by itself
    Remove {
        /// The address
        address: Address,
    },
}

pub(super) fn run(command: SuppressionCommand, output: &mut Output) -> Result<(), Failure> {
    context::with_store(async |store| match command {
        SuppressionCommand::List(args) => list::run(store, args, output).await,
        SuppressionCommand::Add(args) => {
            record(store, "suppression.add", args.address(), Value::Null, add::run(store, &args, output)).await
        }
        SuppressionCommand::Remove { address } => {
            record(store, "suppression.remove", &address, Value::Null, remove::run(store, &address, output)).await
        }
    })
}
