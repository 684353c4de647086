//! The collections, their indexes, and how an older database becomes one of this version.
//!
//! Why each index is there stands in docs/mongodb.md, which a test holds against this list. Indexes are built while
//! others read and write.

use mongodb::Database;
use mongodb::bson::{Document, doc};
use postrider_store::StoreError;

use crate::failure::{is_duplicate, store_error};

/// The version of this program's schema, kept in the document `schema` of `meta`. Each step from one version to the next
/// stands in [`prepare`], in [`crate::users::upgrade`] or in [`crate::words::upgrade`], and may be carried out twice.
pub(crate) const VERSION: i64 = 10;

/// Since this version e-mails come into the index of words as they are accepted.
pub(crate) const WORDS_SINCE: i64 = 10;

/// E-mails, in the shape that other programs read.
pub(crate) const EMAILS: &str = "emails";
/// One document for each recipient that is delivered elsewhere.
pub(crate) const DELIVERIES: &str = "deliveries";
/// One document for each attempt.
pub(crate) const ATTEMPTS: &str = "attempts";
/// The nodes and their leases.
pub(crate) const NODES: &str = "nodes";
/// How many e-mails have each status, and how many deliveries ended when.
pub(crate) const COUNTERS: &str = "counters";
/// Why a delivery to a domain was deferred last.
pub(crate) const DOMAINS: &str = "domains";
/// What changed: nodes hear of each other by these.
pub(crate) const NOTICES: &str = "notices";
pub(crate) const USERS: &str = "users";
/// The addresses that users and aliases have.
pub(crate) const ADDRESSES: &str = "addresses";
pub(crate) const ALIASES: &str = "aliases";
/// The domains whose mail is kept here.
pub(crate) const LOCAL_DOMAINS: &str = "localDomains";
/// What each user keeps, and may keep.
pub(crate) const ACCOUNTS: &str = "accounts";
pub(crate) const MAILBOXES: &str = "mailboxes";
/// The messages in mailboxes.
pub(crate) const ENTRIES: &str = "entries";
/// What was expunged from mailboxes.
pub(crate) const EXPUNGED: &str = "expunged";
/// What mailboxes need of messages, and what keeps these.
pub(crate) const DIGESTS: &str = "digests";
pub(crate) const SUBSCRIPTIONS: &str = "subscriptions";
/// Who changed what.
pub(crate) const AUDIT: &str = "audit";
/// What was done when.
pub(crate) const HISTORY: &str = "history";
/// What was sent from which address when.
pub(crate) const ADDRESS_HISTORY: &str = "addressHistory";
pub(crate) const METADATA: &str = "metadata";
/// Mailboxes that are gone, and whose entries are still to go.
pub(crate) const REMOVALS: &str = "removals";
/// What parts of the program keep under names of their own.
pub(crate) const NOTES: &str = "notes";
/// The addresses that nothing is sent to.
pub(crate) const SUPPRESSIONS: &str = "suppressions";
/// What happened.
pub(crate) const EVENTS: &str = "events";
/// Who is told of it.
pub(crate) const CALLS: &str = "calls";
/// Requests that came with a key.
pub(crate) const REQUESTS: &str = "requests";
/// The words of e-mails.
pub(crate) const WORDS: &str = "words";
/// E-mails whose words are still to be written.
pub(crate) const UNINDEXED: &str = "unindexed";
pub(crate) const META: &str = "meta";

const COLLECTIONS: &[&str] = &[
    EMAILS,
    DELIVERIES,
    ATTEMPTS,
    NODES,
    COUNTERS,
    DOMAINS,
    NOTICES,
    USERS,
    ADDRESSES,
    ALIASES,
    LOCAL_DOMAINS,
    ACCOUNTS,
    MAILBOXES,
    ENTRIES,
    EXPUNGED,
    DIGESTS,
    SUBSCRIPTIONS,
    METADATA,
    REMOVALS,
    NOTES,
    SUPPRESSIONS,
    EVENTS,
    CALLS,
    REQUESTS,
    AUDIT,
    HISTORY,
    ADDRESS_HISTORY,
    WORDS,
    UNINDEXED,
    META,
];

