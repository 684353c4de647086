//! `postrider audit list`

use clap::Args;
use postrider_core::Timestamp;
use postrider_store::{AuditEntry, AuditFilter, Store};
use postrider_web::view::AuditPageView;

use crate::cli::failure::Failure;
use crate::cli::output::{Output, counted, which_page};
use crate::cli::table::{Cell, Table};

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Only what was done by these: a part of the name, or the id of a token
    #[arg(long, value_name = "TEXT")]
    actor: Option<String>,
    /// Only this, as user.add, or all that is done to such things, as user
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to what has this in its name
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// Then or later: 2026-11-22 or 2026-11-22T13:39:40Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Before then
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// Which page, from 1
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    page: u64,
    /// Entries a page
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
}

pub(super) async fn run(store: &dyn Store, args: ListArgs, output: &mut Output) -> Result<(), Failure> {
    let ListArgs { actor, action, target, from, to, page, limit } = args;
    let found = store.audit_entries(&AuditFilter { actor, action, target, from, to }, page, limit).await?;
    if output.is_json() {
        return output.json(&AuditPageView::new(found, page, limit));
    }
    let mut table = Table::new(&["AT", "WHO", "ACTION", "TARGET", "OUTCOME", "DETAILS"]);
    for entry in &found.entries {
        table.row([
            Cell::text(entry.at.to_string()),
            Cell::text(who(entry)),
            Cell::text(&entry.action),
            Cell::text(&entry.target),
            Cell::text(entry.outcome.map_or("not known", |outcome| outcome.as_str())),
            Cell::text(entry.details.as_deref().unwrap_or_default()),
        ]);
    }
    if !found.entries.is_empty() {
        output.table(&table)?;
        output.line("")?;
    }
    let which = which_page(page, found.total.div_ceil(limit));
    output.line(format!("{}.{which}", counted(found.total, "entry", "entries")))
}

fn who(entry: &AuditEntry) -> String {
    match entry.peer {
        Some(peer) => format!("{} from {peer}", entry.actor.name),
        None => entry.actor.name.clone(),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "write it as 2026-11-22 or 2026-11-22T13:39:40Z".to_owned())
}
