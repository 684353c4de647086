//! The history: what was done when.
//!
//! Each part is a document that one process writes, so that nodes are not in each other's way; what all did is added up by who reads.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use async_trait::async_trait;
use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_core::Timestamp;
use postrider_core::history::{AddressTraffic, Latencies, Step, Traffic};
use postrider_store::{AddressHistory, AddressPart, History, StoreError, TrafficPart, TrafficSpan};
use serde::{Deserialize, Serialize};

use crate::failure::corrupt;
use crate::files::collect;
use crate::schema::{ADDRESS_HISTORY, HISTORY};
use crate::{MongoStore, codes};

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrafficDocument {
    #[serde(rename = "_id")]
    part: oid::ObjectId,
    /// In seconds.
    step: i32,
    at: DateTime,
    accepted: i64,
    delivered: i64,
    deferred: i64,
    failed: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    latencies: Vec<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddressDocument {
    #[serde(rename = "_id")]
    part: oid::ObjectId,
    at: DateTime,
    ip: String,
    delivered: i64,
    deferred: i64,
    failed: i64,
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    origins: HashMap<String, i64>,
}

#[async_trait]
impl History for MongoStore {
    async fn put_history(&self, traffic: Vec<TrafficPart>, addresses: Vec<AddressPart>) -> Result<()> {
        let traffic = traffic.iter().map(|part| codes::to_document(&TrafficDocument::from(part)));
        self.replace(HISTORY, traffic.collect::<Result<_>>()?).await?;
        let addresses = addresses.iter().map(|part| codes::to_document(&AddressDocument::from(part)));
        self.replace(ADDRESS_HISTORY, addresses.collect::<Result<_>>()?).await
    }

    async fn history(&self, step: Step, from: Timestamp, to: Timestamp) -> Result<Vec<TrafficSpan>> {
        let collection = self.engine.collection::<TrafficDocument>(HISTORY);
        let matching = doc! { "step": seconds(step), "at": { "$gte": codes::date(from), "$lt": codes::date(to) } };
        let found = self.engine.call(collect(collection.find(matching).sort(doc! { "step": 1, "at": 1 }))).await?;
        let mut spans: Vec<TrafficSpan> = Vec::new();
        for document in found {
            let (at, traffic) = (codes::timestamp(document.at), document.traffic());
            match spans.last_mut().filter(|span| span.at == at) {
                Some(span) => span.traffic.add(&traffic),
                None => spans.push(TrafficSpan { at, traffic }),
            }
        }
        Ok(spans)
    }

    async fn address_history(&self, from: Timestamp, to: Timestamp) -> Result<Vec<AddressHistory>> {
        let collection = self.engine.collection::<AddressDocument>(ADDRESS_HISTORY);
        let matching = doc! { "at": { "$gte": codes::date(from), "$lt": codes::date(to) } };
        let found = self.engine.call(collect(collection.find(matching).sort(doc! { "at": 1 }))).await?;
        let mut addresses: BTreeMap<IpAddr, AddressHistory> = BTreeMap::new();
        for document in found {
            let last_used_at = codes::timestamp(document.at);
            let ip: IpAddr = document.ip.parse().map_err(corrupt)?;
            let new = AddressHistory { ip, traffic: AddressTraffic::default(), last_used_at };
            let address = addresses.entry(ip).or_insert(new);
            address.traffic.add(&document.traffic());
            address.last_used_at = last_used_at;
        }
        Ok(addresses.into_values().collect())
    }

    async fn sweep_history(&self, before: Timestamp, count: usize) -> Result<u64> {
        let old = doc! { "$lt": codes::date(before) };
        let steps: Vec<i32> = Step::ALL.into_iter().map(seconds).collect();
        let traffic = self.sweep_parts(HISTORY, doc! { "step": { "$in": steps }, "at": old.clone() }, count).await?;
        let addresses = self.sweep_parts(ADDRESS_HISTORY, doc! { "at": old }, count).await?;
        Ok(traffic + addresses)
    }
}

impl MongoStore {
    /// Writes documents whatever was in their place, in one command.
    async fn replace(&self, collection: &str, documents: Vec<Document>) -> Result<()> {
        if documents.is_empty() {
            return Ok(());
        }
        let statement = |document: Document| {
            let id = document.get("_id").cloned();
            doc! { "q": { "_id": id }, "u": document, "upsert": true }
        };
        let command = doc! {
            "update": collection,
            "updates": documents.into_iter().map(statement).collect::<Vec<_>>(),
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true },
        };
        let reply = self.engine.command(self.engine.database.run_command(command)).await?;
        match reply.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            Some(error) => Err(StoreError::Unavailable(format!("the history could not be written: {error}"))),
            None => Ok(()),
        }
    }

    async fn sweep_parts(&self, collection: &str, old: Document, count: usize) -> Result<u64> {
        let collection = self.engine.collection::<Document>(collection);
        let limit = i64::try_from(count.max(1)).unwrap_or(i64::MAX);
        let find = collection.find(old).projection(doc! { "_id": 1 }).limit(limit);
        let found = self.engine.call(collect(find)).await?;
        let ids: Vec<oid::ObjectId> = found.iter().filter_map(|found| found.get_object_id("_id").ok()).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        Ok(self.engine.command(collection.delete_many(doc! { "_id": { "$in": ids } })).await?.deleted_count)
    }
}

impl From<&TrafficPart> for TrafficDocument {
    fn from(part: &TrafficPart) -> Self {
        let TrafficPart { step, at, part, traffic } = part;
        Self {
            part: codes::oid(*part),
            step: seconds(*step),
            at: codes::date(*at),
            accepted: stored(traffic.accepted),
            delivered: stored(traffic.delivered),
            deferred: stored(traffic.deferred),
            failed: stored(traffic.failed),
            latencies: traffic.latencies.classes().iter().copied().map(stored).collect(),
        }
    }
}

impl TrafficDocument {
    fn traffic(&self) -> Traffic {
        Traffic {
            accepted: counted(self.accepted),
            delivered: counted(self.delivered),
            deferred: counted(self.deferred),
            failed: counted(self.failed),
            latencies: Latencies::of_classes(self.latencies.iter().copied().map(counted)),
        }
    }
}

impl From<&AddressPart> for AddressDocument {
    fn from(part: &AddressPart) -> Self {
        let AddressPart { at, ip, part, traffic } = part;
        let origins = traffic.by_origin().map(|(origin, count)| (origin.as_str().to_owned(), stored(count)));
        Self {
            part: codes::oid(*part),
            at: codes::date(*at),
            ip: ip.to_string(),
            delivered: stored(traffic.delivered),
            deferred: stored(traffic.deferred),
            failed: stored(traffic.failed),
            origins: origins.collect(),
        }
    }
}

impl AddressDocument {
    fn traffic(&self) -> AddressTraffic {
        let mut traffic = AddressTraffic {
            delivered: counted(self.delivered),
            deferred: counted(self.deferred),
            failed: counted(self.failed),
            ..AddressTraffic::default()
        };
        for (origin, &attempts) in &self.origins {
            // One that only a newer program knows is left out.
            if let Ok(origin) = origin.parse() {
                traffic.note_origin(origin, counted(attempts));
            }
        }
        traffic
    }
}

fn seconds(step: Step) -> i32 {
    i32::try_from(step.seconds()).unwrap_or(i32::MAX)
}

fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn counted(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
