//! `postrider token`: who may ask the API, and for what.

mod add;
mod list;
mod revoke;

use clap::Subcommand;
use postrider_core::ObjectId;
use serde_json::Value;

use crate::cli::audit::record;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it, this once
    Add(add::AddArgs),
    /// List all tokens with what they are good for
    List,
    /// Revoke a token: it opens nothing any more, from a second later at most
    Revoke {
        /// The token's id, as list shows it; a token has it in it, too
        id: ObjectId,
    },
}

pub(super) fn run(command: TokenCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        // Tokens may be made before the server has ever run.
        TokenCommand::Add(args) => context::with_new_store(async |store| add::run(store, &args, output).await),
        TokenCommand::List => context::with_store(async |store| list::run(store, output).await),
        TokenCommand::Revoke { id } => context::with_store(async |store| {
            record(store, "token.revoke", id, Value::Null, revoke::run(store, id, output)).await
        }),
    }
}
