//! The users: who may log in, and what each has from the start.

use mongodb::ClientSession;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, doc, oid};
use postrider_core::mailbox::{MailboxName, SpecialUse};
use postrider_core::{Address, ObjectId, Timestamp};
use postrider_store::{Change, MailboxChange, Quota, ScramKeys, StoreError, User};
use serde::{Deserialize, Serialize};

use crate::codes::{self, address, date, timestamp, to_bson};
use crate::counters::{Additions, Stripe};
use crate::engine::{Engine, Work};
use crate::failure::{Failure, corrupt};
use crate::files::collect;
use crate::mailboxes::{self, AccountDocument, QuotaDocument, key_range, removals};
use crate::schema::{ACCOUNTS, ADDRESSES, MAILBOXES, METADATA, SUBSCRIPTIONS, USERS};

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserDocument {
    /// The address as it is looked up.
    #[serde(rename = "_id")]
    key: String,
    id: oid::ObjectId,
    address: String,
    quota: QuotaDocument,
    password_hash: String,
    scram: ScramDocument,
    /// Absent where nobody has said otherwise.
    #[serde(default = "enabled")]
    is_enabled: bool,
    created_at: DateTime,
    updated_at: DateTime,
}

fn enabled() -> bool {
    true
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScramDocument {
    salt: Binary,
    iterations: u32,
    stored_key: Binary,
    server_key: Binary,
}

pub(crate) async fn add(engine: &Engine, user: &User) -> Result<()> {
    let document = UserDocument {
        key: key(&user.address),
        id: codes::oid(user.id),
        address: format!("{}@{}", user.address.local_part(), user.address.domain_text().to_ascii_lowercase()),
        quota: user.quota.into(),
        password_hash: user.password_hash.clone(),
        scram: scram_document(&user.scram),
        is_enabled: user.is_enabled,
        created_at: date(user.created_at),
        updated_at: date(user.updated_at),
    };
    let added = engine.transaction(&mut Add { document: &document, now: user.created_at }).await;
    added.map_err(|failure| exists(failure, "user", &user.address))?;
    engine.notices.tell(Change::Directory);
    engine.notices.tell_mailboxes([MailboxChange::Mailboxes { user: user.id }]);
    Ok(())
}

/// The failure as callers know it, where an address is taken.
pub(crate) fn exists(failure: Failure, what: &str, address: &Address) -> StoreError {
    match failure {
        Failure::Refused(StoreError::Exists(_)) => StoreError::Exists(format!("{what} {address}")),
        failure => failure.into_error(),
    }
}

struct Add<'a> {
    document: &'a UserDocument,
    now: Timestamp,
}

impl Work for Add<'_> {
    type Output = ();

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<(), Failure> {
        // Users and aliases share one space of addresses.
        let taken = doc! { "_id": &self.document.key };
        engine.collection::<Document>(ADDRESSES).insert_one(taken).session(&mut *session).await?;
        engine.collection::<UserDocument>(USERS).insert_one(self.document).session(&mut *session).await?;
        furnish(engine, session, self.document.id, self.document.quota, self.now).await?;
        Additions::default().write(engine, session, stripe).await
    }
}

/// Gives a user an account, and the mailboxes that each has from the start.
async fn furnish(
    engine: &Engine,
    session: &mut ClientSession,
    user: oid::ObjectId,
    quota: QuotaDocument,
    now: Timestamp,
) -> std::result::Result<(), Failure> {
    let special = SpecialUse::ALL.into_iter().map(|special_use| (special_use.as_str(), Some(special_use)));
    let names = [(MailboxName::INBOX, None)].into_iter().chain(special);
    let first = mailboxes::uid_validity(0, now);
    let (mut documents, mut subscriptions) = (Vec::new(), Vec::new());
    for (uid_validity, (name, special_use)) in (first..).zip(names) {
        let name = MailboxName::parse(name).map_err(corrupt)?;
        subscriptions.push(mailboxes::subscription(user, name.as_str()));
        documents.push(mailboxes::new_mailbox(user, &name, special_use, uid_validity, date(now)));
    }
    let count = i64::try_from(documents.len()).unwrap_or(i64::MAX);
    let account = AccountDocument {
        user,
        quota,
        bytes: 0,
        messages: 0,
        mailboxes: count,
        subscriptions: count,
        annotations: 0,
        uid_validity_next: first + count,
    };
    engine.collection(ACCOUNTS).insert_one(account).session(&mut *session).await?;
    engine.collection(MAILBOXES).insert_many(documents).session(&mut *session).await?;
    engine.collection(SUBSCRIPTIONS).insert_many(subscriptions).session(&mut *session).await?;
    Ok(())
}

