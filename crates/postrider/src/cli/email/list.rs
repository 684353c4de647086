//! `postrider email list`: the same filters as `GET /api/emails`.

use clap::{Args, ValueEnum};
use postrider_core::query::Query;
use postrider_core::{Direction, Domain, EmailStatus, Timestamp};
use postrider_store::{EmailFilter, ListOrder, ListRequest, ListStart, Store};
use postrider_web::view::{EmailPageView, FilterMark};

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
    /// Only what this query finds, like: status:deferred older:1h "invoice" (see docs/search.md)
    #[arg(long, short, value_name = "QUERY")]
    query: Option<Query>,
    /// The same without --query, behind all options; `--` before it lets it have terms with `-`
    #[arg(value_name = "QUERY", conflicts_with = "query")]
    words: Vec<String>,
    /// Only accepted then or later: 2026-11-22 or 2026-11-22T13:39:40Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Only accepted before then
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// The oldest first
    #[arg(long)]
    oldest: bool,
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
    let order = if args.oldest { ListOrder::Oldest } else { ListOrder::Newest };
    let request =
        ListRequest { order, start: ListStart::Page(page), ..ListRequest::newest(args.into_filter()?, limit) };
    let found = store.find(request).await?;
    if output.is_json() {
        return output.json(&EmailPageView::new(found, (FilterMark::default(), order), page, limit));
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
    let at_least = if found.total_is_at_least { "at least " } else { "" };
    output.line(format!("{at_least}{}.{which}", counted(found.total, "e-mail", "e-mails")))?;
    if found.is_incomplete {
        output.line("Not all that may match was looked at; narrow it down, by newer: or after: for instance.")?;
    }
    Ok(())
}

impl ListArgs {
    fn into_filter(self) -> Result<EmailFilter, Failure> {
        let words = Query::parse(&self.words.join(" "));
        let query =
            self.query.map_or(words, Ok).map_err(|error| Failure::Usage(format!("the query is wrong {error}")))?;
        Ok(EmailFilter {
            status: self.status,
            direction: self.direction.map(|direction| match direction {
                DirectionArg::Inbound => Direction::Inbound,
                DirectionArg::Outbound => Direction::Outbound,
            }),
            sender: self.sender,
            recipient: self.recipient,
            domain: self.domain,
            tag: self.tag,
            from: self.from,
            to: self.to,
            terms: query.at(Timestamp::system()),
        })
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "a time is like 2026-11-22T13:39:40Z or 2026-11-22".to_owned())
}
