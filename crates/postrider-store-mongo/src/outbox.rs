//! The outbox: what happened, and who is still to be told of it.
//!
//! Transactions do not end in the order in which they began, nor by one clock. So that nobody who follows the events misses one,
//! these have no number when they are written: whoever reads numbers those that have come, in one transaction, and follows the
//! numbers.

use std::collections::HashMap;

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_core::{ObjectId, Timestamp};
use postrider_store::*;
use serde::{Deserialize, Serialize};

use crate::MongoStore;
use crate::claim::BEGINNING;
use crate::codes::{self, date, id, oid, timestamp, to_bson};
use crate::counters::{Stripe, number, update_all};
use crate::engine::{Engine, Work};
use crate::failure::{Failure, store_error};
use crate::files::collect;
use crate::schema::{CALLS, EVENTS, META};

type Result<T> = std::result::Result<T, StoreError>;

/// Events that one transaction numbers.
const NUMBERED_AT_ONCE: i64 = 1_000;

/// For each call that is wanted, so many are looked at that are due: some wait behind others about the same e-mail.
const LOOKED_AT_FOR_EACH: usize = 4;

/// What a document takes beside its data, in bytes.
const DOCUMENT_BYTES: usize = 256;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventDocument {
    #[serde(rename = "_id")]
    id: oid::ObjectId,
    kind: EventKind,
    at: DateTime,
    email: oid::ObjectId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<u32>,
    /// Until it has a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_new: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallDocument {
    #[serde(rename = "_id")]
    id: oid::ObjectId,
    endpoint: oid::ObjectId,
    event: oid::ObjectId,
    kind: EventKind,
    at: DateTime,
    email: oid::ObjectId,
    state: CallState,
    /// While it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<DateTime>,
    tries: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<CallAttempt>,
    /// Where it goes, if the endpoint does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    data: String,
}

/// What is told of something, as documents.
#[derive(Debug, Default)]
pub(crate) struct Told {
    events: Vec<EventDocument>,
    calls: Vec<CallDocument>,
}

