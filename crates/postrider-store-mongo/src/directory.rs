//! Domains and aliases, and the part of the contract that they are of.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc};
use postrider_core::{Address, Domain, Timestamp};
use postrider_store::*;
use serde::{Deserialize, Serialize};

use crate::codes::{address, date, domain, timestamp};
use crate::counters::{Additions, Stripe};
use crate::engine::{Engine, Work};
use crate::failure::{Failure, is_duplicate, store_error};
use crate::files::collect;
use crate::schema::{ADDRESSES, ALIASES, LOCAL_DOMAINS};
use crate::{MongoStore, users};

type Result<T> = std::result::Result<T, StoreError>;

#[async_trait]
impl Directory for MongoStore {
    async fn add_user(&self, user: User) -> Result<()> {
        users::add(&self.engine, &user).await
    }

    async fn user(&self, address: &Address) -> Result<Option<User>> {
        users::find(&self.engine, address).await
    }

    async fn users(&self) -> Result<Vec<User>> {
        users::all(&self.engine).await
    }

    async fn set_password(
        &self,
        address: &Address,
        password_hash: String,
        scram: ScramKeys,
        now: Timestamp,
    ) -> Result<bool> {
        users::set_password(&self.engine, address, password_hash, &scram, now).await
    }

    async fn set_quota(&self, address: &Address, quota: Quota, now: Timestamp) -> Result<bool> {
        users::set_quota(&self.engine, address, quota, now).await
    }

    async fn set_enabled(&self, address: &Address, is_enabled: bool, now: Timestamp) -> Result<bool> {
        users::set_enabled(&self.engine, address, is_enabled, now).await
    }

    async fn remove_user(&self, address: &Address) -> Result<bool> {
        users::remove(&self.engine, address).await
    }

    async fn add_domain(&self, domain: DomainRecord) -> Result<()> {
        add_domain(&self.engine, domain).await
    }

    async fn domain(&self, name: &Domain) -> Result<Option<DomainRecord>> {
        let domains = self.engine.collection::<DomainDocument>(LOCAL_DOMAINS);
        let found = self.engine.command(domains.find_one(doc! { "_id": name.as_str() })).await?;
        found.map(domain_record).transpose()
    }

    async fn domains(&self) -> Result<Vec<DomainRecord>> {
        let domains = self.engine.collection::<DomainDocument>(LOCAL_DOMAINS);
        let find = domains.find(doc! {}).sort(doc! { "_id": 1 });
        self.engine.call(collect(find)).await?.into_iter().map(domain_record).collect()
    }

    async fn set_catch_all(&self, name: &Domain, catch_all: Option<Address>, now: Timestamp) -> Result<bool> {
        let update = match catch_all {
            Some(address) => doc! { "$set": { "catchAll": address.as_str(), "updatedAt": date(now) } },
            None => doc! { "$unset": { "catchAll": "" }, "$set": { "updatedAt": date(now) } },
        };
        update_one(&self.engine, LOCAL_DOMAINS, name.as_str(), update).await
    }

    async fn remove_domain(&self, name: &Domain) -> Result<bool> {
        let domains = self.engine.collection::<Document>(LOCAL_DOMAINS);
        let removed = self.engine.command(domains.delete_one(doc! { "_id": name.as_str() })).await?;
        self.engine.notices.tell(Change::Directory);
        Ok(removed.deleted_count > 0)
    }

    async fn add_alias(&self, alias: AliasRecord) -> Result<()> {
        let added = self.engine.transaction(&mut AddAlias { alias: &alias }).await;
        added.map_err(|failure| users::exists(failure, "a user or alias", &alias.address))?;
        self.engine.notices.tell(Change::Directory);
        Ok(())
    }

    async fn set_alias_targets(&self, address: &Address, targets: Vec<Address>, now: Timestamp) -> Result<bool> {
        let update = doc! { "$set": { "targets": texts(&targets), "updatedAt": date(now) } };
        update_one(&self.engine, ALIASES, &users::key(address), update).await
    }

    async fn alias(&self, address: &Address) -> Result<Option<AliasRecord>> {
        let aliases = self.engine.collection::<AliasDocument>(ALIASES);
        let found = self.engine.command(aliases.find_one(doc! { "_id": users::key(address) })).await?;
        found.map(alias_record).transpose()
    }

