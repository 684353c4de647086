//! `GET /simulator`: what the simulator of `DELIVERY_MODE=capture` did with mail, and how to ask it for more.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use postrider_core::simulation::Behaviour;
use postrider_core::{Direction, EmailStatus};
use postrider_store::tokens::Scope;
use postrider_store::{EmailFilter, EmailRecord, ListRequest};

use super::address::Address;
use super::format::When;
use super::frame::{Frame, Page, Visit};
use crate::AppState;
use crate::extract::Parameters;
use crate::problem::Problem;

/// E-mails of the page; all are on the page of e-mails.
const EMAILS: u64 = 50;

/// Recipients of one e-mail whose rules are shown; the rest is counted.
const RECIPIENTS_SHOWN_MAX: usize = 5;

/// Addresses that show what can be asked.
const EXAMPLES: &[&str] = &[
    "anna@example.org",
    "bounce+550@example.org",
    "bounce+552@example.org",
    "defer+451x2@example.org",
    "defer+450@example.org",
    "slow+5@example.org",
    "drop@example.org",
];

/// What became of e-mails, as a filter: statuses whose e-mails the simulator had.
const OUTCOMES: &[(&str, &str)] =
    &[("taken", "sent"), ("refused", "failed"), ("deferred", "deferred"), ("in hand", "sending"), ("queued", "queued")];

#[derive(Template)]
#[template(path = "simulator.html")]
struct SimulatorPage {
    frame: Frame,
    /// `DELIVERY_MODE`.
    mode: String,
    is_capturing: bool,
    may_send: bool,
    examples: Vec<(usize, &'static str, String)>,
    outcomes: Vec<Choice>,
    is_anything_asked: bool,
    rows: Vec<Row>,
    /// The whole list.
    all: Address,
}

struct Choice {
    label: &'static str,
    is_taken: bool,
    leads_to: Address,
}

struct Row {
    email: EmailRecord,
    created: When,
    next_attempt: Option<When>,
    recipients: Vec<(String, String)>,
    more_recipients: usize,
}

impl Row {
    fn new(email: EmailRecord, visit: &Visit) -> Self {
        let shown = email.recipients.iter().take(RECIPIENTS_SHOWN_MAX);
        Self {
            created: When::new(email.created_at, visit.now),
            next_attempt: email.next_attempt_at.map(|at| When::new(at, visit.now)),
            recipients: shown.map(|address| (address.clone(), Behaviour::of(address).to_string())).collect(),
            more_recipients: email.recipients.len().saturating_sub(RECIPIENTS_SHOWN_MAX),
            email,
        }
    }

    fn subject(&self) -> &str {
        self.email.subject.as_deref().filter(|subject| !subject.trim().is_empty()).unwrap_or("(no subject)")
    }
}

pub(super) async fn simulator(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<impl Template>, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let status: Option<EmailStatus> = parameters.parsed("status")?;
    parameters.finish(&["status"])?;
    let settings = state.administration.settings().settings;
    let mode = settings.into_iter().find(|setting| setting.name == "DELIVERY_MODE").map(|setting| setting.value);
    let is_capturing = mode.as_deref() == Some("capture");
    let filter = EmailFilter { direction: Some(Direction::Outbound), status, ..EmailFilter::default() };
    let found =
        if is_capturing { state.store.find(ListRequest::newest(filter, EMAILS)).await?.emails } else { Vec::new() };
    let here = Address::new("/simulator");
    let all = Address::new("/emails").with("direction", "outbound");
    let any = Choice { label: "all", is_taken: status.is_none(), leads_to: here.clone() };
    let outcome = |&(label, name): &(&'static str, &'static str)| Choice {
        label,
        is_taken: status.is_some_and(|status| status.as_str() == name),
        leads_to: here.with("status", name),
    };
    let example = |(number, &address): (usize, &&'static str)| (number, address, Behaviour::of(address).to_string());
    Ok(Page(SimulatorPage {
        frame: visit.frame("Simulator", "/simulator"),
        mode: mode.unwrap_or_default(),
        is_capturing,
        may_send: visit.may(Scope::Send),
        examples: EXAMPLES.iter().enumerate().map(example).collect(),
        outcomes: std::iter::once(any).chain(OUTCOMES.iter().map(outcome)).collect(),
        is_anything_asked: status.is_some(),
        rows: found.into_iter().map(|email| Row::new(email, &visit)).collect(),
        all: status.map_or_else(|| all.clone(), |status| all.with("status", status.as_str())),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_show_all_that_can_be_asked() {
        let asked: Vec<Behaviour> = EXAMPLES.iter().map(|address| Behaviour::of(address)).collect();
        assert!(asked.contains(&Behaviour::Accept) && asked.contains(&Behaviour::Drop));
        assert!(asked.contains(&Behaviour::Refuse { code: 550 }));
        assert!(asked.contains(&Behaviour::Defer { code: 451, times: Some(2) }));
        assert!(asked.contains(&Behaviour::Defer { code: 450, times: None }));
        assert!(asked.iter().any(|behaviour| matches!(behaviour, Behaviour::Slow(_))));
        assert!(OUTCOMES.iter().all(|(_, status)| status.parse::<EmailStatus>().is_ok()));
    }
}
