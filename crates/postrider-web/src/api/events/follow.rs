//! `GET /api/events`: server-sent events (WHATWG HTML, section 9.2), from now on or, with `Last-Event-ID`, from behind an event.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, Sse};
use futures_util::stream::Stream;
use postrider_core::{ObjectId, Timestamp};
use postrider_store::tokens::Scope;
use postrider_store::{EventKind, EventRecord, StoreError};
use serde::Serialize;

use crate::AppState;
use crate::auth::Caller;
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::streams::{Followed, Place, tell};

/// How often it is looked whether something happened, and events in one look.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_EVENTS: usize = 500;

/// What a client is told. Details are at `/api/emails/{id}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    id: ObjectId,
    r#type: EventKind,
    timestamp: Timestamp,
    email: ObjectId,
    /// Which of its deliveries, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<u32>,
}

/// What one client follows.
struct Following {
    state: AppState,
    caller: Caller,
    kind: Option<EventKind>,
    email: Option<ObjectId>,
    cursor: String,
    waiting: VecDeque<EventRecord>,
    _place: Place,
}

/// Follow what happens, as server-sent events.
#[utoipa::path(
    get,
    path = "/api/events",
    operation_id = "followEvents",
    tag = "events",
    params(
        ("type" = Option<EventKind>, Query, description = "Only events of this type."),
        ("email" = Option<ObjectId>, Query, description = "Only those of this e-mail."),
        ("after" = Option<String>, Query, description = "As the field Last-Event-ID, for programs that cannot send it."),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on behind this event.")
    ),
    responses((status = 200, description = "Server-sent events without end; the data of each is a `Told` in JSON.", content_type = "text/event-stream", body = String))
)]
pub(in crate::api) async fn follow(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let (kind, email) = (parameters.parsed("type")?, parameters.parsed("email")?);
    // For programs that cannot send the field.
    let after = parameters.text("after");
    parameters.finish(&["type", "email", "after"])?;
    let place = state.streams.take(&caller)?;
    let field = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let cursor = match field.or(after) {
        // One that is none is found out now, not in the stream.
        Some(cursor) => state.store.events(Some(&cursor), 1).await.map(|_| cursor).map_err(no_cursor)?,
        None => state.store.events(None, 1).await?.cursor,
    };
    let following = Following { state, caller, kind, email, cursor, waiting: VecDeque::new(), _place: place };
    Ok(tell(following))
}

impl Followed for Following {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if !self.state.guard.still_admits(&self.caller.0, Scope::Read).await {
                return None;
            }
            while let Some(event) = self.waiting.pop_front() {
                self.cursor.clone_from(&event.cursor);
                if self.wants(&event) {
                    return Some(told(event));
                }
            }
            // What cannot be read now is read later: the client stays where it is.
            match self.state.store.events(Some(&self.cursor), LOOK_EVENTS).await {
                Ok(page) if !page.events.is_empty() => self.waiting = page.events.into(),
                Ok(_) | Err(_) => self.state.clock.sleep(LOOK).await,
            }
        }
    }
}

impl Following {
    fn wants(&self, event: &EventRecord) -> bool {
        self.kind.is_none_or(|kind| event.kind == kind) && self.email.is_none_or(|email| event.email == email)
    }
}

fn told(event: EventRecord) -> Event {
    let EventRecord { cursor, id, kind, at, email, delivery } = event;
    let told = Told { id, r#type: kind, timestamp: at, email, delivery };
    // Texts and numbers are always JSON, without a line end.
    let data = serde_json::to_string(&told).unwrap_or_default();
    Event::default().id(cursor).event(kind.as_str()).data(data)
}

fn no_cursor(error: StoreError) -> Problem {
    match error {
        StoreError::Limit(_) => {
            Problem::bad_parameter("Last-Event-ID", "Last-Event-ID is wrong: give one that an event had, or none.")
        }
        error => error.into(),
    }
}
