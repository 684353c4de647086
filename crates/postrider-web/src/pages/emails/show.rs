//! `GET /emails/{id}`: one e-mail: where it is and why, what happened to it, and what it says.

use std::borrow::Cow;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use postrider_core::{Attachment, Content, EmailStatus, ObjectId};
use postrider_store::{CallFilter, CallRecord, CallState, DeliveryRecord, EmailDetail, RawMessage};

use super::timeline::Entry;
use crate::AppState;
use crate::api::emails::{no_such_email, show, timeline, why};
use crate::bidi::in_order;
use crate::extract::{EmailId, Parameters};
use crate::pages::address::Address;
use crate::pages::filters;
use crate::pages::format::{Counted, Grouped, Size, Told, When};
use crate::pages::frame::{Frame, Page, Visit};
use crate::problem::Problem;
use crate::view::WhyView;

/// What is shown of a message's source, and of its text; the whole can be downloaded.
const SHOWN_BYTES_MAX: usize = 256 << 10;

/// Calls to webhook endpoints on the page: the last ones.
const CALLS_MAX: u64 = 100;

/// Deliveries on the page; an e-mail may have very many.
const DELIVERIES_MAX: usize = 200;

/// What of an e-mail is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Activity,
    Html,
    Text,
    Headers,
    Source,
    Attachments,
    Authentication,
    Webhooks,
}

const TABS: &[(Tab, &str, &str)] = &[
    (Tab::Activity, "activity", "Activity"),
    (Tab::Html, "html", "HTML"),
    (Tab::Text, "text", "Text"),
    (Tab::Headers, "headers", "Headers"),
    (Tab::Source, "source", "Source"),
    (Tab::Attachments, "attachments", "Attachments"),
    (Tab::Authentication, "authentication", "Authentication"),
    (Tab::Webhooks, "webhooks", "Webhooks"),
];

impl Tab {
    fn of(name: &str) -> Result<Self, String> {
        let found = TABS.iter().find(|(_, own, _)| *own == name).map(|(tab, _, _)| *tab);
        found.ok_or_else(|| format!("{name:?} is none of the tabs"))
    }
}

#[derive(Template)]
#[template(path = "emails/show.html")]
struct ShowPage {
    frame: Frame,
    id: ObjectId,
    detail: EmailDetail,
    created: When,
    size: Size,
    why: Told,
    deliveries: Vec<Delivery>,
    deliveries_left_out: usize,
    can: Can,
    tab: Tab,
    tabs: Vec<TabLink>,
    with_remote: bool,
    content: Content,
    source: Source,
    entries: Vec<Entry>,
    webhooks_left_out: Counted,
    calls: Vec<Call>,
}

struct TabLink {
    title: &'static str,
    count: Option<usize>,
    is_here: bool,
    leads_to: Address,
}

struct Delivery {
    record: DeliveryRecord,
    next_attempt: Option<When>,
    /// Why it is where it is.
    sentence: Told,
}

/// The beginning of a long text, or all of it.
#[derive(Default)]
struct Source {
    text: String,
    is_cut: bool,
}

struct Call {
    record: CallRecord,
    at: When,
    due: Option<When>,
    last: String,
}

/// Which orders make sense.
struct Can {
    retry: bool,
    hold: bool,
    release: bool,
    cancel: bool,
}

impl Can {
    fn of(detail: &EmailDetail) -> Self {
        let is =
            |statuses: &[EmailStatus]| detail.deliveries.iter().any(|delivery| statuses.contains(&delivery.status));
        let waits = [EmailStatus::Queued, EmailStatus::Deferred, EmailStatus::Sending];
        Self {
            retry: is(&[EmailStatus::Queued, EmailStatus::Deferred, EmailStatus::Failed, EmailStatus::Cancelled]),
            hold: is(&waits),
            release: is(&[EmailStatus::Held]),
            cancel: is(&waits) || is(&[EmailStatus::Held]),
        }
    }
}

impl ShowPage {
    fn subject(&self) -> &str {
        let subject = self.detail.email.subject.as_deref();
        subject.filter(|subject| !subject.trim().is_empty()).unwrap_or("(no subject)")
    }

    fn sender(&self) -> &str {
        if self.detail.email.sender.is_empty() { "<>" } else { &self.detail.email.sender }
    }

    fn is(&self, name: &str) -> bool {
        Tab::of(name) == Ok(self.tab)
    }

    fn size_of(&self, attachment: &Attachment) -> Size {
        Size(attachment.size)
    }

    fn fields_count(&self) -> Counted {
        Counted(self.content.headers.len() as u64, "field", "fields")
    }

    fn text(&self) -> Source {
        Source::of(self.content.text.as_deref().unwrap_or_default().as_bytes())
    }

    fn recipients_count(&self) -> Grouped {
        Grouped(self.detail.email.recipients.len() as u64)
    }
}

