//! The audit log.

use std::net::IpAddr;

use async_trait::async_trait;
use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_core::Timestamp;
use postrider_store::{
    AuditActor, AuditConclusion, AuditEntry, AuditFilter, AuditId, AuditLog, AuditOutcome, AuditPage, StoreError,
};
use serde::{Deserialize, Serialize};

use crate::failure::{is_duplicate, store_error};
use crate::files::collect;
use crate::schema::AUDIT;
use crate::{MongoStore, codes};

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuditDocument {
    #[serde(rename = "_id")]
    id: oid::ObjectId,
    at: DateTime,
    actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<oid::ObjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    action: String,
    target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<AuditOutcome>,
    /// JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<String>,
}

#[async_trait]
impl AuditLog for MongoStore {
    async fn audit(&self, entries: Vec<AuditEntry>) -> Result<usize> {
        let collection = self.engine.collection::<AuditDocument>(AUDIT);
        if let [entry] = entries.as_slice() {
            // By far the most.
            let inserted = self.engine.call(async {
                match collection.insert_one(AuditDocument::from(entry)).await {
                    Ok(_) => Ok(1),
                    Err(error) if is_duplicate(&error) => Ok(0),
                    Err(error) => Err(store_error(&error)),
                }
            });
            return inserted.await;
        }
        let ids: Vec<oid::ObjectId> = entries.iter().map(|entry| codes::oid(entry.id)).collect();
        let there = doc! { "_id": { "$in": ids } };
        let found = self.engine.call(collect(collection.find(there))).await?;
        let is_new = |entry: &&AuditEntry| found.iter().all(|known| known.id != codes::oid(entry.id));
        let new: Vec<AuditDocument> = entries.iter().filter(is_new).map(AuditDocument::from).collect();
        if new.is_empty() {
            return Ok(0);
        }
        let count = new.len();
        self.engine.command(collection.insert_many(new)).await?;
        Ok(count)
    }

    async fn conclude_audit(&self, id: AuditId, conclusion: AuditConclusion) -> Result<bool> {
        let AuditConclusion { outcome, target, details } = conclusion;
        let mut set = doc! { "outcome": outcome.as_str() };
        set.extend(target.map(|target| ("target".to_owned(), target.into())));
        set.extend(details.map(|details| ("details".to_owned(), details.into())));
        let collection = self.engine.collection::<Document>(AUDIT);
        let updated = collection.update_one(doc! { "_id": codes::oid(id) }, doc! { "$set": set });
        Ok(self.engine.command(updated).await?.matched_count > 0)
    }

    async fn audit_entries(&self, filter: &AuditFilter, page: u64, limit: u64) -> Result<AuditPage> {
        let matches = matching(filter);
        let collection = self.engine.collection::<AuditDocument>(AUDIT);
        let total = self.engine.command(collection.count_documents(matches.clone())).await?;
        let skipped = page.saturating_sub(1).saturating_mul(limit);
        if limit == 0 || skipped >= total {
            return Ok(AuditPage { entries: Vec::new(), total });
        }
        let sorted = collection.find(matches).sort(doc! { "at": -1, "_id": -1 });
        let find = sorted.skip(skipped).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.engine.call(collect(find)).await?;
        Ok(AuditPage { entries: found.into_iter().map(AuditEntry::from).collect(), total })
    }

    async fn sweep_audit(&self, before: Timestamp, count: usize) -> Result<u64> {
        let collection = self.engine.collection::<AuditDocument>(AUDIT);
        let old = doc! { "at": { "$lt": codes::date(before) } };
        let find = collection.find(old).sort(doc! { "at": 1 }).limit(i64::try_from(count).unwrap_or(i64::MAX));
        let ids: Vec<oid::ObjectId> =
            self.engine.call(collect(find)).await?.into_iter().map(|entry| entry.id).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        let removed = self.engine.command(collection.delete_many(doc! { "_id": { "$in": ids } })).await?;
        Ok(removed.deleted_count)
    }
}

fn matching(filter: &AuditFilter) -> Document {
    let AuditFilter { actor, action, target, from, to } = filter;
    let has_part = |field: &str, part: &str| {
        let lower = doc! { "$toLower": format!("${field}") };
        doc! { "$expr": { "$gte": [{ "$indexOfBytes": [lower, { "$literal": part.to_ascii_lowercase() }] }, 0] } }
    };
    let mut all = Vec::new();
    if let Some(actor) = actor {
        let mut either = vec![has_part("actor", actor)];
        either.extend(actor.parse().ok().map(|id| doc! { "token": codes::oid(id) }));
        all.push(doc! { "$or": either });
    }
    if let Some(action) = action {
        // No character of an action comes behind the last one of Unicode.
        let of_noun = doc! { "action": { "$gte": format!("{action}."), "$lte": format!("{action}.\u{10ffff}") } };
        all.push(doc! { "$or": [{ "action": action }, of_noun] });
    }
    all.extend(target.as_ref().map(|target| has_part("target", target)));
    all.extend(to.map(|to| doc! { "at": { "$lt": codes::date(to) } }));
    // Always: so that the index by time is used, which is small beside the entries.
    all.push(doc! { "at": { "$gte": codes::date(from.unwrap_or_default()) } });
    doc! { "$and": all }
}

impl From<&AuditEntry> for AuditDocument {
    fn from(entry: &AuditEntry) -> Self {
        Self {
            id: codes::oid(entry.id),
            at: codes::date(entry.at),
            actor: entry.actor.name.clone(),
            token: entry.actor.token.map(codes::oid),
            peer: entry.peer,
            action: entry.action.clone(),
            target: entry.target.clone(),
            outcome: entry.outcome,
            details: entry.details.clone(),
        }
    }
}

impl From<AuditDocument> for AuditEntry {
    fn from(document: AuditDocument) -> Self {
        Self {
            id: codes::id(document.id),
            at: codes::timestamp(document.at),
            actor: AuditActor { name: document.actor, token: document.token.map(codes::id) },
            peer: document.peer,
            action: document.action,
            target: document.target,
            outcome: document.outcome,
            details: document.details,
        }
    }
}
