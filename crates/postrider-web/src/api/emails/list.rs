//! `GET /api/emails`: a page of e-mails, newest first unless asked for otherwise.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::query::Query;
use postrider_core::{Direction, EmailStatus, Timestamp};
use postrider_store::{EmailFilter, ListOrder, ListRequest, ListStart};

use crate::AppState;
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::{Cursor, EmailPageView, FilterMark};

pub(in crate::api) const LIMIT_DEFAULT: u64 = 20;
pub(in crate::api) const LIMIT_MAX: u64 = 100;
/// Pages behind this one are reached with cursors, or with `to`.
pub(crate) const PAGE_MAX: u64 = 1_000_000;

const PARAMETERS: &[&str] = &[
    "page",
    "limit",
    "cursor",
    "sort",
    "status",
    "direction",
    "sender",
    "recipient",
    "domain",
    "tag",
    "q",
    "from",
    "to",
];

/// Those that say which e-mails are listed.
const FILTER: &[&str] = &["status", "direction", "sender", "recipient", "domain", "tag", "q", "from", "to"];

/// What a query asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) filter: EmailFilter,
    pub(crate) mark: FilterMark,
    pub(crate) order: ListOrder,
    pub(crate) page: u64,
    /// In place of the page.
    pub(crate) cursor: Option<Cursor>,
    pub(crate) limit: u64,
}

/// A page of e-mails.
#[utoipa::path(
    get,
    path = "/api/emails",
    operation_id = "listEmails",
    tag = "emails",
    params(
        ("page" = Option<u64>, Query, description = "Counted from 1.", minimum = 1, maximum = 1000000),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 20 if not given.", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`nextCursor` or `prevCursor` of another answer to the same filter, in place of \
            `page`: whatever comes and goes meanwhile, nothing is shown twice or left out."),
        ("sort" = Option<String>, Query, description = "`-createdAt`, the newest first, or `createdAt`, the oldest first.",
            example = "-createdAt"),
        ("status" = Option<EmailStatus>, Query, description = "Only those of this status."),
        ("direction" = Option<Direction>, Query, description = "Only those that came in, or went out."),
        ("sender" = Option<String>, Query, description = "The sender's address, or a part of it."),
        ("recipient" = Option<String>, Query, description = "A recipient's address, or a part of it."),
        ("domain" = Option<String>, Query, description = "The domain of the sender or of a recipient."),
        ("tag" = Option<String>, Query, description = "One of its tags."),
        ("q" = Option<String>, Query, description = "A query, as docs/search.md has it: words, phrases and `key:value`.",
            example = "status:deferred older:1h \"invoice\""),
        ("from" = Option<String>, Query, description = "Accepted then or later (RFC 3339, or a date)."),
        ("to" = Option<String>, Query, description = "Accepted before then.")
    ),
    responses((status = 200, description = "A page of the list.", body = EmailPageView))
)]
pub(in crate::api) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<EmailPageView>, Problem> {
    let Request { filter, mark, order, page, cursor, limit } = Request::parse(&uri, state.clock.now(), LIMIT_DEFAULT)?;
    let start = cursor.as_ref().map_or(ListStart::Page(page), Cursor::start);
    let found = state.store.find(ListRequest { order, start, ..ListRequest::newest(filter, limit) }).await?;
    Ok(Json(match &cursor {
        Some(cursor) => EmailPageView::of_cursor(found, cursor, limit),
        None => EmailPageView::new(found, (mark, order), page, limit),
    }))
}

impl Request {
    /// `limit`: e-mails of a page, where nothing is said of it.
    pub(crate) fn parse(uri: &Uri, now: Timestamp, limit: u64) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(uri)?;
        let mark = FilterMark::of(parameters.given(FILTER));
        let cursor: Option<Cursor> = parameters.parsed("cursor")?;
        let page = parameters.read("page", |value| number(value, PAGE_MAX))?;
        let order = parameters.read("sort", order)?;
        if let Some(cursor) = &cursor {
            if page.is_some() {
                return Err(Problem::bad_parameter("page", "Give page or cursor, one of them."));
            }
            if order.is_some_and(|order| order != cursor.order) {
                return Err(Problem::bad_parameter("sort", "The cursor was given for the other order."));
            }
            if cursor.filter != mark {
                let detail = "The cursor was given for another filter: give the same status, direction, sender, recipient, domain, \
                              tag, q, from and to as then, or begin anew without a cursor.";
                return Err(Problem::bad_parameter("cursor", detail));
            }
        }
        let query: Option<Query> = parameters.parsed("q")?;
        let request = Self {
            mark,
            page: page.unwrap_or(1),
            order: cursor.map(|cursor| cursor.order).or(order).unwrap_or_default(),
            cursor,
            limit: parameters.read("limit", |value| number(value, LIMIT_MAX))?.unwrap_or(limit),
            filter: EmailFilter {
                status: parameters.parsed("status")?,
                direction: parameters.read("direction", direction)?,
                sender: parameters.text("sender"),
                recipient: parameters.text("recipient"),
                domain: parameters.parsed("domain")?,
                tag: parameters.text("tag"),
                from: parameters.read("from", time)?,
                to: parameters.read("to", time)?,
                terms: query.map(|query| query.at(now)).unwrap_or_default(),
            },
        };
        parameters.finish(PARAMETERS)?;
        Ok(request)
    }
}

