//! `postrider audit`: who changed what. And how the commands that change something say so.

mod list;

use std::fmt::Display;
use std::future::Future;

use clap::Subcommand;
use postrider_core::Timestamp;
use postrider_store::{AuditActor, AuditConclusion, AuditEntry, AuditOutcome, Store};
use serde_json::Value;

use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// Who did it, where a command did.
const ACTOR: &str = "command line";

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List what was changed by API or command line, the newest first
    List(list::ListArgs),
}

pub(super) fn run(command: AuditCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        AuditCommand::List(args) => context::with_store(async |store| list::run(store, args, output).await),
    }
}

/// Makes a change and records it: before it is made, and how it ended. The actions are those that the API has. No secrets in
/// `details`.
pub(super) async fn record<T>(
    store: &dyn Store,
    action: &str,
    target: impl Display,
    details: Value,
    change: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let actor = AuditActor { name: ACTOR.to_owned(), token: None };
    let entry = AuditEntry::begun(actor, None, action, &target.to_string(), Timestamp::system());
    let id = entry.id;
    store.audit(vec![entry]).await?;
    let result = change.await;
    let outcome = match &result {
        // What was changed is: only the answer could not be shown.
        Ok(_) | Err(Failure::Reported | Failure::BrokenPipe) => AuditOutcome::Done,
        Err(Failure::Usage(_) | Failure::NotFound(_) | Failure::Conflict(_)) => AuditOutcome::Refused,
        Err(Failure::Failed(_)) => AuditOutcome::Failed,
    };
    let details = (!details.is_null()).then(|| details.to_string());
    store.conclude_audit(id, AuditConclusion::new(outcome, None, details)).await?;
    result
}