impl Told {
    /// Adds events about an e-mail, or one of its deliveries, with their calls.
    pub(crate) fn add<'a>(
        &mut self,
        email: ObjectId,
        delivery: Option<u32>,
        events: impl IntoIterator<Item = &'a NewEvent>,
    ) {
        for event in events {
            let NewEvent { id, kind, at, calls, data } = event;
            let calls = calls.iter().map(|call| CallDocument {
                id: oid(call.id),
                endpoint: oid(call.endpoint),
                event: oid(*id),
                kind: *kind,
                at: date(*at),
                email: oid(email),
                state: CallState::Waiting,
                due_at: Some(date(*at)),
                tries: 0,
                attempts: Vec::new(),
                url: call.url.clone(),
                data: data.clone(),
            });
            self.calls.extend(calls);
            self.events.push(EventDocument {
                id: oid(*id),
                kind: *kind,
                at: date(*at),
                email: oid(email),
                delivery,
                is_new: Some(true),
                number: None,
            });
        }
    }

    /// About how much is written for it.
    pub(crate) fn bytes(&self) -> usize {
        let calls: usize = self.calls.iter().map(|call| DOCUMENT_BYTES + call.data.len()).sum();
        self.events.len() * DOCUMENT_BYTES + calls
    }

    /// Writes what is told in a transaction that does more.
    pub(crate) async fn write<'a>(
        told: impl IntoIterator<Item = &'a Self> + Clone,
        engine: &Engine,
        session: &mut ClientSession,
    ) -> std::result::Result<(), Failure> {
        let events: Vec<&EventDocument> = told.clone().into_iter().flat_map(|told| &told.events).collect();
        if !events.is_empty() {
            engine.collection::<EventDocument>(EVENTS).insert_many(events).session(&mut *session).await?;
        }
        let calls: Vec<&CallDocument> = told.into_iter().flat_map(|told| &told.calls).collect();
        if !calls.is_empty() {
            engine.collection::<CallDocument>(CALLS).insert_many(calls).session(&mut *session).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Outbox for MongoStore {
    async fn claim_calls(&self, request: CallClaimRequest) -> Result<Vec<ClaimedCall>> {
        let mut claimed = Vec::new();
        for &(endpoint, count) in request.endpoints.iter().filter(|(_, count)| *count > 0) {
            claimed.extend(claim(&self.engine, &request, endpoint, count).await?);
        }
        Ok(claimed)
    }

    async fn settle_calls(&self, settlements: Vec<CallSettlement>) -> Result<usize> {
        let mut recorded = 0;
        for settlement in &settlements {
            recorded += usize::from(settle(&self.engine, settlement).await?);
        }
        Ok(recorded)
    }

    async fn calls(&self, filter: &CallFilter, page: u64, limit: u64) -> Result<CallPage> {
        let collection = self.engine.collection::<CallDocument>(CALLS);
        let matches = conditions(filter);
        let total = self.engine.command(collection.count_documents(matches.clone())).await?;
        let skipped = page.saturating_sub(1).saturating_mul(limit);
        if limit == 0 || skipped >= total {
            return Ok(CallPage { calls: Vec::new(), total });
        }
        let sorted = collection.find(matches).sort(doc! { "at": -1, "_id": -1 });
        let find = sorted.skip(skipped).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.engine.call(collect(find)).await?;
        Ok(CallPage { calls: found.into_iter().map(record).collect(), total })
    }

    async fn replay_calls(&self, filter: &CallFilter, now: Timestamp) -> Result<u64> {
        let collection = self.engine.collection::<Document>(CALLS);
        let set = doc! { "state": CallState::Waiting.as_str(), "dueAt": date(now), "tries": 0 };
        let update = doc! { "$set": set, "$unset": { "lockedUntil": "" } };
        let replayed = async {
            let updated = collection.update_many(conditions(filter), update).await;
            updated.map_err(|error| store_error(&error))
        };
        Ok(self.engine.select(replayed).await?.matched_count)
    }

    async fn drop_calls(&self, endpoint: EndpointId) -> Result<u64> {
        let collection = self.engine.collection::<Document>(CALLS);
        let waiting = doc! { "endpoint": oid(endpoint), "dueAt": { "$exists": true } };
        let dropped = async { collection.delete_many(waiting).await.map_err(|error| store_error(&error)) };
        Ok(self.engine.select(dropped).await?.deleted_count)
    }

    async fn events(&self, after: Option<&str>, limit: usize) -> Result<EventPage> {
        let after = after.map(place).transpose()?;
        number_new(&self.engine).await?;
        let Some(after) = after else {
            return Ok(EventPage { events: Vec::new(), cursor: last_number(&self.engine).await?.to_string() });
        };
        let collection = self.engine.collection::<EventDocument>(EVENTS);
        let find = collection
            .find(doc! { "number": { "$gt": after } })
            .sort(doc! { "number": 1 })
            // 0 would be no limit.
            .limit(i64::try_from(limit.max(1)).unwrap_or(i64::MAX));
        let found = self.engine.call(collect(find)).await?;
        let events: Vec<EventRecord> = found.into_iter().filter_map(event).collect();
        if events.is_empty() && after > last_number(&self.engine).await? {
            return Err(no_cursor(&after.to_string()));
        }
        let cursor = events.last().map_or_else(|| after.to_string(), |last| last.cursor.clone());
        Ok(EventPage { events, cursor })
    }

    async fn sweep_outbox(&self, sweep: OutboxSweep) -> Result<u64> {
        let OutboxSweep { events_before, delivered_before, given_up_before, count } = sweep;
        let of_state = |state: CallState, before| doc! { "state": state.as_str(), "at": { "$lt": date(before) } };
        let old = [
            (EVENTS, doc! { "at": { "$lt": date(events_before) } }),
            (CALLS, of_state(CallState::Delivered, delivered_before)),
            (CALLS, of_state(CallState::GivenUp, given_up_before)),
        ];
        let mut swept = 0;
        for (name, filter) in old {
            let collection = self.engine.collection::<Document>(name);
            let limit = i64::try_from(count.max(1)).unwrap_or(i64::MAX);
            let find = collection.find(filter).projection(doc! { "_id": 1 }).limit(limit);
            let found = self.engine.call(collect(find)).await?;
            let ids: Vec<oid::ObjectId> = found.iter().filter_map(|found| found.get_object_id("_id").ok()).collect();
            if !ids.is_empty() {
                let deleted = collection.delete_many(doc! { "_id": { "$in": ids } });
                swept += self.engine.command(deleted).await?.deleted_count;
            }
        }
        Ok(swept)
    }
}

/// Of the calls to an endpoint that are due, the first of each e-mail, up to `count`.
async fn claim(
    engine: &Engine,
    request: &CallClaimRequest,
    endpoint: EndpointId,
    count: usize,
) -> Result<Vec<ClaimedCall>> {
    let now = date(request.now);
    let unlocked = doc! { "$not": { "$gt": now } };
    let due = doc! { "endpoint": oid(endpoint), "dueAt": { "$lte": now }, "lockedUntil": unlocked };
    let collection = engine.collection::<Document>(CALLS);
    let limit = i64::try_from(count.saturating_mul(LOOKED_AT_FOR_EACH)).unwrap_or(i64::MAX);
    let find = collection.find(due.clone()).sort(doc! { "dueAt": 1 }).limit(limit).projection(doc! { "email": 1 });
    let due_calls = engine.call(collect(find)).await?;
    if due_calls.is_empty() {
        return Ok(Vec::new());
    }
    let first = first_of_each(engine, endpoint, &due_calls).await?;
    let mut chosen = Vec::new();
    for call in &due_calls {
        let (Ok(id), Ok(email)) = (call.get_object_id("_id"), call.get_object_id("email")) else { continue };
        match first.get(&email) {
            Some(first) if first.id == id => chosen.push(id),
            Some(first) => put_behind(engine, id, first, now).await?,
            None => {}
        }
    }
    chosen.truncate(count);
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let name = oid::ObjectId::new();
    let mut still_due = due;
    still_due.insert("_id", doc! { "$in": &chosen });
    let lock = doc! { "$set": { "lockedUntil": date(request.now + request.lock), "claim": name } };
    engine.command(collection.update_many(still_due, lock)).await?;
    let calls = engine.collection::<CallDocument>(CALLS);
    let got = engine.call(collect(calls.find(doc! { "_id": { "$in": &chosen }, "claim": name }))).await?;
    let mut got: HashMap<oid::ObjectId, CallDocument> = got.into_iter().map(|call| (call.id, call)).collect();
    Ok(chosen.iter().filter_map(|id| got.remove(id)).map(claimed).collect())
}

/// What of a call tells whether others may go before it.
#[derive(Debug)]
struct First {
    id: oid::ObjectId,
    at: DateTime,
    /// Before then it is not over.
    until: Option<DateTime>,
}

/// By e-mail, the first call to the endpoint that waits.
async fn first_of_each(
    engine: &Engine,
    endpoint: EndpointId,
    due_calls: &[Document],
) -> Result<HashMap<oid::ObjectId, First>> {
    let emails: Vec<oid::ObjectId> = due_calls.iter().filter_map(|call| call.get_object_id("email").ok()).collect();
    let waiting = doc! { "email": { "$in": emails }, "endpoint": oid(endpoint), "state": CallState::Waiting.as_str() };
    let wanted = doc! { "email": 1, "at": 1, "dueAt": 1, "lockedUntil": 1 };
    let collection = engine.collection::<Document>(CALLS);
    let found = engine.call(collect(collection.find(waiting).projection(wanted))).await?;
    let mut first: HashMap<oid::ObjectId, First> = HashMap::new();
    for call in found {
        let (Ok(id), Ok(email), Ok(at)) =
            (call.get_object_id("_id"), call.get_object_id("email"), call.get_datetime("at"))
        else {
            continue;
        };
        let until = call.get_datetime("dueAt").ok().max(call.get_datetime("lockedUntil").ok());
        let this = First { id, at: *at, until: until.copied() };
        match first.get(&email) {
            Some(known) if (known.at, known.id) <= (this.at, this.id) => {}
            _ => drop(first.insert(email, this)),
        }
    }
    Ok(first)
}

/// Lets a call wait as long as the one before it, so that it is not looked at in vain each time.
async fn put_behind(engine: &Engine, id: oid::ObjectId, first: &First, now: DateTime) -> Result<()> {
    let Some(until) = first.until.filter(|until| *until > now) else { return Ok(()) };
    let collection = engine.collection::<Document>(CALLS);
    let waiting = doc! { "_id": id, "dueAt": { "$lte": now } };
    engine.command(collection.update_one(waiting, doc! { "$set": { "dueAt": until } })).await?;
    Ok(())
}

async fn settle(engine: &Engine, settlement: &CallSettlement) -> Result<bool> {
    let CallSettlement { id, attempt, next } = settlement;
    let collection = engine.collection::<Document>(CALLS);
    let waiting = doc! { "_id": oid(*id), "state": CallState::Waiting.as_str() };
    let keep = i32::try_from(CALL_ATTEMPTS_MAX).unwrap_or(i32::MAX);
    let mut update = doc! {
        "$push": { "attempts": { "$each": [to_bson(attempt)?], "$slice": -keep } },
        "$inc": { "tries": 1 },
    };
    match next {
        CallNext::Retry { at } => {
            update.insert("$set", doc! { "dueAt": date(*at) });
            update.insert("$unset", doc! { "lockedUntil": "", "claim": "" });
        }
        CallNext::Delivered | CallNext::GivenUp => {
            let state = if *next == CallNext::Delivered { CallState::Delivered } else { CallState::GivenUp };
            update.insert("$set", doc! { "state": state.as_str() });
            update.insert("$unset", doc! { "lockedUntil": "", "claim": "", "dueAt": "" });
        }
    }
    let settle = collection.find_one_and_update(waiting, update).projection(doc! { "endpoint": 1, "email": 1 });
    let Some(call) = engine.command(settle).await? else { return Ok(false) };
    // Those behind it wait as long as it does, and no longer.
    let (due_at, comparison) = match next {
        CallNext::Retry { at } => (date(*at), "$lt"),
        CallNext::Delivered | CallNext::GivenUp => (date(attempt.at), "$gt"),
    };
    let behind = doc! {
        "email": call.get_object_id("email").ok(),
        "endpoint": call.get_object_id("endpoint").ok(),
        "state": CallState::Waiting.as_str(),
        "dueAt": { comparison: due_at },
    };
    engine.command(collection.update_many(behind, doc! { "$set": { "dueAt": due_at } })).await?;
    Ok(true)
}

fn conditions(filter: &CallFilter) -> Document {
    let CallFilter { ids, endpoint, state, kind, email, from, to } = filter;
    let mut conditions = Document::new();
    if !ids.is_empty() {
        let ids: Vec<oid::ObjectId> = ids.iter().copied().map(oid).collect();
        conditions.insert("_id", doc! { "$in": ids });
    }
    if let Some(endpoint) = endpoint {
        conditions.insert("endpoint", oid(*endpoint));
    }
    if let Some(state) = state {
        conditions.insert("state", state.as_str());
    }
    if let Some(kind) = kind {
        conditions.insert("kind", kind.as_str());
    }
    if let Some(email) = email {
        conditions.insert("email", oid(*email));
    }
    let mut range = Document::new();
    if let Some(from) = from {
        range.insert("$gte", date(*from));
    }
    if let Some(to) = to {
        range.insert("$lt", date(*to));
    }
    if conditions.is_empty() && range.is_empty() {
        // All of them: counted in an index.
        range.insert("$gte", BEGINNING);
    }
    if !range.is_empty() {
        conditions.insert("at", range);
    }
    conditions
}

/// Numbers events that have come, in the order of their ids.
async fn number_new(engine: &Engine) -> Result<()> {
    let events = engine.collection::<Document>(EVENTS);
    let new = events.find_one(new_events()).projection(doc! { "_id": 1 });
    if engine.command(new).await?.is_none() {
        return Ok(());
    }
    engine.transaction(&mut NumberNew).await.map_err(Failure::into_error)
}

fn new_events() -> Document {
    doc! { "isNew": true }
}

struct NumberNew;

impl Work for NumberNew {
    type Output = ();

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        _: Stripe,
    ) -> std::result::Result<(), Failure> {
        let events = engine.collection::<Document>(EVENTS);
        let find = events.find(new_events()).sort(doc! { "_id": 1 }).limit(NUMBERED_AT_ONCE);
        let mut cursor = find.projection(doc! { "_id": 1 }).session(&mut *session).await?;
        let mut ids = Vec::new();
        while let Some(event) = cursor.next(&mut *session).await {
            ids.extend(event?.get_object_id("_id").ok());
        }
        let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let meta = engine.collection::<Document>(META);
        let counted = meta
            .find_one_and_update(doc! { "_id": "events" }, doc! { "$inc": { "last": count } })
            .upsert(true)
            .session(&mut *session)
            .await?;
        let before = counted.as_ref().map_or(0, |counted| number(counted, "last"));
        let update = |(number, id): (i64, oid::ObjectId)| {
            doc! { "q": { "_id": id }, "u": { "$set": { "number": number }, "$unset": { "isNew": "" } } }
        };
        update_all(engine, session, EVENTS, (before + 1..).zip(ids).map(update).collect()).await?;
        Ok(())
    }
}

/// The highest number that was given.
async fn last_number(engine: &Engine) -> Result<i64> {
    let counter = engine.command(engine.collection::<Document>(META).find_one(doc! { "_id": "events" })).await?;
    Ok(counter.as_ref().map_or(0, |counter| number(counter, "last")))
}

fn event(event: EventDocument) -> Option<EventRecord> {
    Some(EventRecord {
        cursor: event.number?.to_string(),
        id: id(event.id),
        kind: event.kind,
        at: timestamp(event.at),
        email: id(event.email),
        delivery: event.delivery,
    })
}

fn claimed(call: CallDocument) -> ClaimedCall {
    ClaimedCall {
        id: id(call.id),
        endpoint: id(call.endpoint),
        event: id(call.event),
        kind: call.kind,
        at: timestamp(call.at),
        email: id(call.email),
        url: call.url,
        data: call.data,
        tries: call.tries,
    }
}

fn record(call: CallDocument) -> CallRecord {
    CallRecord {
        id: id(call.id),
        endpoint: id(call.endpoint),
        event: id(call.event),
        kind: call.kind,
        at: timestamp(call.at),
        email: id(call.email),
        url: call.url,
        state: call.state,
        due_at: call.due_at.map(timestamp),
        tries: call.tries,
        attempts: call.attempts,
        data: call.data,
    }
}

/// Calls by id, from behind `after` on.
pub(crate) async fn export(engine: &Engine, after: Option<CallId>, count: usize) -> Result<Vec<CallRecord>> {
    let filter = after.map_or_else(Document::new, |after| doc! { "_id": { "$gt": oid(after) } });
    let limit = i64::try_from(count.max(1)).unwrap_or(i64::MAX);
    let calls = engine.collection::<CallDocument>(CALLS);
    let find = calls.find(filter).sort(doc! { "_id": 1 }).limit(limit);
    Ok(engine.call(collect(find)).await?.into_iter().map(record).collect())
}

/// Stores calls as they are, but for those that are there. Returns how many are new.
pub(crate) async fn import(engine: &Engine, calls: Vec<CallRecord>) -> Result<usize> {
    let mut updates = Vec::with_capacity(calls.len());
    for call in calls {
        let document = CallDocument {
            id: oid(call.id),
            endpoint: oid(call.endpoint),
            event: oid(call.event),
            kind: call.kind,
            at: date(call.at),
            email: oid(call.email),
            state: call.state,
            due_at: call.due_at.map(date),
            tries: call.tries,
            attempts: call.attempts,
            url: call.url,
            data: call.data,
        };
        let mut document = codes::to_document(&document)?;
        let key = document.remove("_id");
        updates.push(doc! { "q": { "_id": key }, "u": { "$setOnInsert": document }, "upsert": true });
    }
    engine.transaction(&mut Import { updates }).await.map_err(Failure::into_error)
}

struct Import {
    updates: Vec<Document>,
}

impl Work for Import {
    type Output = usize;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        _: Stripe,
    ) -> std::result::Result<usize, Failure> {
        let key = |update: &Document| update.get_document("q").ok()?.get("_id").cloned();
        let there = doc! { "_id": { "$in": self.updates.iter().filter_map(key).collect::<Vec<_>>() } };
        let calls = engine.collection::<Document>(CALLS);
        let before = calls.count_documents(there.clone()).session(&mut *session).await?;
        update_all(engine, session, CALLS, self.updates.clone()).await?;
        let after = calls.count_documents(there).session(&mut *session).await?;
        Ok(usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX))
    }
}

fn place(cursor: &str) -> Result<i64> {
    cursor.parse().ok().filter(|&place| place >= 0).ok_or_else(|| no_cursor(cursor))
}

fn no_cursor(cursor: &str) -> StoreError {
    StoreError::Limit(format!("{cursor:?} is no place among the events of this store"))
}
