//! `GET /api/log/follow`: what is logged, as server-sent events (WHATWG HTML, section 9.2), from now on or from behind a record.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, Sse};
use futures_util::stream::Stream;
use postrider_core::{LogFilter, LogLevel, LogPage, ObjectId};
use postrider_store::tokens::Scope;

use super::{FILTER, filter};
use crate::AppState;
use crate::auth::Caller;
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::streams::{Followed, Place, tell};

/// Records that come within this time are one event, so many at most.
const BATCH_EVERY: Duration = Duration::from_millis(250);
const BATCH_RECORDS_MAX: usize = 200;

/// What one client follows.
struct Following {
    state: AppState,
    caller: Caller,
    filter: LogFilter,
    after: u64,
    _place: Place,
}

/// Follow this server's log, as server-sent events.
///
/// Each event, `log`, brings the records of a quarter of a second, up to 200; its id is the number of the last one. Whoever reads
/// too slowly for what is logged is told so by `missed`.
#[utoipa::path(
    get,
    path = "/api/log/follow",
    operation_id = "followLog",
    tag = "server",
    params(
        ("level" = Option<LogLevel>, Query, description = "Those that are so grave at least."),
        ("q" = Option<String>, Query, description = "Those whose line has this in it, as in `GET /api/log`."),
        ("email" = Option<ObjectId>, Query, description = "Those about this e-mail."),
        ("after" = Option<u64>, Query, description = "As the field Last-Event-ID, for programs that cannot send it.", minimum = 0),
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on behind the record of this number.")
    ),
    responses((status = 200, description = "Server-sent events without end; the data of each is a `LogPage` in JSON.", content_type = "text/event-stream", body = String))
)]
pub(in crate::api) async fn follow(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let filter = filter(&mut parameters)?;
    let after = parameters.parsed("after")?;
    parameters.finish(&[&FILTER[..], &["after"]].concat())?;
    let after = last_event(&headers)?.or(after).unwrap_or_else(|| state.log.records(None, &filter, 0).last);
    let place = state.streams.take(&caller)?;
    let following = Following { state, caller, filter, after, _place: place };
    Ok(tell(following))
}

fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|value| value.parse().ok());
    let wrong = || Problem::bad_parameter("Last-Event-ID", "Last-Event-ID is wrong: it is the number of a record.");
    number.map(Some).ok_or_else(wrong)
}

impl Followed for Following {
    async fn next(&mut self) -> Option<Event> {
        loop {
            self.state.clock.sleep(BATCH_EVERY).await;
            if !self.state.guard.still_admits(&self.caller.0, Scope::Admin).await {
                return None;
            }
            let page = self.state.log.records(Some(self.after), &self.filter, BATCH_RECORDS_MAX);
            self.after = page.last;
            if !page.records.is_empty() || page.missed {
                return Some(told(&page));
            }
        }
    }
}

fn told(page: &LogPage) -> Event {
    // Texts and numbers are always JSON, without a line end.
    let data = serde_json::to_string(page).unwrap_or_default();
    Event::default().id(page.last.to_string()).event("log").data(data)
}
