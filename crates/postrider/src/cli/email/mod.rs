//! `postrider email`: what the store keeps.

mod list;
mod raw;
mod show;

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
    /// Write the message to standard output, byte for byte as it was accepted
    Raw {
        /// The e-mail's id
        id: ObjectId,
    },
}

pub(super) fn run(command: EmailCommand, output: &mut Output) -> Result<(), Failure> {
    context::with_store(async |store| match command {
        EmailCommand::List(args) => list::run(store, args, output).await,
        EmailCommand::Show { id } => show::run(store, id, output).await,
        EmailCommand::Raw { id } => raw::run(store, id, output).await,
    })
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
