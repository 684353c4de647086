//! The suppression list.

use std::collections::HashMap;

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_core::{Address, SuppressionReason};
use postrider_store::{Change, StoreError, Suppression, SuppressionFilter, SuppressionPage, Suppressions};
use serde::{Deserialize, Serialize};

use crate::counters::{Stripe, update_all};
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::files::collect;
use crate::schema::SUPPRESSIONS;
use crate::{MongoStore, codes, users};

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SuppressionDocument {
    /// The address as it is looked up.
    #[serde(rename = "_id")]
    key: String,
    address: String,
    reason: SuppressionReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<oid::ObjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    created_at: DateTime,
}

#[async_trait]
impl Suppressions for MongoStore {
    async fn suppress(&self, suppressions: Vec<Suppression>) -> Result<usize> {
        if suppressions.is_empty() {
            return Ok(0);
        }
        let mut work = Add { suppressions: &suppressions };
        let added = self.engine.transaction(&mut work).await.map_err(Failure::into_error)?;
        self.engine.notices.tell(Change::Suppressions);
        Ok(added)
    }

    async fn suppressed(&self, addresses: &[Address]) -> Result<Vec<Option<Suppression>>> {
        let keys: Vec<String> = addresses.iter().map(users::key).collect();
        let collection = self.engine.collection::<SuppressionDocument>(SUPPRESSIONS);
        let found = self.engine.call(collect(collection.find(doc! { "_id": { "$in": &keys } }))).await?;
        let mut by_key = HashMap::new();
        for document in found {
            by_key.insert(document.key.clone(), suppression(document)?);
        }
        Ok(keys.iter().map(|key| by_key.get(key).cloned()).collect())
    }

    async fn suppressions(&self, filter: &SuppressionFilter, page: u64, limit: u64) -> Result<SuppressionPage> {
        let mut matches = Document::new();
        if let Some(query) = &filter.query {
            let lower = query.to_ascii_lowercase();
            matches.insert("$expr", doc! { "$gte": [{ "$indexOfBytes": ["$_id", { "$literal": lower }] }, 0] });
        }
        if let Some(reason) = filter.reason {
            matches.insert("reason", reason.as_str());
        }
        let collection = self.engine.collection::<SuppressionDocument>(SUPPRESSIONS);
        let total = self.engine.command(collection.count_documents(matches.clone())).await?;
        let skipped = page.saturating_sub(1).saturating_mul(limit);
        if limit == 0 || skipped >= total {
            return Ok(SuppressionPage { suppressions: Vec::new(), total });
        }
        let sorted = collection.find(matches).sort(doc! { "createdAt": -1, "_id": -1 });
        let find = sorted.skip(skipped).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.engine.call(collect(find)).await?;
        Ok(SuppressionPage { suppressions: found.into_iter().map(suppression).collect::<Result<_>>()?, total })
    }

    async fn unsuppress(&self, address: &Address) -> Result<bool> {
        let collection = self.engine.collection::<Document>(SUPPRESSIONS);
        let removed = self.engine.command(collection.delete_one(doc! { "_id": users::key(address) })).await?;
        self.engine.notices.tell(Change::Suppressions);
        Ok(removed.deleted_count > 0)
    }
}

struct Add<'a> {
    suppressions: &'a [Suppression],
}

impl Work for Add<'_> {
    type Output = usize;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        _: Stripe,
    ) -> std::result::Result<usize, Failure> {
        let keys: Vec<String> = self.suppressions.iter().map(|suppression| users::key(&suppression.address)).collect();
        let collection = engine.collection::<Document>(SUPPRESSIONS);
        let there = doc! { "_id": { "$in": keys } };
        let before = collection.count_documents(there.clone()).session(&mut *session).await?;
        add(engine, session, self.suppressions).await?;
        let after = collection.count_documents(there).session(&mut *session).await?;
        Ok(usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX))
    }
}

/// Lists those that are not listed, in a transaction that does more.
pub(crate) async fn add(
    engine: &Engine,
    session: &mut ClientSession,
    suppressions: impl IntoIterator<Item = &Suppression>,
) -> std::result::Result<(), Failure> {
    let mut updates = Vec::new();
    for suppression in suppressions {
        let mut document = codes::to_document(&SuppressionDocument::from(suppression))?;
        let key = document.remove("_id");
        updates.push(doc! { "q": { "_id": key }, "u": { "$setOnInsert": document }, "upsert": true });
    }
    update_all(engine, session, SUPPRESSIONS, updates).await?;
    Ok(())
}

impl From<&Suppression> for SuppressionDocument {
    fn from(suppression: &Suppression) -> Self {
        let Suppression { address, reason, email, text, created_at } = suppression;
        Self {
            key: users::key(address),
            address: format!("{}@{}", address.local_part(), address.domain_text().to_ascii_lowercase()),
            reason: *reason,
            email: email.map(codes::oid),
            text: text.clone(),
            created_at: codes::date(*created_at),
        }
    }
}

fn suppression(document: SuppressionDocument) -> Result<Suppression> {
    Ok(Suppression {
        address: codes::address(&document.address)?,
        reason: document.reason,
        email: document.email.map(codes::id),
        text: document.text,
        created_at: codes::timestamp(document.created_at),
    })
}
