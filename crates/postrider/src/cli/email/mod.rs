//! `postrider email`: what the store keeps.

mod list;
mod raw;
mod show;
mod why;

use clap::Subcommand;
use postrider_core::ObjectId;

use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

#[derive(Debug, Subcommand)]
pub(super) enum EmailCommand {
    /// List e-mails, newest first
    List(list::ListArgs),
    /// Show all that is known of an e-mail, with every attempt to deliver it
    Show {
        /// The e-mail's id
        id: ObjectId,
    },
    /// Say why an e-mail is where it is: what each delivery waits for, and until when
    Why {
        /// The e-mail's id
        id: ObjectId,
    },
    /// Write the message to standard output, byte for byte as it was accepted
    Raw {
        /// The e-mail's id
        id: ObjectId,
    },
}

pub(super) fn run(command: EmailCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        EmailCommand::List(args) => context::with_store(async |store| list::run(store, args, output).await),
        EmailCommand::Show { id } => context::with_store(async |store| show::run(store, id, output).await),
        EmailCommand::Why { id } => why::run(id, output),
        EmailCommand::Raw { id } => context::with_store(async |store| raw::run(store, id, output).await),
    }
}

pub(super) fn no_such_email(id: ObjectId) -> Failure {
    Failure::NotFound(format!("there is no e-mail {id}"))
}

/// Recipients in one short text: the first, and how many more.
pub(super) fn recipients(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}
