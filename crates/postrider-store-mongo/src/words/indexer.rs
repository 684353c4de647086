//! Who writes the index: the first node, behind what is accepted, and whoever searches.
//!
//! The more mail comes, the longer the node pauses between parts, as the indexer of SQLite does. Nothing it does must be done by
//! it: parts are the same whoever carries them out, and what two carry out at the same time one of them finds done.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::TryStreamExt as _;
use mongodb::ClientSession;
use mongodb::bson::{Document, doc, oid};
use mongodb::options::Hint;
use postrider_store::StoreError;
use postrider_store::indexing::{FAILED_PAUSE, GATHER, LOOK_INTERVAL, pauses};

use super::{Result, STATE, document, noted};
use crate::counters::Stripe;
use crate::engine::{Engine, Work};
use crate::failure::{Failure, is_duplicate, store_error};
use crate::schema::{EMAILS, META, UNINDEXED, WORDS};

/// E-mails in one transaction.
const PART_EMAILS: i64 = 128;

/// E-mails of an older database that are noted together.
const NOTE_EMAILS: i64 = 1_000;

/// E-mails that the server sends together: each may be of megabytes.
const READ_EMAILS: u32 = 16;

/// From this size on words are taken out of a text on a thread made for blocking work, in bytes.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Indexes as long as the engine is open, while this process has the first node.
pub(crate) async fn keep(engine: Weak<Engine>, is_first: Arc<AtomicBool>) {
    let (mut has_failed, mut looked_at) = (false, Instant::now());
    loop {
        let Some(engine) = engine.upgrade().filter(|engine| !engine.is_closed()) else { return };
        let came = engine.words.came.swap(0, Ordering::Relaxed);
        let pauses = pauses(came, looked_at.elapsed());
        looked_at = Instant::now();
        let done = if is_first.load(Ordering::Relaxed) { part(&engine).await } else { Ok(false) };
        if let Err(error) = &done
            && !has_failed
        {
            tracing::warn!(%error, "the full-text index cannot be brought up to date; it is tried again");
        }
        has_failed = done.is_err();
        match done {
            Err(_) => tokio::time::sleep(FAILED_PAUSE).await,
            Ok(true) => tokio::time::sleep(looked_at.elapsed().mul_f64(pauses)).await,
            Ok(false) => {
                let _ = tokio::time::timeout(LOOK_INTERVAL, engine.words.rung.notified()).await;
                tokio::time::sleep(GATHER).await;
            }
        }
    }
}

/// Indexes some of what is noted, or notes some of what was there before. Returns whether there was anything to do.
pub(super) async fn part(engine: &Engine) -> Result<bool> {
    let _turn = engine.words.turn.lock().await;
    let emails = noted(engine, PART_EMAILS).await?;
    if emails.is_empty() {
        return note_older(engine).await;
    }
    let words = engine.select(read(engine, &emails)).await?;
    engine.transaction(&mut Write { emails, words }).await.map_err(Failure::into_error)?;
    Ok(true)
}

/// The words of e-mails, as documents. Those that are gone have none.
async fn read(engine: &Engine, ids: &[oid::ObjectId]) -> Result<Vec<Document>> {
    let emails = engine.collection::<Document>(EMAILS);
    let listed = doc! { "_id": { "$in": ids }, "isListed": { "$ne": false } };
    let wanted = doc! { "subject": 1, "sender": 1, "recipients": 1, "messageId": 1, "text": 1 };
    let driver = |error: mongodb::error::Error| store_error(&error);
    let mut cursor = emails.find(listed).projection(wanted).batch_size(READ_EMAILS).await.map_err(driver)?;
    let mut words = Vec::with_capacity(ids.len());
    while let Some(email) = cursor.try_next().await.map_err(driver)? {
        let Ok(id) = email.get_object_id("_id") else { continue };
        if email.get_str("text").is_ok_and(|text| text.len() > INLINE_BYTES_MAX) {
            let taken = tokio::task::spawn_blocking(move || document(id, &email)).await;
            words.push(taken.map_err(|error| StoreError::Unavailable(format!("internal error: {error}")))?);
        } else {
            words.push(document(id, &email));
        }
    }
    Ok(words)
}

struct Write {
    emails: Vec<oid::ObjectId>,
    words: Vec<Document>,
}

impl Work for Write {
    type Output = ();

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        _: Stripe,
    ) -> std::result::Result<(), Failure> {
        let (notes, words) = (engine.collection::<Document>(UNINDEXED), engine.collection::<Document>(WORDS));
        // What was deleted meanwhile, or indexed by another, is noted no more.
        let mut cursor = notes.find(doc! { "_id": { "$in": &self.emails } }).session(&mut *session).await?;
        let mut still = HashSet::new();
        while let Some(note) = cursor.next(&mut *session).await {
            still.extend(note?.get_object_id("_id").ok());
        }
        drop(cursor);
        if still.is_empty() {
            return Ok(());
        }
        let these = doc! { "_id": { "$in": still.iter().copied().collect::<Vec<_>>() } };
        words.delete_many(these.clone()).session(&mut *session).await?;
        let is_noted = |words: &&Document| words.get_object_id("_id").is_ok_and(|id| still.contains(&id));
        let written: Vec<&Document> = self.words.iter().filter(is_noted).collect();
        if !written.is_empty() {
            words.insert_many(written).session(&mut *session).await?;
        }
        notes.delete_many(these).session(&mut *session).await?;
        Ok(())
    }
}

/// E-mails of an older database are all to be noted, the newest first.
pub(crate) async fn upgrade(engine: &Engine) -> Result<()> {
    let meta = engine.collection::<Document>(META);
    let from = doc! { "$setOnInsert": { "notedFrom": oid::ObjectId::from_bytes([0xff; 12]) } };
    engine.command(meta.update_one(doc! { "_id": STATE }, from).upsert(true)).await?;
    tracing::info!("the full-text index is built by and by; until that is done, searches read the texts themselves");
    Ok(())
}

/// Notes some e-mails of an older database, if there are any. What a crash has repeated changes nothing.
async fn note_older(engine: &Engine) -> Result<bool> {
    let meta = engine.collection::<Document>(META);
    let Some(state) = engine.command(meta.find_one(doc! { "_id": STATE })).await? else { return Ok(false) };
    let from = state.get_object_id("notedFrom").map_err(crate::failure::corrupt)?;
    let emails = engine.collection::<Document>(EMAILS);
    let before = doc! { "search": { "$gte": "" }, "_id": { "$lt": from } };
    let find = emails.find(before).sort(doc! { "_id": -1 }).limit(NOTE_EMAILS).projection(doc! { "_id": 1 });
    let notes = engine.select(crate::files::collect(find.hint(Hint::Name("search".into())))).await?;
    if !notes.is_empty() {
        let unindexed = engine.collection::<Document>(UNINDEXED);
        let inserted = async {
            match unindexed.insert_many(&notes).ordered(false).await {
                // Some are noted already.
                Err(error) if !is_duplicate(&error) => Err(store_error(&error)),
                _ => Ok(()),
            }
        };
        engine.call(inserted).await?;
    }
    let this = doc! { "_id": STATE, "notedFrom": from };
    match notes.last().and_then(|last| last.get_object_id("_id").ok()) {
        Some(last) if notes.len() as i64 == NOTE_EMAILS => {
            engine.command(meta.update_one(this, doc! { "$set": { "notedFrom": last } })).await?;
        }
        _ => {
            engine.command(meta.delete_one(this)).await?;
        }
    }
    Ok(true)
}
