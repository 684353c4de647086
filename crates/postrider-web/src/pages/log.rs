//! `GET /log`: the last records of this server's log, which go on as they come.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use postrider_core::{LogFilter, LogLevel, LogPage, LogRecord};

use super::address::Address;
use super::frame::{Frame, Page, Visit};
use crate::AppState;
use crate::api::log_filter;
use crate::extract::Parameters;
use crate::problem::Problem;

/// Records of a page when it comes.
const RECORDS: usize = 200;

#[derive(Template)]
#[template(path = "log.html")]
struct Shown {
    frame: Frame,
    /// What is wrong with what was asked for.
    error: Option<String>,
    levels: &'static [LogLevel],
    level: String,
    email: String,
    q: String,
    records: Vec<Line>,
    /// From where on the page goes on by itself.
    follows: Address,
    is_anything_asked: bool,
}

/// A record as a row.
struct Line {
    at: String,
    /// The time of day, in UTC.
    time: String,
    level: LogLevel,
    target: &'static str,
    message: String,
    email: String,
    /// `name=value name=value`.
    fields: String,
}

impl Line {
    fn new(record: &LogRecord) -> Self {
        let at = record.timestamp.to_rfc3339();
        let fields: Vec<String> = record.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Self {
            time: at.get(11..23).unwrap_or_default().to_owned(),
            at,
            level: record.level,
            target: record.target,
            message: record.message.clone(),
            email: record.email.map(|email| email.to_string()).unwrap_or_default(),
            fields: fields.join(" "),
        }
    }
}

pub(super) async fn log(State(state): State<AppState>, visit: Visit, uri: Uri) -> Result<Response, Problem> {
    let here = Address::of(&uri);
    let (page, problem) = match asked(&uri) {
        Ok(filter) => (state.log.records(None, &filter, RECORDS), None),
        Err(problem) => (LogPage::default(), Some(problem)),
    };
    let text = |name: &str| here.get(name).unwrap_or_default().to_owned();
    let mut follows = Address::new("/api/log/follow").with("after", &page.last.to_string());
    for (name, value) in here.pairs() {
        follows = follows.with(name, value);
    }
    let shown = Shown {
        frame: visit.frame("Log", "/log"),
        error: problem.as_ref().map(|problem| problem.document().detail.to_owned()),
        levels: LogLevel::ALL,
        level: text("level"),
        email: text("email"),
        q: text("q"),
        records: page.records.iter().map(|record| Line::new(record)).collect(),
        follows,
        is_anything_asked: here.pairs().next().is_some(),
    };
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, Page(shown)).into_response())
}

fn asked(uri: &Uri) -> Result<LogFilter, Problem> {
    let mut parameters = Parameters::of(uri)?;
    let filter = log_filter(&mut parameters)?;
    parameters.finish(&["level", "q", "email"])?;
    Ok(filter)
}
