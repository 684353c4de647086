//! `postrider user`: who may log in and has mailboxes.

mod add;
mod enable;
mod list;
mod passwd;
mod password;
mod quota;
mod remove;
mod show;

use clap::{Args, Subcommand};
use postrider_core::Address;
use serde_json::{Value, json};

use crate::cli::audit::record;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user
    Add(add::AddArgs),
    /// List all users
    List,
    /// Show a user: mailboxes, usage and quota, aliases
    Show {
        /// The user's address
        address: Address,
    },
    /// Give a user a new password
    Passwd(AccountArgs),
    /// Limit how much a user may keep
    Quota(quota::QuotaArgs),
    /// Refuse a user's log-ins; mail for the user is kept as ever
    Disable {
        /// The user's address
        address: Address,
    },
    /// Let a user log in again
    Enable {
        /// The user's address
        address: Address,
    },
    /// Remove a user with all mailboxes
    Remove {
        /// The user's address
        address: Address,
        /// Remove aliases and catch-alls that lead there too, instead of refusing
        #[arg(long)]
        with_aliases: bool,
    },
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
        UserCommand::Show { address } => {
            let configured = context::configured_domains()?;
            context::with_store(async |store| show::run(store, &configured, &address, output).await)
        }
        UserCommand::Passwd(args) => passwd::run(args, output),
        UserCommand::Quota(args) => context::with_store(async |store| {
            let (address, details) = (args.address(), json!({ "after": { "quota": args.limits() } }));
            record(store, "user.change", address, details, quota::run(store, &args, output)).await
        }),
        UserCommand::Disable { address } => enable::run(address, false, output),
        UserCommand::Enable { address } => enable::run(address, true, output),
        UserCommand::Remove { address, with_aliases } => context::with_store(async |store| {
            let removal = remove::run(store, &address, with_aliases, output);
            record(store, "user.remove", &address, Value::Null, removal).await
        }),
    }
}

fn no_such_user(address: &Address) -> Failure {
    Failure::NotFound(format!("there is no user {address}"))
}
