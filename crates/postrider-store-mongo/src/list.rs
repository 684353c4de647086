//! Lists of e-mails, newest first.
//!
//! What only asks for a status is counted already and read up to the page's end. Everything else is one pass over an index
//! that holds what is searched, never over messages.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc, oid};
use postrider_core::{EmailStatus, ObjectId, Timestamp};
use postrider_store::{EmailFilter, EmailPage, StoreError};

use crate::codes::{date, oid, slot};
use crate::email::direction_text;
use crate::engine::Engine;
use crate::failure::store_error;
use crate::schema::{DELIVERIES, EMAILS};
use crate::{counters, record, search, stats};

type Result<T> = std::result::Result<T, StoreError>;

/// How much earlier or later than its acceptance an e-mail's id may have been made (see
/// [`postrider_store::NewEmail::created_at`]).
const ID_DISTANCE_MAX: Duration = Duration::from_secs(24 * 3600);

/// One page of what matches.
pub(crate) async fn list(engine: &Engine, filter: &EmailFilter, page: u64, limit: u64) -> Result<EmailPage> {
    let sending = if filter.status.is_some() { sending(engine).await? } else { HashSet::new() };
    let asks_only_for_status = EmailFilter { status: None, ..filter.clone() } == EmailFilter::default();
    let known_total = if asks_only_for_status { Some(total(engine, filter.status, &sending).await?) } else { None };
    let from = page.saturating_sub(1).saturating_mul(limit);
    let window = from..from.saturating_add(limit);
    let (ids, matched) = match known_total {
        Some(total) if window.start >= total => (Vec::new(), total),
        _ => scan(engine, filter, &sending, window, known_total.is_some()).await?,
    };
    Ok(EmailPage { emails: record::records(engine, &ids).await?, total: known_total.unwrap_or(matched) })
}

/// The e-mails of which some node is sending something now.
async fn sending(engine: &Engine) -> Result<HashSet<oid::ObjectId>> {
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let owned = deliveries.distinct("email", doc! { "owner": { "$exists": true } });
    Ok(engine.command(owned).await?.iter().filter_map(mongodb::bson::Bson::as_object_id).collect())
}

/// How many e-mails have a status, or how many there are.
async fn total(engine: &Engine, status: Option<EmailStatus>, sending: &HashSet<oid::ObjectId>) -> Result<u64> {
    let count = match status {
        None => counters::emails(engine).await?.iter().sum(),
        Some(EmailStatus::Sending) => return Ok(sending.len() as u64),
        Some(status) => stats::counts(engine).await?.emails[slot(status)],
    };
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The ids in the window, and how many match in all; with `stop_early` only up to the window's end.
async fn scan(
    engine: &Engine,
    filter: &EmailFilter,
    sending: &HashSet<oid::ObjectId>,
    window: std::ops::Range<u64>,
    stop_early: bool,
) -> Result<(Vec<oid::ObjectId>, u64)> {
    let emails = engine.collection::<Document>(EMAILS);
    let mut find = emails.find(conditions(filter, sending)).sort(doc! { "_id": -1 }).projection(doc! { "_id": 1 });
    if let Some(index) = index(filter) {
        find = find.hint(mongodb::options::Hint::Name(index.into()));
    }
    let scan = async {
        let mut cursor = find.await?;
        let (mut ids, mut matched) = (Vec::new(), 0u64);
        while let Some(email) = cursor.try_next().await? {
            let Ok(id) = email.get_object_id("_id") else { continue };
            // By their stored status they match; by what is seen of them they are `sending`.
            if filter.status.is_some_and(|status| status != EmailStatus::Sending) && sending.contains(&id) {
                continue;
            }
            if window.contains(&matched) {
                ids.push(id);
            }
            matched += 1;
            if stop_early && matched >= window.end {
                break;
            }
        }
        Ok((ids, matched))
    };
    engine.select(async { scan.await.map_err(|error: mongodb::error::Error| store_error(&error)) }).await
}

/// The index that a list goes through, where the server should not choose.
pub(crate) fn index(filter: &EmailFilter) -> Option<&'static str> {
    let searches = !search::conditions(filter).is_empty();
    match filter.status {
        _ if filter.tag.is_some() => Some("tags"),
        // A few ids, looked up one by one.
        Some(EmailStatus::Sending) => None,
        // Most e-mails have these: of those that have the text the status is looked up, not the other way around.
        Some(EmailStatus::Sent | EmailStatus::Received) if searches => Some("search"),
        Some(_) => Some("status"),
        None => Some("search"),
    }
}

/// What the server leaves out.
pub(crate) fn conditions(filter: &EmailFilter, sending: &HashSet<oid::ObjectId>) -> Document {
    let tagged = filter.tag.as_ref().map(|tag| doc! { "tags": tag });
    let mut conditions: Vec<Document> = tagged.into_iter().chain(search::conditions(filter)).collect();
    if let Some(from) = filter.from {
        conditions.push(doc! { "_id": { "$gte": lower_bound(from - ID_DISTANCE_MAX) } });
        conditions.push(doc! { "createdAt": { "$gte": date(from) } });
    }
    if let Some(to) = filter.to {
        conditions.push(doc! { "_id": { "$lt": lower_bound(to + ID_DISTANCE_MAX + Duration::from_secs(1)) } });
        conditions.push(doc! { "createdAt": { "$lt": date(to) } });
    }
    match filter.status {
        Some(EmailStatus::Sending) => {
            let ids: Vec<oid::ObjectId> = sending.iter().copied().collect();
            conditions.push(doc! { "_id": { "$in": ids } });
        }
        Some(status) => conditions.push(doc! { "status": status.as_str() }),
        // One that is not listed has nothing to search: the index tells, without a look at its document.
        None => conditions.push(doc! { "search": { "$gte": "" } }),
    }
    if let Some(direction) = filter.direction {
        conditions.push(doc! { "direction": direction_text(direction) });
    }
    doc! { "$and": conditions }
}

/// The smallest id that something made then can have.
fn lower_bound(at: Timestamp) -> oid::ObjectId {
    oid(ObjectId::lower_bound(Timestamp::from_millis(at.as_millis().clamp(0, i64::from(u32::MAX) * 1000))))
}
