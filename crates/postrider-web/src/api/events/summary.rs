//! `GET /api/events/summary`: that something happened, a few times a second at most, for pages that show how things stand.
//!
//! All who follow it share one look at the store, so that open pages cost it nothing each.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::sse::{Event, Sse};
use futures_util::stream::Stream;
use postrider_core::{Clock, ObjectId};
use postrider_store::tokens::Scope;
use postrider_store::{Store, StoreError};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::AppState;
use crate::auth::Caller;
use crate::extract::Parameters;
use crate::problem::Problem;
use crate::streams::{Followed, Place, tell};

/// How often it is looked whether something happened: what happens is told within this time.
const LOOK: Duration = Duration::from_millis(500);
/// Events in one reading, and readings in one look: what is behind is told with the next.
const READ_EVENTS: usize = 1_000;
const LOOK_READS: usize = 10;

/// E-mails that one summary names.
const EMAILS_MAX: usize = 100;

/// Summaries that a client may be behind; one that is behind more is told that anything may have happened.
const BEHIND_MAX: usize = 16;

/// How often it is looked whether who follows still may.
const ADMITTED: Duration = Duration::from_secs(5);

/// What happened since the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EventSummary)]
struct Summary {
    /// How many events there were.
    events: u64,
    /// The e-mails that they are about.
    emails: Vec<ObjectId>,
    /// Whether something else may have changed: by request, or of more e-mails than are named.
    more: bool,
}

/// Who follows, and what was changed by request.
pub(crate) struct Summaries {
    sender: Mutex<Option<broadcast::Sender<Summary>>>,
    /// Changes that were made through this server, of which no event tells.
    changes: AtomicU64,
    told: AtomicU64,
}

impl Summaries {
    pub(crate) fn new() -> Self {
        Self { sender: Mutex::new(None), changes: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    /// Another number whenever something may have happened, as far as those who follow were told or may have missed it.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    /// What was seen before is old now.
    pub(crate) fn note(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
    }

    /// Something was changed by request.
    pub(crate) fn stir(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on. The first one to follow begins the looking, which ends behind the last one.
    fn subscribe(self: &Arc<Self>, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> broadcast::Receiver<Summary> {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.as_ref() {
            return sender.subscribe();
        }
        // What happened while nobody followed, nobody was told.
        self.note();
        let (fresh, receiver) = broadcast::channel(BEHIND_MAX);
        *sender = Some(fresh);
        let looking = Looking { summaries: self.clone(), store: store.clone(), changes: self.changes() };
        tokio::spawn(looking.run(clock.clone()));
        receiver
    }

    /// How often something was changed by request.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// `false`, and nobody is told any more, where nobody listens.
    fn tell(&self, summary: Option<Summary>) -> bool {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let is_heard = sender.as_ref().is_some_and(|sender| match summary {
            Some(summary) => {
                // First, so that who is told and asks at once is not shown what was seen before.
                self.note();
                sender.send(summary).is_ok()
            }
            None => sender.receiver_count() > 0,
        });
        if !is_heard {
            *sender = None;
        }
        is_heard
    }
}

impl fmt::Debug for Summaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summaries").finish_non_exhaustive()
    }
}

struct Looking {
    summaries: Arc<Summaries>,
    store: Arc<dyn Store>,
    changes: u64,
}

impl Looking {
    async fn run(mut self, clock: Arc<dyn Clock>) {
        let mut cursor = None;
        loop {
            // What cannot be read now is read later.
            let summary = self.look(&mut cursor).await.unwrap_or_default();
            if !self.summaries.tell(summary) {
                return;
            }
            clock.sleep(LOOK).await;
        }
    }

    async fn look(&mut self, cursor: &mut Option<String>) -> Result<Option<Summary>, StoreError> {
        let changes = self.summaries.changes();
        let mut summary = Summary { more: changes != self.changes, ..Summary::default() };
        self.changes = changes;
        let mut named = HashSet::new();
        for _ in 0..LOOK_READS {
            let page = self.store.events(cursor.as_deref(), READ_EVENTS).await?;
            let is_first = cursor.replace(page.cursor).is_none();
            // What was there before anybody followed is no news.
            if is_first || page.events.is_empty() {
                break;
            }
            summary.events += page.events.len() as u64;
            for event in page.events {
                if named.len() < EMAILS_MAX {
                    named.insert(event.email);
                } else {
                    summary.more |= !named.contains(&event.email);
                }
            }
        }
        summary.emails = named.into_iter().collect();
        Ok((summary != Summary::default()).then_some(summary))
    }
}

/// Follow that something happens, without what, as server-sent events.
#[utoipa::path(
    get,
    path = "/api/events/summary",
    operation_id = "followSummary",
    tag = "events",
    responses((status = 200, description = "Server-sent events without end, two a second at most, each named `summary`; the data of each is a \
        summary in JSON.", content_type = "text/event-stream", body = Summary))
)]
pub(in crate::api) async fn follow(
    State(state): State<AppState>,
    caller: Caller,
    uri: Uri,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    Parameters::of(&uri)?.finish(&["none"])?;
    let place = state.streams.take(&caller)?;
    let receiver = state.summaries.subscribe(&state.store, &state.clock);
    let following = Following { state, caller, receiver, _place: place };
    Ok(tell(following))
}

struct Following {
    state: AppState,
    caller: Caller,
    receiver: broadcast::Receiver<Summary>,
    _place: Place,
}

impl Followed for Following {
    async fn next(&mut self) -> Option<Event> {
        let told = |summary: &Summary| {
            let data = serde_json::to_string(summary).unwrap_or_default();
            Some(Event::default().event("summary").data(data))
        };
        loop {
            if !self.state.guard.still_admits(&self.caller.0, Scope::Read).await {
                return None;
            }
            tokio::select! {
                received = self.receiver.recv() => match received {
                    Ok(summary) => return told(&summary),
                    Err(broadcast::error::RecvError::Lagged(_)) => return told(&Summary { more: true, ..Summary::default() }),
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                () = self.state.clock.sleep(ADMITTED) => {}
            }
        }
    }
}