pub(crate) fn number(text: &str, max: u64) -> Result<u64, String> {
    let allowed = || format!("{text:?} is no number from 1 to {max}");
    text.parse().ok().filter(|number| (1..=max).contains(number)).ok_or_else(allowed)
}

/// What lists are sorted by: only what an index is in the order of.
fn order(text: &str) -> Result<ListOrder, String> {
    match text {
        "-createdAt" => Ok(ListOrder::Newest),
        "createdAt" => Ok(ListOrder::Oldest),
        _ => {
            Err(format!("{text:?} is none of -createdAt (the newest first) and createdAt, by which there is an index"))
        }
    }
}

fn direction(text: &str) -> Result<Direction, String> {
    match text {
        "inbound" => Ok(Direction::Inbound),
        "outbound" => Ok(Direction::Outbound),
        _ => Err(format!("{text:?} is none of inbound, outbound")),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let allowed = || format!("{text:?} is no time like 2026-11-22T13:39:40Z (with %2B for a plus) and no date");
    Timestamp::parse_rfc3339(text).ok_or_else(allowed)
}

#[cfg(test)]
mod tests {
    use postrider_core::Domain;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn parse(query: &str) -> Result<Request, Problem> {
        Request::parse(&format!("/api/emails?{query}").parse().unwrap(), NOW, LIMIT_DEFAULT)
    }

    fn asking_for(filter: EmailFilter) -> Request {
        let mark = FilterMark::of([]);
        Request { filter, mark, order: ListOrder::Newest, page: 1, cursor: None, limit: 20 }
    }

    #[test]
    fn reads_every_parameter() {
        let request = parse(
            "page=3&limit=100&sort=createdAt&status=deferred&direction=outbound&sender=a%40b&recipient=c&domain=Example.ORG&tag=News&q=two+-words+older:1h\
             &from=2026-11-22&to=2026-11-22T14:39:40.123%2B01:00",
        );
        let filter = EmailFilter {
            status: Some(EmailStatus::Deferred),
            direction: Some(Direction::Outbound),
            sender: Some("a@b".into()),
            recipient: Some("c".into()),
            domain: Some(Domain::parse("example.org").unwrap()),
            tag: Some("News".into()),
            terms: Query::parse("two -words older:1h").unwrap().at(NOW),
            from: Some(Timestamp::from_millis(1_795_305_600_000)),
            to: Some(Timestamp::from_millis(1_795_354_780_123)),
        };
        let mark = request.as_ref().unwrap().mark;
        assert_eq!(request, Ok(Request { mark, page: 3, limit: 100, order: ListOrder::Oldest, ..asking_for(filter) }));
    }

    #[test]
    fn empty_values_do_not_restrict() {
        let request =
            parse("page=1&limit=20&cursor=&sort=&status=&direction=&sender=&recipient=&domain=&tag=&q=&from=&to=");
        assert_eq!(request, Ok(asking_for(EmailFilter::default())));
        assert_eq!(request, Request::parse(&"/api/emails".parse().unwrap(), NOW, LIMIT_DEFAULT));
    }

    #[test]
    fn a_cursor_stands_in_place_of_a_page() {
        let cursor = Cursor {
            filter: FilterMark::of([]),
            order: ListOrder::Oldest,
            is_backwards: false,
            place: postrider_store::ListPlace([1; 12]),
            page: 2,
            total: 30,
            total_is_at_least: false,
        };
        let read = parse(&format!("cursor={cursor}")).unwrap();
        assert_eq!((read.cursor, read.order), (Some(cursor), ListOrder::Oldest));
        assert!(parse(&format!("cursor={cursor}&sort=createdAt")).is_ok());
        assert!(parse(&format!("cursor={cursor}&sort=-createdAt")).is_err());
        assert!(parse(&format!("cursor={cursor}&page=2")).is_err());
    }

    #[test]
    fn a_cursor_is_good_for_its_filter() {
        let mark = parse("q=older:1h&tag=a").unwrap().mark;
        let cursor = Cursor {
            filter: mark,
            order: ListOrder::Newest,
            is_backwards: false,
            place: postrider_store::ListPlace([1; 12]),
            page: 2,
            total: 30,
            total_is_at_least: false,
        };
        // Also where the same is said in another order, or later, or with pages of another length.
        assert_eq!(parse(&format!("limit=7&tag=a&cursor={cursor}&q=older:1h&status=")).unwrap().cursor, Some(cursor));
        for filter in ["q=older:2h&tag=a", "q=older:1h", "", "q=older:1h&tag=a&status=sent"] {
            let problem = parse(&format!("{filter}&cursor={cursor}")).unwrap_err();
            assert!(format!("{problem:?}").contains(r#"Parameter("cursor")"#), "{filter}: {problem:?}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for (query, name) in [
            ("page=0", "page"),
            ("page=1000001", "page"),
            ("limit=101", "limit"),
            ("limit=-1", "limit"),
            ("status=sendin", "status"),
            ("direction=up", "direction"),
            ("domain=a..b", "domain"),
            ("from=yesterday", "from"),
            ("to=2026-13-01", "to"),
            ("sort=asc", "sort"),
            ("sort=size", "sort"),
            ("cursor=abc", "cursor"),
            ("q=foo:bar", "q"),
            ("q=a&q=b", "q"),
        ] {
            let problem = parse(query).unwrap_err();
            assert!(format!("{problem:?}").contains(&format!("Parameter({name:?})")), "{query}: {problem:?}");
        }
    }
}
