//! `GET /webhooks/deliveries`: the calls to endpoints, those that were given up first; and one of them with every try.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::{ObjectId, Timestamp};
use postrider_store::webhooks::Endpoint;
use postrider_store::{CallAttempt, CallFilter, CallRecord, CallState, EventKind};

use super::audit::indented;
use super::webhooks::{PLACE, count};
use crate::AppState;
use crate::extract::{Id, Parameters};
use crate::pages::address::Address;
use crate::pages::format::{Counted, Grouped, When};
use crate::pages::frame::{Frame, Page, Visit};
use crate::pages::paging::{Paging, ROWS, page_of};
use crate::problem::Problem;

/// What the address says where calls of any state are asked for. Without it, those are shown that somebody should look at.
const ALL: &str = "all";

const GIVEN_UP: &str = "call that was given up";
const GIVEN_UP_SEVERAL: &str = "calls that were given up";

const PARAMETERS: &[&str] = &["page", "state", "endpoint", "type", "email", "from", "to"];

#[derive(Template)]
#[template(path = "administration/deliveries.html")]
pub(in crate::pages) struct DeliveriesPage {
    frame: Frame,
    states: Vec<Choice>,
    others: Vec<Choice>,
    kinds: Vec<Choice>,
    rows: Vec<Row>,
    paging: Paging,
    /// The same filter, for the API to replay what was given up of it.
    replay: Address,
    given_up: Counted,
}

/// A link that restricts the list.
struct Choice {
    label: String,
    count: Option<Grouped>,
    is_taken: bool,
    leads_to: Address,
}

struct Row {
    call: CallRecord,
    goes: Goes,
    happened: When,
    next: Option<When>,
}

/// Where calls go, as far as it is known.
struct Goes {
    /// What the last try called; `None` before the first, and where that was not recorded.
    called: Option<String>,
    /// Where the endpoint is now; `None` where it is gone, or is one of the settings.
    now: Option<String>,
}

impl Goes {
    fn new(call: &CallRecord, attempts: &[CallAttempt], endpoints: &[Endpoint]) -> Self {
        let endpoint = || endpoints.iter().find(|endpoint| endpoint.id == call.endpoint);
        Self {
            called: attempts.last().and_then(|attempt| attempt.url.clone()),
            now: call.url.clone().or_else(|| Some(endpoint()?.settings.url.clone())),
        }
    }

    fn has_moved(&self) -> bool {
        self.now.is_some() && self.called.is_some() && self.called != self.now
    }

    /// Whether a try went to somewhere else than is shown first.
    fn differs(&self, attempt: &CallAttempt) -> bool {
        attempt.url.is_some() && attempt.url != self.called
    }
}

impl Row {
    fn class(&self) -> &'static str {
        class_of(self.call.state)
    }

    fn tries(&self) -> Counted {
        Counted(u64::from(self.call.tries), "try", "tries")
    }

    /// How the last try ended.
    fn last(&self) -> String {
        self.call.attempts.last().map(ended).unwrap_or_default()
    }
}

fn class_of(state: CallState) -> &'static str {
    match state {
        CallState::Waiting => "wait",
        CallState::Delivered => "good",
        CallState::GivenUp => "bad",
    }
}

fn ended(attempt: &CallAttempt) -> String {
    match (&attempt.error, attempt.status) {
        (Some(error), _) => error.clone(),
        (None, Some(status)) => format!("it answered {status}"),
        (None, None) => String::new(),
    }
}

pub(in crate::pages) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<DeliveriesPage>, Problem> {
    let here = Address::of(&uri).without(&["page"]);
    let mut parameters = Parameters::of(&uri)?;
    let page = page_of(&mut parameters)?;
    let filter = filter(&mut parameters)?;
    parameters.finish(PARAMETERS)?;
    let store = state.store.as_ref();
    let found = store.calls(&filter, page, ROWS).await?;
    let given_up = CallFilter { state: Some(CallState::GivenUp), ..filter.clone() };
    let endpoints = Endpoint::all(store).await?;
    let row = |call: CallRecord| Row {
        goes: Goes::new(&call, &call.attempts, &endpoints),
        happened: When::new(call.at, visit.now),
        next: call.due_at.map(|at| When::new(at, visit.now)),
        call,
    };
    let replay = here
        .pairs()
        .filter(|(name, _)| *name != "state")
        .fold(Address::new("/api/webhooks/deliveries/replay"), |address, (name, value)| address.with(name, value));
    Ok(Page(DeliveriesPage {
        frame: visit.frame("Webhook deliveries", PLACE),
        states: states(
            &here,
            filter.state,
            count(store, CallState::Waiting).await?,
            count(store, CallState::GivenUp).await?,
        ),
        kinds: kinds(&here, filter.kind),
        others: others(&here),
        rows: found.calls.into_iter().map(row).collect(),
        paging: Paging::new(&here, page, found.total),
        given_up: Counted(store.calls(&given_up, 1, 0).await?.total, GIVEN_UP, GIVEN_UP_SEVERAL),
        replay,
    }))
}

