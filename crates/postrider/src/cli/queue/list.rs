//! `postrider queue list`: the e-mails that wait, and the queue in numbers.

use clap::Args;
use postrider_core::{Domain, EmailStatus, Timestamp};
use postrider_store::{EmailFilter, EmailRecord, QueueStats, Store};
use postrider_web::view::EmailView;
use serde_json::json;

use crate::cli::email::recipients;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, style_of};
use crate::cli::table::{Cell, Table};

/// The states of an e-mail that waits.
const WAITING: [EmailStatus; 4] = [EmailStatus::Sending, EmailStatus::Queued, EmailStatus::Deferred, EmailStatus::Held];

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Only in this state
    #[arg(long)]
    status: Option<EmailStatus>,
    /// Only from or to this domain
    #[arg(long)]
    domain: Option<Domain>,
    /// Only from senders whose address has this in it
    #[arg(long, value_name = "TEXT")]
    sender: Option<String>,
    /// E-mails at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
}

pub(super) async fn run(store: &dyn Store, args: ListArgs, output: &mut Output) -> Result<(), Failure> {
    let stats = store.queue_stats(Timestamp::system()).await?;
    let emails = waiting(store, args).await?;
    if output.is_json() {
        let emails: Vec<_> = emails.into_iter().map(EmailView::from).collect();
        return output.json(&json!({ "stats": stats, "emails": emails }));
    }
    let mut table = Table::new(&["ID", "STATUS", "TRIES", "NEXT TRY", "FROM", "TO", "LAST ERROR"]);
    for email in &emails {
        table.row([
            Cell::text(email.id.to_string()),
            Cell::styled(email.status.as_str(), style_of(email.status)),
            Cell::number(email.attempts),
            Cell::text(email.next_attempt_at.map(|at| at.to_string()).unwrap_or_default()),
            Cell::text(if email.sender.is_empty() { "<>" } else { &email.sender }),
            Cell::text(recipients(&email.recipients)),
            Cell::text(email.last_error.as_deref().unwrap_or_default()),
        ]);
    }
    if !emails.is_empty() {
        output.table(&table)?;
        output.line("")?;
    }
    output.line(numbers(&stats))
}

/// The newest that wait, from all the states asked for together.
async fn waiting(store: &dyn Store, args: ListArgs) -> Result<Vec<EmailRecord>, Failure> {
    let ListArgs { status, domain, sender, limit } = args;
    let mut emails = Vec::new();
    for status in status.map_or(WAITING.to_vec(), |status| vec![status]) {
        let filter = EmailFilter {
            status: Some(status),
            domain: domain.clone(),
            sender: sender.clone(),
            ..EmailFilter::default()
        };
        emails.extend(store.list(&filter, 1, limit).await?.emails);
    }
    emails.sort_by_key(|email| std::cmp::Reverse((email.created_at, email.id)));
    // An e-mail that went from one state to the next between two lists is in both.
    emails.dedup_by_key(|email| email.id);
    emails.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(emails)
}

fn numbers(stats: &QueueStats) -> String {
    let oldest =
        stats.oldest_queued_seconds.map(|seconds| format!("; the oldest waits {seconds} s")).unwrap_or_default();
    format!(
        "{} queued, {} sending, {} deferred, {} held{oldest}; {} sent and {} failed in the last minute.",
        stats.queued, stats.sending, stats.deferred, stats.held, stats.sent_last_minute, stats.failed_last_minute
    )
}
