//! `GET /webhooks`: who is called when something happens to mail.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::ObjectId;
use postrider_store::webhooks::{Endpoint, EndpointSettings};
use postrider_store::{CallFilter, CallState, EventKind, Store, StoreError};

use super::listed;
use crate::AppState;
use crate::extract::Parameters;
use crate::pages::format::{Counted, Grouped, When};
use crate::pages::frame::{Frame, Page, Visit};
use crate::problem::Problem;

pub(super) const PLACE: &str = "/webhooks";

#[derive(Template)]
#[template(path = "administration/webhooks.html")]
pub(in crate::pages) struct WebhooksPage {
    frame: Frame,
    kinds: [EventKind; 5],
    rows: Vec<Row>,
    counted: Counted,
    waiting: Grouped,
    given_up: Grouped,
}

struct Row {
    id: ObjectId,
    settings: EndpointSettings,
    kinds: String,
    domains: String,
    tags: String,
    /// One on a line, as the form has them.
    tag_lines: String,
    changed: When,
}

impl Row {
    fn has(&self, kind: &EventKind) -> bool {
        self.settings.kinds.contains(kind)
    }
}

pub(in crate::pages) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<WebhooksPage>, Problem> {
    Parameters::of(&uri)?.finish(&["none"])?;
    let store = state.store.as_ref();
    let row = |endpoint: Endpoint| Row {
        id: endpoint.id,
        kinds: listed(&endpoint.settings.kinds),
        domains: listed(&endpoint.settings.domains),
        tags: listed(&endpoint.settings.tags),
        tag_lines: endpoint.settings.tags.join("\n"),
        changed: When::new(endpoint.updated_at, visit.now),
        settings: endpoint.settings,
    };
    let endpoints = Endpoint::all(store).await?;
    Ok(Page(WebhooksPage {
        frame: visit.frame("Webhooks", PLACE),
        kinds: EventKind::ALL,
        counted: Counted(endpoints.len() as u64, "endpoint", "endpoints"),
        rows: endpoints.into_iter().map(row).collect(),
        waiting: Grouped(count(store, CallState::Waiting).await?),
        given_up: Grouped(count(store, CallState::GivenUp).await?),
    }))
}

/// How many calls stand so.
pub(super) async fn count(store: &dyn Store, state: CallState) -> Result<u64, StoreError> {
    let filter = CallFilter { state: Some(state), ..CallFilter::default() };
    Ok(store.calls(&filter, 1, 0).await?.total)
}
