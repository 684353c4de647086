//! `postrider migrate`: moves everything from one engine to the other, and compares it in the end. The source is only read.

mod copy;
mod inventory;
mod progress;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;

use clap::{Args, ValueEnum};
use postrider::Engine;
use postrider_config::{Profile, Settings};
use postrider_core::Timestamp;
use postrider_store::Store;
use serde::Serialize;

use self::copy::Copied;
use self::progress::Progress;
use self::verify::Differences;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, counted};

/// E-mails in one export; the engine gives fewer where they are large.
const EXPORT_EMAILS: usize = 256;

/// Suppressed addresses in one page.
const EXPORT_SUPPRESSIONS: u64 = 1_000;

/// Entries of the audit log in one page.
const EXPORT_AUDIT: u64 = 1_000;

/// Webhook calls in one export.
const EXPORT_CALLS: usize = 500;

/// Requests in one export.
const EXPORT_REQUESTS: usize = 1_000;

/// Entries of mailboxes in one export.
const EXPORT_ENTRIES: usize = 1_000;

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// The engine that has everything now
    #[arg(long, value_name = "ENGINE")]
    from: EngineName,
    /// The engine that shall have it
    #[arg(long, value_name = "ENGINE")]
    to: EngineName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum EngineName {
    /// The embedded database in DATA_DIR
    Sqlite,
    /// The database of MONGODB_URL
    Mongodb,
}

/// What was done, and whether it came out well.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    from: EngineName,
    to: EngineName,
    #[serde(flatten)]
    copied: Copied,
    is_verified: bool,
    differences: Differences,
}

pub(super) fn run(args: MigrateArgs, output: &mut Output) -> Result<(), Failure> {
    let settings = context::load(Profile::Serve)?.settings;
    if args.from == args.to {
        return Err(Failure::Usage("--from and --to are the same engine: there is nothing to move".to_owned()));
    }
    let (from, to) = (args.from.engine(&settings)?, args.to.engine(&settings)?);
    context::require(&from)?;
    let shown = (from.to_string(), to.to_string());
    let (copied, differences) = context::block_on(migrate(from, to, &mut Progress::new()))?;
    let summary = Summary { from: args.from, to: args.to, copied, is_verified: differences.is_none(), differences };
    report(&summary, &shown, output)
}

impl EngineName {
    fn engine(self, settings: &Settings) -> Result<Engine, Failure> {
        match self {
            Self::Sqlite => Ok(Engine::sqlite(settings)),
            Self::Mongodb => Engine::mongodb(settings)
                .ok_or_else(|| Failure::Usage("MONGODB_URL is not set: it says which MongoDB is meant".to_owned())),
        }
    }
}

async fn migrate(from: Engine, to: Engine, progress: &mut Progress) -> Result<(Copied, Differences), Failure> {
    let sides = Sides { from: from.to_string(), to: to.to_string() };
    // Opened as a server does: while this goes on, no server can start on an embedded database.
    let source = open(from, &sides.from).await?;
    let target = open(to, &sides.to).await?;
    let moved = move_all(source.as_ref(), target.as_ref(), &sides, progress).await;
    progress.end();
    let closed = (target.close().await, source.close().await);
    let moved = moved?;
    closed.0?;
    closed.1?;
    Ok(moved)
}

/// The two stores in words.
#[derive(Debug)]
struct Sides {
    from: String,
    to: String,
}

async fn open(engine: Engine, shown: &str) -> Result<Arc<dyn Store>, Failure> {
    engine.open().await.map_err(|error| Failure::Failed(format!("{shown}: {error}")))
}

/// Copies what is not there yet, then compares everything.
async fn move_all(
    source: &dyn Store,
    target: &dyn Store,
    sides: &Sides,
    progress: &mut Progress,
) -> Result<(Copied, Differences), Failure> {
    refuse_running(source, &sides.from).await?;
    refuse_running(target, &sides.to).await?;
    let users = copy::users(source, target).await?;
    let (emails, mut inventory) = copy::emails(source, target, progress).await?;
    let (domains, aliases) = (copy::domains(source, target).await?, copy::aliases(source, target).await?);
    let notes = copy::notes(source, target).await?;
    let suppressions = copy::suppressions(source, target).await?;
    let audit = copy::audit(source, target).await?;
    let webhooks = copy::webhooks(source, target).await?;
    let requests = copy::requests(source, target).await?;
    let messages = copy::mailboxes(source, target).await?;
    let differences = verify::compare(source, target, &mut inventory, progress).await?;
    // One that started meanwhile may have sent what has been copied as waiting.
    refuse_running(source, &sides.from).await?;
    refuse_running(target, &sides.to).await?;
    Ok((
        Copied {
            emails,
            users,
            domains,
            aliases,
            suppressions,
            audit,
            webhooks,
            requests,
            notes,
            messages,
            statuses: inventory.statuses(),
        },
        differences,
    ))
}

/// A node that runs changes what is copied, and would send what is copied twice.
async fn refuse_running(store: &dyn Store, shown: &str) -> Result<(), Failure> {
    let nodes = store.nodes(Timestamp::system()).await?;
    let Some(node) = nodes.first() else { return Ok(()) };
    let host = if node.host.is_empty() { String::new() } else { format!(" on host {}", node.host) };
    Err(Failure::Conflict(format!(
        "a server{host} is running on {shown}: stop every server that uses it first (one that died counts until {})",
        node.lease_until
    )))
}

fn report(summary: &Summary, (from, to): &(String, String), output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        output.json(summary)?;
    } else {
        let Copied {
            emails,
            users,
            domains,
            aliases,
            suppressions,
            audit,
            webhooks,
            requests,
            notes,
            messages,
            statuses: _,
        } = &summary.copied;
        output.line(format!("From {from} to {to}:"))?;
        for (counts, one, many) in [
            (emails, "e-mail", "e-mails"),
            (users, "user", "users"),
            (domains, "domain", "domains"),
            (aliases, "alias", "aliases"),
            (suppressions, "suppressed address", "suppressed addresses"),
            (audit, "entry of the audit log", "entries of the audit log"),
            (webhooks, "webhook call", "webhook calls"),
            (requests, "request with a key", "requests with keys"),
            (notes, "note", "notes"),
            (messages, "message in mailboxes", "messages in mailboxes"),
        ] {
            let present = counts.total - counts.moved;
            output.line(format!("  {}, {present} of them there already", counted(counts.total, one, many)))?;
        }
    }
    if !summary.is_verified {
        return Err(Failure::Failed(format!(
            "the two stores are not the same:\n{}\nThe source is as it was; go on with it, or empty the target and \
             migrate again.",
            summary.differences
        )));
    }
    if !output.is_json() {
        output.line("Every one was read again from there and is the same.")?;
        output.line(match summary.to {
            EngineName::Mongodb => "Keep MONGODB_URL set for the servers from now on.",
            EngineName::Sqlite => "Unset MONGODB_URL before a server starts.",
        })?;
        output.line("The source keeps what it had: a server started on it would send what waits a second time.")?;
    }
    Ok(())
}