fn filter(parameters: &mut Parameters) -> Result<CallFilter, Problem> {
    let time = |text: &str| {
        Timestamp::parse_rfc3339(text)
            .ok_or_else(|| format!("{text:?} is no time like 2026-11-22T13:39:40Z and no date"))
    };
    let state = parameters.read("state", |text| if text == ALL { Ok(None) } else { text.parse().map(Some) })?;
    Ok(CallFilter {
        ids: Vec::new(),
        endpoint: parameters.parsed("endpoint")?,
        state: state.unwrap_or(Some(CallState::GivenUp)),
        kind: parameters.parsed("type")?,
        email: parameters.parsed("email")?,
        from: parameters.read("from", time)?,
        to: parameters.read("to", time)?,
    })
}

fn states(here: &Address, taken: Option<CallState>, waiting: u64, given_up: u64) -> Vec<Choice> {
    let choice = |state: Option<CallState>| Choice {
        label: state.map_or(ALL, CallState::as_str).replace('-', " "),
        count: match state {
            Some(CallState::Waiting) => Some(Grouped(waiting)),
            Some(CallState::GivenUp) => Some(Grouped(given_up)),
            // Counting what was delivered would cost the more the more there is.
            Some(CallState::Delivered) | None => None,
        },
        is_taken: taken == state,
        leads_to: here.with("state", state.map_or(ALL, CallState::as_str)),
    };
    [Some(CallState::GivenUp), Some(CallState::Waiting), Some(CallState::Delivered), None].map(choice).into()
}

fn kinds(here: &Address, taken: Option<EventKind>) -> Vec<Choice> {
    let choice = |kind: EventKind| Choice {
        label: kind.to_string(),
        count: None,
        is_taken: taken == Some(kind),
        leads_to: if taken == Some(kind) { here.without(&["type"]) } else { here.with("type", kind.as_str()) },
    };
    EventKind::ALL.map(choice).into()
}

fn others(here: &Address) -> Vec<Choice> {
    let others = here.pairs().filter(|(name, _)| matches!(*name, "endpoint" | "email" | "from" | "to"));
    let choice = |(name, value): (&str, &str)| Choice {
        label: format!("{name}: {value}"),
        count: None,
        is_taken: true,
        leads_to: here.without(&[name]),
    };
    others.map(choice).collect()
}

#[derive(Template)]
#[template(path = "administration/delivery.html")]
pub(in crate::pages) struct DeliveryPage {
    frame: Frame,
    call: CallRecord,
    class: &'static str,
    goes: Goes,
    happened: When,
    next: Option<When>,
    attempts: Vec<Try>,
    data: String,
}

struct Try {
    attempt: CallAttempt,
    at: When,
}

impl Try {
    fn ended(&self) -> String {
        ended(&self.attempt)
    }
}

pub(in crate::pages) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Id(id): Id,
) -> Result<Page<DeliveryPage>, Problem> {
    let filter = CallFilter { ids: vec![id], ..CallFilter::default() };
    let found = state.store.calls(&filter, 1, 1).await?.calls.into_iter().next();
    let mut call = found.ok_or_else(|| no_such_call(id))?;
    let endpoints = Endpoint::find(state.store.as_ref(), call.endpoint).await?;
    let attempts = std::mem::take(&mut call.attempts);
    let goes = Goes::new(&call, &attempts, endpoints.as_slice());
    let attempt = |attempt: CallAttempt| Try { at: When::new(attempt.at, visit.now), attempt };
    Ok(Page(DeliveryPage {
        frame: visit.frame("Webhook delivery", PLACE),
        class: class_of(call.state),
        goes,
        happened: When::new(call.at, visit.now),
        next: call.due_at.map(|at| When::new(at, visit.now)),
        attempts: attempts.into_iter().map(attempt).collect(),
        data: indented(&call.data),
        call,
    }))
}

fn no_such_call(id: ObjectId) -> Problem {
    Problem::not_found(format!("There is no webhook delivery {id}; those that were taken are kept for some days."))
}
