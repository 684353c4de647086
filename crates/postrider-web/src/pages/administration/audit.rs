//! `GET /audit`: who changed what, by API, page or command line.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use postrider_store::{AuditEntry, AuditOutcome};

use crate::AppState;
use crate::api::audit::list::filter;
use crate::extract::Parameters;
use crate::pages::address::Address;
use crate::pages::format::When;
use crate::pages::frame::{Frame, Page, Visit};
use crate::pages::paging::{Paging, ROWS, page_of};
use crate::problem::Problem;

const PLACE: &str = "/audit";

#[derive(Template)]
#[template(path = "administration/audit.html")]
pub(in crate::pages) struct AuditPage {
    frame: Frame,
    asked: Asked,
    rows: Vec<Row>,
    paging: Paging,
}

/// What the form says.
#[derive(Default)]
struct Asked {
    actor: String,
    action: String,
    target: String,
    from: String,
    to: String,
}

impl Asked {
    fn is_nothing(&self) -> bool {
        [&self.actor, &self.action, &self.target, &self.from, &self.to].iter().all(|text| text.is_empty())
    }
}

struct Row {
    entry: AuditEntry,
    at: When,
    details: String,
}

impl Row {
    fn outcome(&self) -> &'static str {
        self.entry.outcome.map_or("no end known", AuditOutcome::as_str)
    }

    fn class(&self) -> &'static str {
        match self.entry.outcome {
            Some(AuditOutcome::Done) => "good",
            Some(AuditOutcome::Failed) => "bad",
            Some(AuditOutcome::Refused) | None => "wait",
        }
    }
}

pub(in crate::pages) async fn list(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<AuditPage>, Problem> {
    let here = Address::of(&uri);
    let mut parameters = Parameters::of(&uri)?;
    let said = |name: &str| here.get(name).unwrap_or_default().to_owned();
    let asked = Asked {
        actor: said("actor"),
        action: said("action"),
        target: said("target"),
        from: said("from"),
        to: said("to"),
    };
    let page = page_of(&mut parameters)?;
    let filter = filter(&mut parameters)?;
    parameters.finish(&["page", "actor", "action", "target", "from", "to"])?;
    let found = state.store.audit_entries(&filter, page, ROWS).await?;
    let row = |mut entry: AuditEntry| Row {
        at: When::new(entry.at, visit.now),
        details: entry.details.take().map(|text| indented(&text)).unwrap_or_default(),
        entry,
    };
    Ok(Page(AuditPage {
        frame: visit.frame("Audit", PLACE),
        asked,
        rows: found.entries.into_iter().map(row).collect(),
        paging: Paging::new(&here, page, found.total),
    }))
}

/// JSON as people read it.
pub(super) fn indented(json: &str) -> String {
    let parsed = serde_json::from_str::<serde_json::Value>(json);
    parsed.ok().and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| json.to_owned())
}
