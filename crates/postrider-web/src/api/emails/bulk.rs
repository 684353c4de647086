//! `POST /api/emails/bulk/{action}`: retry, hold, release, cancel or delete many e-mails, by their ids or by the filter of lists.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use futures_util::{StreamExt as _, stream};
use postrider_core::query::Query;
use postrider_core::{Direction, EmailStatus, ObjectId, Timestamp};
use postrider_store::{EmailFilter, ListRequest, ListStart, Order, Ordered, Selection};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::delete::{Forgotten, forget};
use super::no_such_email;
use crate::AppState;
use crate::audit::Audit;
use crate::extract::JsonBody;
use crate::problem::Problem;

/// E-mails that one request changes; where more match, it is repeated.
const EMAILS_MAX: usize = 10_000;

const PAGE_EMAILS: u64 = 1_000;

/// Ids in one order, and e-mails that are deleted at the same time.
const ORDER_EMAILS: usize = 500;
const DELETIONS: usize = 32;

/// With more, the audit log says only how many there were.
const IDS_RECORDED: usize = 100;

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = BulkRequest)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    ids: Option<Vec<ObjectId>>,
    filter: Option<Filter>,
    /// All there are, in place of ids or a filter.
    #[serde(default)]
    all: bool,
    /// Only counts.
    #[serde(default)]
    dry_run: bool,
}

/// As the parameters of `GET /api/emails`.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EmailFilter)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    status: Option<EmailStatus>,
    direction: Option<Direction>,
    sender: Option<String>,
    recipient: Option<String>,
    domain: Option<String>,
    tag: Option<String>,
    q: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = BulkResult)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Done {
    /// E-mails that were named, or match the filter.
    matched: u64,
    /// Deliveries that were changed; of deletions, e-mails.
    changed: u64,
    /// Deliveries that will be as soon as the nodes that have taken them on let go: [`Ordered::recalled`].
    recalled: u64,
    /// Deliveries left alone because they are being tried at this moment; of deletions, e-mails.
    sending: u64,
    /// Deliveries that retry left alone: they are not to be sent before a time that has not come.
    scheduled: u64,
    /// Whether there are more than one request changes.
    more: bool,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Retry,
    Hold,
    Release,
    Cancel,
    Delete,
}

