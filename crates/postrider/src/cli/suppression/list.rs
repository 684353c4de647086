//! `postrider suppression list`

use clap::Args;
use postrider_core::SuppressionReason;
use postrider_store::{Store, SuppressionFilter};
use postrider_web::view::SuppressionPageView;

use crate::cli::failure::Failure;
use crate::cli::output::{Output, counted, which_page};
use crate::cli::table::{Cell, Table};

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Only addresses that have this in them
    #[arg(long, short, value_name = "TEXT")]
    query: Option<String>,
    /// Only those listed for this: hard-bounce, complaint or manual
    #[arg(long)]
    reason: Option<SuppressionReason>,
    /// Which page, from 1
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    page: u64,
    /// Addresses a page
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
}

pub(super) async fn run(store: &dyn Store, args: ListArgs, output: &mut Output) -> Result<(), Failure> {
    let ListArgs { query, reason, page, limit } = args;
    let found = store.suppressions(&SuppressionFilter { query, reason }, page, limit).await?;
    if output.is_json() {
        return output.json(&SuppressionPageView::new(found, page, limit));
    }
    let mut table = Table::new(&["ADDRESS", "SINCE", "REASON", "E-MAIL", "WORDS"]);
    for suppression in &found.suppressions {
        table.row([
            Cell::text(suppression.address.as_str()),
            Cell::text(suppression.created_at.to_string()),
            Cell::text(suppression.reason.as_str()),
            Cell::text(suppression.email.map(|email| email.to_string()).unwrap_or_default()),
            Cell::text(suppression.text.as_deref().unwrap_or_default()),
        ]);
    }
    if !found.suppressions.is_empty() {
        output.table(&table)?;
        output.line("")?;
    }
    let which = which_page(page, found.total.div_ceil(limit));
    output.line(format!("{}.{which}", counted(found.total, "suppressed address", "suppressed addresses")))
}