    async fn aliases(&self) -> Result<Vec<AliasRecord>> {
        let aliases = self.engine.collection::<AliasDocument>(ALIASES);
        let find = aliases.find(doc! {}).sort(doc! { "_id": 1 });
        self.engine.call(collect(find)).await?.into_iter().map(alias_record).collect()
    }

    async fn remove_alias(&self, address: &Address) -> Result<bool> {
        let mut work = RemoveAlias { key: users::key(address) };
        let is_removed = self.engine.transaction(&mut work).await.map_err(Failure::into_error)?;
        self.engine.notices.tell(Change::Directory);
        Ok(is_removed)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DomainDocument {
    #[serde(rename = "_id")]
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    catch_all: Option<String>,
    created_at: DateTime,
    updated_at: DateTime,
}

fn domain_record(document: DomainDocument) -> Result<DomainRecord> {
    Ok(DomainRecord {
        name: domain(&document.name)?,
        catch_all: document.catch_all.as_deref().map(address).transpose()?,
        created_at: timestamp(document.created_at),
        updated_at: timestamp(document.updated_at),
    })
}

async fn add_domain(engine: &Engine, record: DomainRecord) -> Result<()> {
    let document = DomainDocument {
        name: record.name.as_str().to_owned(),
        catch_all: record.catch_all.as_ref().map(|address| address.as_str().to_owned()),
        created_at: date(record.created_at),
        updated_at: date(record.updated_at),
    };
    let domains = engine.collection::<DomainDocument>(LOCAL_DOMAINS);
    let added = engine.call(async {
        domains.insert_one(document).await.map_err(|error| {
            if is_duplicate(&error) {
                StoreError::Exists(format!("domain {}", record.name))
            } else {
                store_error(&error)
            }
        })
    });
    added.await?;
    engine.notices.tell(Change::Directory);
    Ok(())
}

async fn update_one(engine: &Engine, collection: &str, key: &str, update: Document) -> Result<bool> {
    let documents = engine.collection::<Document>(collection);
    let changed = engine.command(documents.update_one(doc! { "_id": key }, update)).await?;
    engine.notices.tell(Change::Directory);
    Ok(changed.matched_count > 0)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AliasDocument {
    /// The address as it is looked up.
    #[serde(rename = "_id")]
    key: String,
    address: String,
    targets: Vec<String>,
    created_at: DateTime,
    updated_at: DateTime,
}

fn alias_record(document: AliasDocument) -> Result<AliasRecord> {
    Ok(AliasRecord {
        address: address(&document.address)?,
        targets: document.targets.iter().map(|text| address(text)).collect::<Result<_>>()?,
        created_at: timestamp(document.created_at),
        updated_at: timestamp(document.updated_at),
    })
}

fn texts(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(|address| address.as_str().to_owned()).collect()
}

struct AddAlias<'a> {
    alias: &'a AliasRecord,
}

impl Work for AddAlias<'_> {
    type Output = ();

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<(), Failure> {
        let AliasRecord { address, targets, created_at, updated_at } = self.alias;
        let document = AliasDocument {
            key: users::key(address),
            address: address.as_str().to_owned(),
            targets: texts(targets),
            created_at: date(*created_at),
            updated_at: date(*updated_at),
        };
        // Users and aliases share one space of addresses.
        let taken = doc! { "_id": &document.key };
        engine.collection::<Document>(ADDRESSES).insert_one(taken).session(&mut *session).await?;
        engine.collection(ALIASES).insert_one(document).session(&mut *session).await?;
        Additions::default().write(engine, session, stripe).await
    }
}

struct RemoveAlias {
    key: String,
}

impl Work for RemoveAlias {
    type Output = bool;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<bool, Failure> {
        let filter = doc! { "_id": &self.key };
        let aliases = engine.collection::<Document>(ALIASES);
        if aliases.delete_one(filter.clone()).session(&mut *session).await?.deleted_count == 0 {
            return Ok(false);
        }
        engine.collection::<Document>(ADDRESSES).delete_one(filter).session(&mut *session).await?;
        Additions::default().write(engine, session, stripe).await?;
        Ok(true)
    }
}