/// Retry, hold, release, cancel or delete many e-mails.
#[utoipa::path(
    post,
    path = "/api/emails/bulk/{action}",
    operation_id = "orderEmails",
    tag = "emails",
    params(("action" = String, Path, description = "`retry`, `hold`, `release`, `cancel` or `delete`.")),
    request_body = Body,
    responses((status = 200, description = "What was done.", body = Done))
)]
pub(in crate::api) async fn bulk(
    State(state): State<AppState>,
    action: Result<Path<String>, PathRejection>,
    audit: Audit,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<Done>, Problem> {
    let action = Action::of(action.as_deref().map_or("", String::as_str))?;
    audit.note("dryRun", &body.dry_run);
    audit.note("filter", &body.filter);
    if body.ids.as_ref().is_some_and(|ids| ids.len() <= IDS_RECORDED) {
        audit.note("ids", &body.ids);
    }
    let (ids, matched) = match (body.ids, body.filter, body.all) {
        (Some(ids), None, false) => named(&state, ids).await?,
        (None, Some(filter), false) => matching(&state, filter.at(state.clock.now())?).await?,
        (None, None, true) => matching(&state, EmailFilter::default()).await?,
        _ => return Err(Problem::bad_body("Give ids, filter or \"all\": true, one of them.")),
    };
    let mut done = Done { matched, more: matched > ids.len() as u64, ..Done::default() };
    if body.dry_run {
        return Ok(Json(done));
    }
    match action {
        Action::Retry => order(&state, &ids, Order::Retry, &mut done).await?,
        Action::Hold => order(&state, &ids, Order::Hold, &mut done).await?,
        Action::Release => order(&state, &ids, Order::Release, &mut done).await?,
        Action::Cancel => order(&state, &ids, Order::Cancel, &mut done).await?,
        Action::Delete => delete(&state, ids, &mut done).await?,
    }
    audit.note("result", &done);
    tracing::info!(?action, matched, changed = done.changed, "many e-mails were changed by request");
    Ok(Json(done))
}

impl Action {
    fn of(name: &str) -> Result<Self, Problem> {
        match name {
            "retry" => Ok(Self::Retry),
            "hold" => Ok(Self::Hold),
            "release" => Ok(Self::Release),
            "cancel" => Ok(Self::Cancel),
            "delete" => Ok(Self::Delete),
            _ => Err(Problem::not_found("There are /api/emails/bulk/retry, hold, release, cancel and delete.")),
        }
    }
}

/// A mistyped id must not pass for one that had nothing to change.
async fn named(state: &AppState, mut ids: Vec<ObjectId>) -> Result<(Vec<ObjectId>, u64), Problem> {
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > EMAILS_MAX {
        return Err(Problem::bad_parameter("ids", format!("ids are more than {EMAILS_MAX}.")));
    }
    for &id in &ids {
        state.store.email(id).await?.ok_or_else(|| no_such_email(id))?;
    }
    let matched = ids.len() as u64;
    Ok((ids, matched))
}

/// The newest that match, and how many do, as far as that is counted. They are listed before anything is changed: what is
/// changed may match no more.
async fn matching(state: &AppState, filter: EmailFilter) -> Result<(Vec<ObjectId>, u64), Problem> {
    let mut request = ListRequest::newest(filter, PAGE_EMAILS);
    let (mut ids, mut counted, mut is_more) = (Vec::new(), 0, false);
    loop {
        let found = state.store.find(request.clone()).await?;
        counted = found.total.max(counted);
        ids.extend(found.emails.into_iter().map(|email| email.id));
        let Some(next) = found.next else { break };
        if ids.len() >= EMAILS_MAX {
            is_more = true;
            break;
        }
        request.start = ListStart::After(next);
    }
    is_more |= ids.len() > EMAILS_MAX;
    ids.truncate(EMAILS_MAX);
    // What came or went meanwhile is not in the count.
    let found = ids.len() as u64;
    Ok((ids, if is_more { counted.max(found + 1) } else { found }))
}

async fn order(state: &AppState, ids: &[ObjectId], order: Order, done: &mut Done) -> Result<(), Problem> {
    let mut total = Ordered::default();
    for ids in ids.chunks(ORDER_EMAILS) {
        let selection = Selection { emails: ids.to_vec(), ..Selection::default() };
        let ordered = state.store.order(selection, order, state.clock.now()).await?;
        total.add(ordered);
    }
    (done.changed, done.recalled) = (total.changed, total.recalled);
    (done.sending, done.scheduled) = (total.sending, total.scheduled);
    if !total.is_nothing() {
        state.queue_changed();
    }
    Ok(())
}

async fn delete(state: &AppState, ids: Vec<ObjectId>, done: &mut Done) -> Result<(), Problem> {
    let deletions = stream::iter(ids).map(|id| forget(state, id)).buffer_unordered(DELETIONS);
    let deleted: Vec<_> = deletions.collect().await;
    for deleted in deleted {
        match deleted? {
            Forgotten::Gone => done.changed += 1,
            Forgotten::Sending => done.sending += 1,
            Forgotten::Unknown => {}
        }
    }
    Ok(())
}

impl Filter {
    /// A member without a value is a mistake of whoever asks, as an empty variable of a script: it must not pass for everything.
    fn at(self, now: Timestamp) -> Result<EmailFilter, Problem> {
        if self == Self::default() {
            return Err(Problem::bad_body(
                "The filter names nothing. To order all e-mails, give \"all\": true instead.",
            ));
        }
        let Self { status, direction, sender, recipient, domain, tag, q, from, to } = self;
        let texts = [("sender", &sender), ("recipient", &recipient), ("domain", &domain), ("tag", &tag), ("q", &q)];
        if let Some((name, _)) = texts.iter().find(|(_, text)| text.as_ref().is_some_and(|text| text.trim().is_empty()))
        {
            return Err(Problem::bad_parameter(name, format!("{name} is empty: give it a value, or leave it out.")));
        }
        let domain = domain.map(|text| text.parse()).transpose();
        let domain = domain.map_err(|error| Problem::bad_parameter("domain", format!("domain is wrong: {error}.")))?;
        let query = Query::parse(q.as_deref().unwrap_or_default());
        let query = query.map_err(|error| Problem::bad_parameter("q", format!("q is wrong: {error}.")))?;
        Ok(EmailFilter { status, direction, sender, recipient, domain, tag, from, to, terms: query.at(now) })
    }
}
