//! `GET /emails`: finding e-mails with the query language of the API. What is asked for stands in the address.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use postrider_core::EmailStatus;
use postrider_core::query::KEYS;
use postrider_store::{EmailPage, EmailRecord, ListRequest, ListStart, QueueStats};
use serde_json::json;

use crate::AppState;
use crate::api::emails::list::Request;
use crate::pages::address::Address;
use crate::pages::filters;
use crate::pages::format::{Counted, Grouped, Size, When};
use crate::pages::frame::{Frame, Page, Visit};
use crate::problem::Problem;
use crate::view::Cursor;

/// E-mails of a page, if the address does not say.
const LIMIT: u64 = 50;

/// Recipients named of one e-mail; the rest is counted.
const RECIPIENTS_SHOWN_MAX: usize = 2;

/// Parameters that say where in a list, not which list.
const PLACE_PARAMETERS: &[&str] = &["cursor", "page"];

#[derive(Template)]
#[template(path = "emails/list.html")]
struct ListPage {
    frame: Frame,
    q: String,
    /// What is wrong with what was asked for.
    error: Option<String>,
    keys: String,
    statuses: Vec<Choice>,
    /// What restricts the list beside words and status, each with where it leads without it.
    others: Vec<Choice>,
    /// The filter, for orders that are for all that match.
    filter: Vec<(String, String)>,
    rows: Vec<Row>,
    counted: Counted,
    total_is_at_least: bool,
    is_incomplete: bool,
    next: Option<Address>,
    previous: Option<Address>,
    is_anything_asked: bool,
}

/// A link that restricts the list.
struct Choice {
    label: String,
    count: Option<Grouped>,
    is_taken: bool,
    leads_to: Address,
}

struct Row {
    email: EmailRecord,
    created: When,
    next_attempt: Option<When>,
    size: Size,
}

impl Row {
    fn recipients(&self) -> impl Iterator<Item = &String> {
        self.email.recipients.iter().take(RECIPIENTS_SHOWN_MAX)
    }

    fn recipients_more(&self) -> Option<usize> {
        self.email.recipients.len().checked_sub(RECIPIENTS_SHOWN_MAX).filter(|more| *more > 0)
    }

    fn subject(&self) -> &str {
        self.email.subject.as_deref().filter(|subject| !subject.trim().is_empty()).unwrap_or("(no subject)")
    }

    fn sender(&self) -> &str {
        if self.email.sender.is_empty() { "<>" } else { &self.email.sender }
    }
}

pub(in crate::pages) async fn list(State(state): State<AppState>, visit: Visit, uri: Uri) -> Result<Response, Problem> {
    let here = Address::of(&uri).without(PLACE_PARAMETERS);
    let stats = state.queue_look.stats(state.store.as_ref()).await?;
    let (found, around, problem) = match Request::parse(&uri, visit.now, LIMIT) {
        Ok(asked) => {
            let (found, around) = find(&state, asked).await?;
            (found, around, None)
        }
        Err(problem) => (EmailPage::default(), (None, None), Some(problem)),
    };
    let (next, previous) = around;
    let at = |cursor: Option<Cursor>| cursor.map(|cursor| here.with("cursor", &cursor.to_string()));
    let row = |email: EmailRecord| Row {
        created: When::new(email.created_at, visit.now),
        next_attempt: email.next_attempt_at.map(|at| When::new(at, visit.now)),
        size: Size(email.size),
        email,
    };
    let page = ListPage {
        frame: visit.frame("E-mails", "/emails"),
        q: here.get("q").unwrap_or_default().to_owned(),
        error: problem.as_ref().map(|problem| problem.document().detail.to_owned()),
        keys: keys(),
        statuses: statuses(&here, &stats),
        others: others(&here),
        filter: here.pairs().filter(|(name, _)| !matches!(*name, "limit" | "sort")).map(owned).collect(),
        counted: Counted(found.total, "e-mail", "e-mails"),
        total_is_at_least: found.total_is_at_least,
        is_incomplete: found.is_incomplete,
        rows: found.emails.into_iter().map(row).collect(),
        next: at(next),
        previous: at(previous),
        is_anything_asked: here.pairs().next().is_some(),
    };
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, Page(page)).into_response())
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The page, and the cursors of the next one and the one before.
async fn find(state: &AppState, asked: Request) -> Result<(EmailPage, (Option<Cursor>, Option<Cursor>)), Problem> {
    let Request { filter, mark, order, page, cursor, limit } = asked;
    let start = cursor.as_ref().map_or(ListStart::Page(page), Cursor::start);
    let found = state.store.find(ListRequest { order, start, ..ListRequest::newest(filter, limit) }).await?;
    let (found, page) = match &cursor {
        Some(cursor) => (cursor.counted(found), u64::from(cursor.page)),
        None => (found, page),
    };
    let around = Cursor::around(&found, (mark, order), page);
    Ok((found, around))
}

/// The statuses as links, with how many there are of each in all: beside a query they would be taken for what it finds.
fn statuses(here: &Address, stats: &QueueStats) -> Vec<Choice> {
    let taken = here.get("status");
    let is_whole = here.pairs().all(|(name, _)| matches!(name, "status" | "limit" | "sort"));
    let shown = |count: u64| is_whole.then_some(Grouped(count));
    let count = |status| match status {
        EmailStatus::Queued => stats.queued,
        EmailStatus::Sending => stats.sending,
        EmailStatus::Deferred => stats.deferred,
        EmailStatus::Held => stats.held,
        EmailStatus::Sent => stats.sent,
        EmailStatus::Failed => stats.failed,
        EmailStatus::Cancelled => stats.cancelled,
        EmailStatus::Received => stats.received,
    };
    let all = Choice {
        label: "all".to_owned(),
        count: shown(stats.total),
        is_taken: taken.is_none(),
        leads_to: here.without(&["status"]),
    };
    let one = |status: EmailStatus| Choice {
        label: status.to_string(),
        count: shown(count(status)),
        is_taken: taken == Some(status.as_str()),
        leads_to: here.with("status", status.as_str()),
    };
    std::iter::once(all).chain(EmailStatus::ALL.iter().copied().map(one)).collect()
}

fn others(here: &Address) -> Vec<Choice> {
    let others = here.pairs().filter(|(name, value)| !matches!(*name, "q" | "status" | "limit") && !value.is_empty());
    let choice = |(name, value): (&str, &str)| Choice {
        label: format!("{name}: {value}"),
        count: None,
        is_taken: true,
        leads_to: here.without(&[name]),
    };
    others.map(choice).collect()
}

/// The query language's keys, for completion.
fn keys() -> String {
    let key = |key: &postrider_core::query::Key| json!({ "name": key.name, "aliases": key.aliases, "finds": key.finds, "values": (key.values)() });
    serde_json::Value::from(KEYS.iter().map(key).collect::<Vec<_>>()).to_string()
}