pub(crate) async fn find(engine: &Engine, address: &Address) -> Result<Option<User>> {
    let users = engine.collection::<UserDocument>(USERS);
    engine.command(users.find_one(doc! { "_id": key(address) })).await?.map(user).transpose()
}

pub(crate) async fn all(engine: &Engine) -> Result<Vec<User>> {
    let users = engine.collection::<UserDocument>(USERS);
    let find = users.find(doc! {}).sort(doc! { "_id": 1 });
    engine.call(collect(find)).await?.into_iter().map(user).collect()
}

pub(crate) async fn set_password(
    engine: &Engine,
    address: &Address,
    password_hash: String,
    scram: &ScramKeys,
    now: Timestamp,
) -> Result<bool> {
    let set = doc! { "passwordHash": password_hash, "scram": to_bson(&scram_document(scram))?, "updatedAt": date(now) };
    let users = engine.collection::<Document>(USERS);
    let changed = engine.command(users.update_one(doc! { "_id": key(address) }, doc! { "$set": set })).await?;
    engine.notices.tell(Change::Directory);
    Ok(changed.matched_count > 0)
}

pub(crate) async fn set_enabled(engine: &Engine, address: &Address, is_enabled: bool, now: Timestamp) -> Result<bool> {
    let set = doc! { "isEnabled": is_enabled, "updatedAt": date(now) };
    let users = engine.collection::<Document>(USERS);
    let changed = engine.command(users.update_one(doc! { "_id": key(address) }, doc! { "$set": set })).await?;
    engine.notices.tell(Change::Directory);
    Ok(changed.matched_count > 0)
}

pub(crate) async fn set_quota(engine: &Engine, address: &Address, quota: Quota, now: Timestamp) -> Result<bool> {
    let mut work = SetQuota { key: key(address), quota: quota.into(), now };
    let is_there = engine.transaction(&mut work).await.map_err(Failure::into_error)?;
    engine.notices.tell(Change::Directory);
    Ok(is_there)
}

struct SetQuota {
    key: String,
    quota: QuotaDocument,
    now: Timestamp,
}

impl Work for SetQuota {
    type Output = bool;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<bool, Failure> {
        let quota = to_bson(&self.quota)?;
        let users = engine.collection::<Document>(USERS);
        let filter = doc! { "_id": &self.key };
        let Some(user) = users.find_one(filter.clone()).session(&mut *session).await? else { return Ok(false) };
        let set = doc! { "$set": { "quota": &quota, "updatedAt": date(self.now) } };
        users.update_one(filter, set).session(&mut *session).await?;
        // Where a message is put into a mailbox it is read together with what the user keeps already.
        let account = doc! { "_id": user.get_object_id("id").map_err(corrupt)? };
        let accounts = engine.collection::<Document>(ACCOUNTS);
        accounts.update_one(account, doc! { "$set": { "quota": quota } }).session(&mut *session).await?;
        Additions::default().write(engine, session, stripe).await?;
        Ok(true)
    }
}

pub(crate) async fn remove(engine: &Engine, address: &Address) -> Result<bool> {
    let removed = engine.transaction(&mut Remove { key: key(address) }).await.map_err(Failure::into_error)?;
    let Some((user, mailboxes)) = removed else { return Ok(false) };
    engine.notices.tell(Change::Directory);
    let user = codes::id(user);
    let messages = mailboxes.iter().map(|mailbox| MailboxChange::Messages { user, mailbox: codes::id(*mailbox) });
    engine.notices.tell_mailboxes([MailboxChange::Mailboxes { user }].into_iter().chain(messages));
    for mailbox in mailboxes {
        if let Err(error) = removals::clear(engine, mailbox).await {
            tracing::warn!(%error, "the messages of a removed user are left to the next sweep");
            break;
        }
    }
    Ok(true)
}