impl Source {
    fn of(bytes: &[u8]) -> Self {
        let shown = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
        Self { text: String::from_utf8_lossy(shown).into_owned(), is_cut: shown.len() < bytes.len() }
    }
}

pub(in crate::pages) async fn page(
    State(state): State<AppState>,
    visit: Visit,
    EmailId(id): EmailId,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let tab = parameters.read("tab", Tab::of)?.unwrap_or(Tab::Activity);
    let with_remote = parameters.parsed::<bool>("remote")?.unwrap_or_default();
    parameters.finish(&["tab", "remote"])?;
    let detail = state.store.email(id).await?.ok_or_else(|| no_such_email(id))?;
    let why = why::explain(&state, &detail).await?;
    let content = match tab {
        Tab::Html | Tab::Text | Tab::Headers => show::open(&state, id).await?,
        _ => Content::default(),
    };
    let source = if tab == Tab::Source { Source::of(&raw(&state, id).await?.raw) } else { Source::default() };
    let (calls, calls_total) = if tab == Tab::Webhooks {
        let found = state.store.calls(&CallFilter { email: Some(id), ..CallFilter::default() }, 1, CALLS_MAX).await?;
        (found.calls, found.total)
    } else {
        (Vec::new(), 0)
    };
    let (entries, webhooks_left_out) = if tab == Tab::Activity {
        let timeline = timeline::collect(&state, &visit.principal, detail.clone()).await?;
        let entries = timeline.entries.into_iter().map(|entry| Entry::new(entry, visit.now)).collect();
        (entries, timeline.webhooks_left_out)
    } else {
        (Vec::new(), calls_total.saturating_sub(calls.len() as u64))
    };
    let page = ShowPage {
        frame: visit.frame(title(&detail), "/emails"),
        id,
        created: When::new(detail.email.created_at, visit.now),
        size: Size(detail.email.size),
        deliveries: deliveries(&detail, &why, &visit),
        deliveries_left_out: detail.deliveries.len().saturating_sub(DELIVERIES_MAX),
        why: Told::new(why.summary, visit.now),
        can: Can::of(&detail),
        tab,
        tabs: tabs(&detail, tab, &uri),
        with_remote,
        content,
        source,
        calls: calls.into_iter().map(|call| Call::new(call, &visit)).collect(),
        webhooks_left_out: Counted(webhooks_left_out, "webhook call", "webhook calls"),
        entries,
        detail,
    };
    Ok(Page(page).into_response())
}

fn title(detail: &EmailDetail) -> Cow<'static, str> {
    match detail.email.subject.as_deref().map(str::trim).filter(|subject| !subject.is_empty()) {
        Some(subject) => Cow::Owned(in_order(&subject.chars().take(80).collect::<String>()).into_owned()),
        None => Cow::Borrowed("E-mail without a subject"),
    }
}

fn deliveries(detail: &EmailDetail, why: &WhyView, visit: &Visit) -> Vec<Delivery> {
    let all = detail.deliveries.iter().zip(&why.deliveries).take(DELIVERIES_MAX);
    let delivery = |(record, why): (&DeliveryRecord, &crate::view::DeliveryWhyView)| Delivery {
        record: record.clone(),
        next_attempt: record.next_attempt_at.map(|at| When::new(at, visit.now)),
        sentence: Told::new(why.sentence.clone(), visit.now),
    };
    all.map(delivery).collect()
}

fn tabs(detail: &EmailDetail, here: Tab, uri: &Uri) -> Vec<TabLink> {
    let address = Address::of(uri).without(&["remote", "tab"]);
    let link = |(tab, name, title): &(Tab, &str, &'static str)| TabLink {
        title,
        count: match tab {
            Tab::Attachments => Some(detail.email.attachments.len()),
            Tab::Authentication => Some(detail.authentication.len()),
            _ => None,
        },
        is_here: *tab == here,
        leads_to: if *tab == Tab::Activity { address.clone() } else { address.with("tab", name) },
    };
    TABS.iter().map(link).collect()
}

async fn raw(state: &AppState, id: ObjectId) -> Result<RawMessage, Problem> {
    state.store.raw(id).await?.ok_or_else(|| no_such_email(id))
}

impl Call {
    fn new(record: CallRecord, visit: &Visit) -> Self {
        let last = match record.attempts.last() {
            None => "not tried yet".to_owned(),
            Some(attempt) => match (attempt.status, &attempt.error) {
                (Some(status), Some(error)) => format!("{status}: {error}"),
                (Some(status), None) => status.to_string(),
                (None, Some(error)) => error.clone(),
                (None, None) => String::new(),
            },
        };
        let (at, due) = (When::new(record.at, visit.now), record.due_at.map(|at| When::new(at, visit.now)));
        Self { at, due, last, record }
    }

    fn mood(&self) -> &'static str {
        match self.record.state {
            CallState::Waiting => "wait",
            CallState::Delivered => "good",
            CallState::GivenUp => "bad",
        }
    }
}
