//! The users.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, doc};
use postrider_core::{Address, Timestamp};
use postrider_store::{Change, Quota, ScramKeys, StoreError, User, UserId};
use serde::{Deserialize, Serialize};

use crate::codes::{address, date, timestamp, to_bson};
use crate::engine::Engine;
use crate::failure::{corrupt, is_duplicate, store_error};
use crate::files::collect;
use crate::schema::USERS;

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserDocument {
    /// The address as it is looked up.
    #[serde(rename = "_id")]
    key: String,
    address: String,
    password_hash: String,
    scram: ScramDocument,
    created_at: DateTime,
    updated_at: DateTime,
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
        address: format!("{}@{}", user.address.local_part(), user.address.domain_text().to_ascii_lowercase()),
        password_hash: user.password_hash.clone(),
        scram: scram_document(&user.scram),
        created_at: date(user.created_at),
        updated_at: date(user.updated_at),
    };
    let users = engine.collection::<UserDocument>(USERS);
    let added = engine.call(async {
        users.insert_one(document).await.map_err(|error| {
            if is_duplicate(&error) {
                StoreError::Exists(format!("user {}", user.address))
            } else {
                store_error(&error)
            }
        })
    });
    added.await?;
    engine.notices.tell(Change::Directory);
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

pub(crate) async fn remove(engine: &Engine, address: &Address) -> Result<bool> {
    let users = engine.collection::<Document>(USERS);
    let removed = engine.command(users.delete_one(doc! { "_id": key(address) })).await?;
    engine.notices.tell(Change::Directory);
    Ok(removed.deleted_count > 0)
}

/// The address as it is looked up: without the case of ASCII letters, and with one spelling of the domain.
fn key(address: &Address) -> String {
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
        id: UserId::default(),
        quota: Quota::default(),
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