struct Remove {
    key: String,
}

impl Work for Remove {
    /// The user, and the mailboxes whose entries are still to go.
    type Output = Option<(oid::ObjectId, Vec<oid::ObjectId>)>;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Self::Output, Failure> {
        let filter = doc! { "_id": &self.key };
        let users = engine.collection::<UserDocument>(USERS);
        let Some(user) = users.find_one(filter.clone()).session(&mut *session).await? else { return Ok(None) };
        users.delete_one(filter.clone()).session(&mut *session).await?;
        engine.collection::<Document>(ADDRESSES).delete_one(filter).session(&mut *session).await?;
        let account = doc! { "_id": user.id };
        engine.collection::<Document>(ACCOUNTS).delete_one(account).session(&mut *session).await?;
        for collection in [SUBSCRIPTIONS, METADATA] {
            let filter = doc! { "_id": key_range(user.id) };
            engine.collection::<Document>(collection).delete_many(filter).session(&mut *session).await?;
        }
        let mailboxes = removals::all_of(engine, session, user.id).await?;
        removals::detach(engine, session, &mailboxes).await?;
        Additions::default().write(engine, session, stripe).await?;
        Ok(Some((user.id, mailboxes.into_iter().map(|mailbox| mailbox.id).collect())))
    }
}

/// Gives users of before the first mailboxes what those have who came later.
pub(crate) async fn upgrade(engine: &Engine) -> Result<()> {
    let users = engine.collection::<Document>(USERS);
    let filter = doc! { "_id": { "$gt": "" }, "id": { "$exists": false } };
    for user in engine.select(collect(users.find(filter))).await? {
        let key = user.get_str("_id").map_err(corrupt)?.to_owned();
        let created_at = user.get_datetime("createdAt").copied().map(timestamp).map_err(corrupt)?;
        engine.transaction(&mut Upgrade { key, created_at }).await.map_err(Failure::into_error)?;
    }
    Ok(())
}

struct Upgrade {
    key: String,
    created_at: Timestamp,
}

impl Work for Upgrade {
    type Output = ();

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<(), Failure> {
        let id = codes::oid(ObjectId::new(self.created_at));
        let quota = QuotaDocument::default();
        let filter = doc! { "_id": &self.key, "id": { "$exists": false } };
        let set = doc! { "$set": { "id": id, "quota": to_bson(&quota)? } };
        let users = engine.collection::<Document>(USERS);
        if users.update_one(filter, set).session(&mut *session).await?.matched_count == 0 {
            // Another node was faster.
            return Ok(());
        }
        let taken = doc! { "_id": &self.key };
        engine.collection::<Document>(ADDRESSES).insert_one(taken).session(&mut *session).await?;
        furnish(engine, session, id, quota, Timestamp::system()).await?;
        Additions::default().write(engine, session, stripe).await
    }
}

/// The address as it is looked up: without the case of ASCII letters, and with one spelling of the domain.
pub(crate) fn key(address: &Address) -> String {
    format!("{}@{}", address.local_part().to_ascii_lowercase(), address.domain())
}

fn scram_document(scram: &ScramKeys) -> ScramDocument {
    let binary = |bytes: &[u8]| Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() };
    ScramDocument {
        salt: binary(&scram.salt),
        iterations: scram.iterations,
        stored_key: binary(&scram.stored_key),
        server_key: binary(&scram.server_key),
    }
}

fn user(document: UserDocument) -> Result<User> {
    let key = |binary: Binary| -> Result<[u8; 32]> {
        binary.bytes.try_into().map_err(|_| corrupt(format!("a key of {} is not 32 bytes long", document.key)))
    };
    Ok(User {
        id: codes::id(document.id),
        quota: document.quota.into(),
        is_enabled: document.is_enabled,
        address: address(&document.address)?,
        password_hash: document.password_hash,
        scram: ScramKeys {
            stored_key: key(document.scram.stored_key)?,
            server_key: key(document.scram.server_key)?,
            salt: document.scram.salt.bytes,
            iterations: document.scram.iterations,
        },
        created_at: timestamp(document.created_at),
        updated_at: timestamp(document.updated_at),
    })
}
