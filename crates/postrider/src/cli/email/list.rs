//! `postrider email list`: the same filters as `GET /api/emails`.

use clap::{Args, ValueEnum};
use postrider_core::{Direction, Domain, EmailStatus, Timestamp};
use postrider_store::{EmailFilter, Store};
use postrider_web::view::EmailPageView;

use super::recipients;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, counted, style_of, which_page};
use crate::cli::table::{Cell, Table};

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Only in this state
    #[arg(long)]
    status: Option<EmailStatus>,
    /// Only kept here, or only sent on
    #[arg(long)]
    direction: Option<DirectionArg>,
    /// Only from senders whose address has this in it
    #[arg(long, value_name = "TEXT")]
    sender: Option<String>,
    /// Only to recipients whose address has this in it
    #[arg(long, value_name = "TEXT")]
    recipient: Option<String>,
    /// Only from or to this domain
    #[arg(long)]
    domain: Option<Domain>,
    /// Only with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only with all these words in subject, addresses or Message-ID
    #[arg(long, short, value_name = "WORDS")]
    query: Option<String>,
    /// Only accepted then or later: 2026-11-22 or 2026-11-22T13:39:40Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Only accepted before then
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// Which page, from 1
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    page: u64,
    /// E-mails a page
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DirectionArg {
    Inbound,
    Outbound,
}

pub(super) async fn run(store: &dyn Store, args: ListArgs, output: &mut Output) -> Result<(), Failure> {
    let (page, limit) = (args.page, args.limit);
    let found = store.list(&args.into_filter(), page, limit).await?;
    if output.is_json() {
        return output.json(&EmailPageView::new(found, page, limit));
    }
    let mut table = Table::new(&["ID", "ACCEPTED", "STATUS", "FROM", "TO", "SUBJECT"]);
    for email in &found.emails {
        table.row([
            Cell::text(email.id.to_string()),
            Cell::text(email.created_at.to_string()),
            Cell::styled(email.status.as_str(), style_of(email.status)),
            Cell::text(if email.sender.is_empty() { "<>" } else { &email.sender }),
            Cell::text(recipients(&email.recipients)),
            Cell::text(email.subject.as_deref().unwrap_or_default()),
        ]);
    }
    if !found.emails.is_empty() {
        output.table(&table)?;
        output.line("")?;
    }
    let which = which_page(page, found.total.div_ceil(limit));
    output.line(format!("{}.{which}", counted(found.total, "e-mail", "e-mails")))
}

impl ListArgs {
    fn into_filter(self) -> EmailFilter {
        EmailFilter {
            status: self.status,
            direction: self.direction.map(|direction| match direction {
                DirectionArg::Inbound => Direction::Inbound,
                DirectionArg::Outbound => Direction::Outbound,
            }),
            sender: self.sender,
            recipient: self.recipient,
            domain: self.domain,
            tag: self.tag,
            query: self.query,
            from: self.from,
            to: self.to,
        }
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "a time is like 2026-11-22T13:39:40Z or 2026-11-22".to_owned())
}
