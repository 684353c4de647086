//! `GET /api/emails`: a page of e-mails, newest first.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::{Direction, EmailStatus, Timestamp};
use postrider_store::EmailFilter;

use crate::AppState;
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::view::EmailPageView;

pub(in crate::api) const LIMIT_DEFAULT: u64 = 20;
pub(in crate::api) const LIMIT_MAX: u64 = 100;
/// Pages behind this one are reached with `to`.
pub(in crate::api) const PAGE_MAX: u64 = 1_000_000;

const PARAMETERS: &[&str] =
    &["page", "limit", "status", "direction", "sender", "recipient", "domain", "tag", "q", "from", "to"];

/// What a query asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    filter: EmailFilter,
    page: u64,
    limit: u64,
}

/// A page of e-mails, newest first.
#[utoipa::path(
    get,
    path = "/api/emails",
    operation_id = "listEmails",
    tag = "emails",
    params(
        ("page" = Option<u64>, Query, description = "Counted from 1.", minimum = 1, maximum = 1000000),
        ("limit" = Option<u64>, Query, description = "Entries of a page; 20 if not given.", minimum = 1, maximum = 100),
        ("status" = Option<EmailStatus>, Query, description = "Only those of this status."),
        ("direction" = Option<Direction>, Query, description = "Only those that came in, or went out."),
        ("sender" = Option<String>, Query, description = "A part of the sender's address."),
        ("recipient" = Option<String>, Query, description = "A part of a recipient's address."),
        ("domain" = Option<String>, Query, description = "The domain of the sender or of a recipient."),
        ("tag" = Option<String>, Query, description = "One of its tags."),
        ("q" = Option<String>, Query, description = "Words that it has."),
        ("from" = Option<String>, Query, description = "Accepted then or later (RFC 3339, or a date)."),
        ("to" = Option<String>, Query, description = "Accepted before then.")
    ),
    responses((status = 200, description = "A page, newest first.", body = EmailPageView))
)]
pub(in crate::api) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<EmailPageView>, Problem> {
    let Request { filter, page, limit } = Request::parse(&uri)?;
    let found = state.store.list(&filter, page, limit).await?;
    Ok(Json(EmailPageView::new(found, page, limit)))
}

impl Request {
    fn parse(uri: &Uri) -> Result<Self, Problem> {
        let mut parameters = Parameters::of(uri)?;
        let request = Self {
            page: parameters.read("page", |value| number(value, PAGE_MAX))?.unwrap_or(1),
            limit: parameters.read("limit", |value| number(value, LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT),
            filter: EmailFilter {
                status: parameters.parsed("status")?,
                direction: parameters.read("direction", direction)?,
                sender: parameters.text("sender"),
                recipient: parameters.text("recipient"),
                domain: parameters.parsed("domain")?,
                tag: parameters.text("tag"),
                query: parameters.text("q"),
                from: parameters.read("from", time)?,
                to: parameters.read("to", time)?,
            },
        };
        parameters.finish(PARAMETERS)?;
        Ok(request)
    }
}

pub(in crate::api) fn number(text: &str, max: u64) -> Result<u64, String> {
    let allowed = || format!("{text:?} is no number from 1 to {max}");
    text.parse().ok().filter(|number| (1..=max).contains(number)).ok_or_else(allowed)
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

    fn parse(query: &str) -> Result<Request, Problem> {
        Request::parse(&format!("/api/emails?{query}").parse().unwrap())
    }

    #[test]
    fn reads_every_parameter() {
        let request = parse(
            "page=3&limit=100&status=deferred&direction=outbound&sender=a%40b&recipient=c&domain=Example.ORG&tag=News&q=two+words\
             &from=2026-11-22&to=2026-11-22T14:39:40.123%2B01:00",
        );
        let filter = EmailFilter {
            status: Some(EmailStatus::Deferred),
            direction: Some(Direction::Outbound),
            sender: Some("a@b".into()),
            recipient: Some("c".into()),
            domain: Some(Domain::parse("example.org").unwrap()),
            tag: Some("News".into()),
            query: Some("two words".into()),
            from: Some(Timestamp::from_millis(1_795_305_600_000)),
            to: Some(Timestamp::from_millis(1_795_354_780_123)),
        };
        assert_eq!(request, Ok(Request { filter, page: 3, limit: 100 }));
    }

    #[test]
    fn empty_values_do_not_restrict() {
        let request = parse("page=1&limit=20&status=&direction=&sender=&recipient=&domain=&tag=&q=&from=&to=");
        assert_eq!(request, Ok(Request { filter: EmailFilter::default(), page: 1, limit: 20 }));
        assert_eq!(request, Request::parse(&"/api/emails".parse().unwrap()));
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
            ("q=a&q=b", "q"),
        ] {
            let problem = parse(query).unwrap_err();
            assert!(format!("{problem:?}").contains(&format!("Parameter({name:?})")), "{query}: {problem:?}");
        }
    }
}
