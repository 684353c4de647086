//! `postrider user`: who may log in.

mod add;
mod list;
mod passwd;
mod password;
mod remove;

use clap::{Args, Subcommand};
use postrider_core::Address;

use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user
    Add(AccountArgs),
    /// List all users
    List,
    /// Remove a user; stored mail stays
    Remove {
        /// The user's address
        address: Address,
    },
    /// Give a user a new password
    Passwd(AccountArgs),
}

#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    /// The user's address, which is the login name too
    address: Address,
    /// Read the password from the first line of standard input instead of asking twice
    #[arg(long)]
    password_stdin: bool,
}

pub(super) fn run(command: UserCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        UserCommand::Add(args) => add::run(args, output),
        UserCommand::List => context::with_store(async |store| list::run(store, output).await),
        UserCommand::Remove { address } => {
            context::with_store(async |store| remove::run(store, &address, output).await)
        }
        UserCommand::Passwd(args) => passwd::run(args, output),
    }
}

fn no_such_user(address: &Address) -> Failure {
    Failure::NotFound(format!("there is no user {address}"))
}
