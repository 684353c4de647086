//! The full-text index: the words of each e-mail in a document of their own, written behind the commits.
//!
//! Who accepts an e-mail notes it in `unindexed`, in the same transaction. The first node follows these notes ([`indexer`]):
//! it reads the e-mails, and writes their words in the transaction that removes the notes. So accepting waits for no index,
//! and a crash loses no note. Deleting an e-mail removes its note and its words; the note is what both write, so that of two
//! at the same time the server lets one begin anew. Who searches indexes what is noted first, and looks at what is left
//! itself ([`missing`]).

mod asked;
mod indexer;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc, oid};
use postrider_core::query::WordsOf;
use postrider_store::StoreError;
use tokio::sync::Notify;

pub(crate) use asked::{Asked, is_decided};
pub(crate) use indexer::{keep, upgrade};

use crate::engine::Engine;
use crate::failure::Failure;
use crate::files::collect;
use crate::schema::{META, UNINDEXED, WORDS};

type Result<T> = std::result::Result<T, StoreError>;

/// Different words of one e-mail in the index. One that has more is looked at itself by whoever searches.
const WORDS_MAX: usize = 4_000;

/// Stands among the words of an e-mail that has more than these. No word is this: words are letters and digits.
pub(crate) const AND_MORE: &str = "+";

/// E-mails without words in the index that a search looks at one by one. Where there are more, the texts are read instead.
const MISSING_MAX: i64 = 2_000;

/// How long a search works on the index before it looks at what is there.
const CATCH_UP_MAX: Duration = Duration::from_millis(500);

/// Of the documents in `meta`, the one that says how far an older database is noted.
const STATE: &str = "words";

/// What this process knows of its indexing.
#[derive(Debug, Default)]
pub(crate) struct Index {
    came: AtomicUsize,
    rung: Notify,
    /// Two parts at the same time would be of the same e-mails.
    turn: tokio::sync::Mutex<()>,
}

impl Index {
    /// So many e-mails are noted, or about to be.
    fn ring(&self, emails: usize) {
        self.came.fetch_add(emails, Ordering::Relaxed);
        self.rung.notify_one();
    }
}

/// Notes e-mails that came into lists, in the transaction that writes them.
pub(crate) async fn note(
    engine: &Engine,
    session: &mut ClientSession,
    emails: Vec<oid::ObjectId>,
) -> std::result::Result<(), Failure> {
    if emails.is_empty() {
        return Ok(());
    }
    engine.words.ring(emails.len());
    let notes: Vec<Document> = emails.into_iter().map(|email| doc! { "_id": email }).collect();
    engine.collection::<Document>(UNINDEXED).insert_many(notes).session(session).await?;
    Ok(())
}

/// Removes the notes and words of e-mails that leave the lists, in the transaction by which they do.
pub(crate) async fn forget(
    engine: &Engine,
    session: &mut ClientSession,
    emails: &[oid::ObjectId],
) -> std::result::Result<(), Failure> {
    for collection in [UNINDEXED, WORDS] {
        let these = doc! { "_id": { "$in": emails } };
        engine.collection::<Document>(collection).delete_many(these).session(&mut *session).await?;
    }
    Ok(())
}

/// Removes words whose e-mails are gone: one that was deleted while an older database was being noted may leave some.
pub(crate) async fn remove_stale(engine: &Engine, emails: Vec<oid::ObjectId>) {
    let words = engine.collection::<Document>(WORDS);
    if let Err(error) = engine.command(words.delete_many(doc! { "_id": { "$in": emails } })).await {
        tracing::debug!(%error, "the words of deleted e-mails are left to the next search");
    }
}

/// Indexes what is noted, but not for long. Answers as [`missing`].
pub(crate) async fn catch_up(engine: &Engine) -> Result<Option<Vec<oid::ObjectId>>> {
    let started = Instant::now();
    loop {
        let missing = missing(engine).await?;
        let is_some = missing.as_ref().is_some_and(|missing| !missing.is_empty());
        if !is_some || started.elapsed() > CATCH_UP_MAX {
            return Ok(missing);
        }
        if let Err(error) = indexer::part(engine).await {
            tracing::debug!(%error, "what is not indexed yet is looked at one by one");
            return Ok(missing);
        }
    }
}

/// The e-mails that the index may not have; `None` where these are too many to be looked at one by one.
async fn missing(engine: &Engine) -> Result<Option<Vec<oid::ObjectId>>> {
    let meta = engine.collection::<Document>(META);
    if engine.command(meta.find_one(doc! { "_id": STATE })).await?.is_some() {
        return Ok(None);
    }
    let noted = noted(engine, MISSING_MAX + 1).await?;
    Ok((noted.len() as i64 <= MISSING_MAX).then_some(noted))
}

/// So many of the e-mails that are noted.
async fn noted(engine: &Engine, count: i64) -> Result<Vec<oid::ObjectId>> {
    let notes = engine.collection::<Document>(UNINDEXED);
    let any = doc! { "_id": { "$gte": oid::ObjectId::from_bytes([0; 12]) } };
    let found = engine.call(collect(notes.find(any).sort(doc! { "_id": 1 }).limit(count))).await?;
    Ok(found.iter().filter_map(|note| note.get_object_id("_id").ok()).collect())
}

/// The words of an e-mail as the index has them: each once, those of its text last.
fn document(id: oid::ObjectId, email: &Document) -> Document {
    let mut seen = HashSet::new();
    let mut words = Vec::new();
    let recipients = email.get_array("recipients").map(Vec::as_slice).unwrap_or_default();
    let fields = ["subject", "sender", "messageId"].into_iter().filter_map(|field| email.get_str(field).ok());
    let texts = fields.chain(recipients.iter().filter_map(Bson::as_str)).chain(email.get_str("text").ok());
    for word in texts.flat_map(WordsOf::new) {
        if seen.contains(&word) {
            continue;
        }
        if words.len() == WORDS_MAX {
            words.push(Bson::from(AND_MORE));
            break;
        }
        seen.insert(word.clone());
        words.push(Bson::String(word));
    }
    doc! { "_id": id, "email": id, "words": words }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(email: &Document) -> Vec<String> {
        let words = document(oid::ObjectId::from_bytes([7; 12]), email);
        words.get_array("words").unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn an_email_has_the_words_of_its_fields_and_its_text_once() {
        let email = doc! {
            "subject": "Your Invoice", "sender": "ann@one.example", "messageId": Bson::Null,
            "recipients": ["bob@one.example"], "text": "Please pay the invoice, Bob!",
        };
        let expected = ["your", "invoice", "ann", "one", "example", "bob", "please", "pay", "the"];
        assert_eq!(words(&email), expected);
        // A text so large that it is a file is in no document, and so it was never looked for.
        assert_eq!(words(&doc! { "subject": Bson::Null, "text": oid::ObjectId::new() }), [""; 0]);
    }

    #[test]
    fn an_email_with_too_many_words_says_so() {
        let text = |count: usize| (0..count).map(|n| format!("w{n} ")).collect::<String>();
        let exact = words(&doc! { "text": text(WORDS_MAX) });
        assert_eq!((exact.len(), exact.last().unwrap().as_str()), (WORDS_MAX, "w3999"));
        let more = words(&doc! { "text": text(WORDS_MAX + 1) });
        assert_eq!((more.len(), more.last().unwrap().as_str()), (WORDS_MAX + 1, AND_MORE));
    }
}
