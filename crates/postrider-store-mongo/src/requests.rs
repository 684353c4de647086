//! Requests that came with a key.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, doc};
use postrider_core::Timestamp;
use postrider_core::submission::{RequestKey, RequestPart};
use postrider_store::{NewRequest, RequestRecord, Requests, StoreError};
use serde::{Deserialize, Serialize};

use crate::MongoStore;
use crate::codes::{date, timestamp};
use crate::engine::Engine;
use crate::failure::{Failure, corrupt};
use crate::files::collect;
use crate::schema::REQUESTS;

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RequestDocument {
    /// Key and number, so that all parts of a request stand together.
    #[serde(rename = "_id")]
    id: String,
    fingerprint: Binary,
    at: DateTime,
    answer: String,
}

impl RequestDocument {
    pub(crate) fn new(request: &NewRequest, at: Timestamp) -> Self {
        Self::of(request.part, at, request.answer.clone())
    }

    fn of(part: RequestPart, at: Timestamp, answer: String) -> Self {
        let fingerprint = Binary { subtype: BinarySubtype::Generic, bytes: part.fingerprint.to_vec() };
        Self { id: place((part.key, part.number)), fingerprint, at: date(at), answer }
    }

    /// About how much is written for it.
    pub(crate) fn bytes(&self) -> usize {
        256 + self.answer.len()
    }

    fn record(self) -> Result<RequestRecord> {
        let damaged = || corrupt(format!("request {:?} cannot be read", self.id));
        let (key, number) = self.id.split_once(':').ok_or_else(damaged)?;
        let part = RequestPart {
            key: from_hex(key).ok_or_else(damaged)?,
            number: number.parse().map_err(|_| damaged())?,
            fingerprint: self.fingerprint.bytes.as_slice().try_into().map_err(|_| damaged())?,
        };
        Ok(RequestRecord { part, at: timestamp(self.at), answer: self.answer })
    }
}

#[async_trait]
impl Requests for MongoStore {
    async fn request(&self, key: RequestKey) -> Result<Vec<RequestRecord>> {
        let requests = self.engine.collection::<RequestDocument>(REQUESTS);
        // A semicolon follows the colon in ASCII.
        let hex = hex(&key);
        let range = doc! { "_id": { "$gte": format!("{hex}:"), "$lt": format!("{hex};") } };
        let found = self.engine.call(collect(requests.find(range).sort(doc! { "_id": 1 }))).await?;
        found.into_iter().map(RequestDocument::record).collect()
    }

    async fn sweep_requests(&self, before: Timestamp, count: usize) -> Result<u64> {
        let requests = self.engine.collection::<Document>(REQUESTS);
        let limit = i64::try_from(count.max(1)).unwrap_or(i64::MAX);
        let old = doc! { "at": { "$lt": date(before) } };
        let find = requests.find(old).projection(doc! { "_id": 1 }).limit(limit);
        let found = self.engine.call(collect(find)).await?;
        let ids: Vec<&str> = found.iter().filter_map(|found| found.get_str("_id").ok()).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        Ok(self.engine.command(requests.delete_many(doc! { "_id": { "$in": ids } })).await?.deleted_count)
    }
}

/// Notes what became of parts of requests, in a transaction that does more. One that was carried out refuses all of them.
pub(crate) async fn add(
    engine: &Engine,
    session: &mut ClientSession,
    requests: Vec<&RequestDocument>,
) -> std::result::Result<(), Failure> {
    if !requests.is_empty() {
        engine.collection::<RequestDocument>(REQUESTS).insert_many(requests).session(&mut *session).await?;
    }
    Ok(())
}

pub(crate) async fn export(
    engine: &Engine,
    after: Option<(RequestKey, u32)>,
    count: usize,
) -> Result<Vec<RequestRecord>> {
    let requests = engine.collection::<RequestDocument>(REQUESTS);
    let behind = after.map(place).unwrap_or_default();
    let find = requests.find(doc! { "_id": { "$gt": behind } }).sort(doc! { "_id": 1 });
    // 0 would be no limit.
    let find = find.limit(i64::try_from(count.max(1)).unwrap_or(i64::MAX));
    let found = engine.call(collect(find)).await?;
    found.into_iter().map(RequestDocument::record).collect()
}

pub(crate) async fn import(engine: &Engine, records: Vec<RequestRecord>) -> Result<usize> {
    let requests = engine.collection::<Document>(REQUESTS);
    let mut new = 0;
    for RequestRecord { part, at, answer } in records {
        let RequestDocument { id, fingerprint, at, answer } = RequestDocument::of(part, at, answer);
        let set = doc! { "fingerprint": fingerprint, "at": at, "answer": answer };
        let update = requests.update_one(doc! { "_id": id }, doc! { "$setOnInsert": set }).upsert(true);
        new += usize::from(engine.command(update).await?.upserted_id.is_some());
    }
    Ok(new)
}

/// Numbers sort as they count.
fn place((key, number): (RequestKey, u32)) -> String {
    format!("{}:{number:010}", hex(&key))
}

fn hex(key: &RequestKey) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in key {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<RequestKey> {
    let mut key = RequestKey::default();
    if text.len() != key.len() * 2 {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}