/// The indexes beside those on `_id`.
pub(crate) fn indexes() -> Vec<(&'static str, Vec<Document>)> {
    vec![
        (
            EMAILS,
            vec![
                doc! { "name": "status", "key": { "status": 1, "_id": -1 } },
                doc! { "name": "search", "key": { "_id": -1, "createdAt": 1, "direction": 1, "search": 1 } },
                doc! {
                    "name": "tags",
                    "key": { "tags": 1, "_id": -1 },
                    "partialFilterExpression": { "tags": { "$exists": true } },
                },
            ],
        ),
        (
            DELIVERIES,
            vec![
                doc! {
                    "name": "claimable",
                    "key": { "domain": 1, "readyAt": 1, "_id": 1, "status": 1 },
                    "partialFilterExpression": { "readyAt": { "$exists": true } },
                },
                doc! {
                    "name": "due",
                    "key": { "readyAt": 1, "_id": 1, "domain": 1 },
                    "partialFilterExpression": { "readyAt": { "$exists": true } },
                },
                doc! {
                    "name": "lines",
                    "key": { "domain": 1, "rank": 1, "readyAt": 1, "_id": 1 },
                    "partialFilterExpression": { "readyAt": { "$exists": true } },
                },
                doc! {
                    "name": "ranked",
                    "key": { "rank": 1, "readyAt": 1, "_id": 1, "domain": 1 },
                    "partialFilterExpression": { "rank": { "$exists": true }, "readyAt": { "$exists": true } },
                },
                doc! {
                    "name": "owned",
                    "key": { "owner": 1, "domain": 1, "status": 1 },
                    "partialFilterExpression": { "owner": { "$exists": true } },
                },
                doc! {
                    "name": "resting",
                    "key": { "status": 1, "domain": 1 },
                    "partialFilterExpression": { "resting": true },
                },
            ],
        ),
        (COUNTERS, vec![doc! { "name": "expiry", "key": { "expireAt": 1 }, "expireAfterSeconds": 0 }]),
        (DOMAINS, vec![doc! { "name": "expiry", "key": { "at": 1 }, "expireAfterSeconds": 7 * 24 * 3600 }]),
        (NOTICES, vec![doc! { "name": "expiry", "key": { "at": 1 }, "expireAfterSeconds": 120 }]),
        (MAILBOXES, vec![doc! { "name": "name", "key": { "user": 1, "name": 1 }, "unique": true }]),
        (
            ENTRIES,
            vec![
                doc! { "name": "changed", "key": { "mailbox": 1, "modseq": 1 } },
                doc! {
                    "name": "deleted",
                    "key": { "mailbox": 1, "_id": 1 },
                    "partialFilterExpression": { "isDeleted": true },
                },
            ],
        ),
        (
            EVENTS,
            vec![
                doc! {
                    "name": "unnumbered",
                    "key": { "isNew": 1, "_id": 1 },
                    "partialFilterExpression": { "isNew": { "$exists": true } },
                },
                doc! { "name": "number", "key": { "number": 1 }, "partialFilterExpression": { "number": { "$exists": true } } },
                doc! { "name": "at", "key": { "at": 1 } },
            ],
        ),
        (
            CALLS,
            vec![
                doc! {
                    "name": "due",
                    "key": { "endpoint": 1, "dueAt": 1 },
                    "partialFilterExpression": { "dueAt": { "$exists": true } },
                },
                doc! { "name": "email", "key": { "email": 1, "at": 1 } },
                doc! { "name": "state", "key": { "state": 1, "at": -1, "_id": -1 } },
                doc! { "name": "endpoint", "key": { "endpoint": 1, "at": -1, "_id": -1 } },
                doc! { "name": "newest", "key": { "at": -1, "_id": -1 } },
            ],
        ),
        (REQUESTS, vec![doc! { "name": "old", "key": { "at": 1 } }]),
        (AUDIT, vec![doc! { "name": "newest", "key": { "at": -1, "_id": -1 } }]),
        (HISTORY, vec![doc! { "name": "spans", "key": { "step": 1, "at": 1 } }]),
        (ADDRESS_HISTORY, vec![doc! { "name": "hours", "key": { "at": 1 } }]),
        (WORDS, vec![doc! { "name": "words", "key": { "words": 1, "email": -1 } }]),
        (SUPPRESSIONS, vec![doc! { "name": "newest", "key": { "createdAt": -1, "_id": -1 } }]),
    ]
}

/// Makes the collections and indexes of this version, if the database is older, and answers of which version it is, 0 for an empty
/// one. Then what is in it is to be brought forward, and that be noted by [`note`].
pub(crate) async fn prepare(database: &Database) -> Result<Option<i64>, StoreError> {
    let version = version(database).await?.unwrap_or(0);
    if version > VERSION {
        return Err(StoreError::Corrupt(format!(
            "the database is of schema version {version}, this program knows up to {VERSION}; use the newer Postrider that \
             wrote it, or a backup from before"
        )));
    }
    if version == VERSION {
        return Ok(None);
    }
    for name in COLLECTIONS {
        create(database, name).await?;
    }
    for (collection, indexes) in indexes() {
        let command = doc! { "createIndexes": collection, "indexes": indexes };
        database.run_command(command).await.map_err(|error| store_error(&error))?;
    }
    Ok(Some(version))
}

/// Notes that all in the database is of this version. Several nodes may come here at the same time: each did the same.
pub(crate) async fn note(database: &Database) -> Result<(), StoreError> {
    database
        .collection::<Document>(META)
        .update_one(doc! { "_id": "schema" }, doc! { "$max": { "version": VERSION } })
        .upsert(true)
        .await
        .map_err(|error| store_error(&error))?;
    tracing::info!(store.schema_version = VERSION, "the database was brought to a newer schema");
    Ok(())
}

/// The version of the database; `None` for an empty one.
pub(crate) async fn version(database: &Database) -> Result<Option<i64>, StoreError> {
    let found = database.collection::<Document>(META).find_one(doc! { "_id": "schema" }).await;
    let document = found.map_err(|error| store_error(&error))?;
    // $max wrote a 64-bit number; a person's shell may have made another of it.
    Ok(document.and_then(|document| match document.get("version") {
        Some(mongodb::bson::Bson::Int32(version)) => Some(i64::from(*version)),
        Some(mongodb::bson::Bson::Int64(version)) => Some(*version),
        _ => None,
    }))
}

async fn create(database: &Database, name: &str) -> Result<(), StoreError> {
    const NAMESPACE_EXISTS: i32 = 48;
    match database.create_collection(name).await {
        Ok(()) => Ok(()),
        Err(error) if is_duplicate(&error) => Ok(()),
        Err(error) => match error.kind.as_ref() {
            mongodb::error::ErrorKind::Command(command) if command.code == NAMESPACE_EXISTS => Ok(()),
            _ => Err(store_error(&error)),
        },
    }
}
