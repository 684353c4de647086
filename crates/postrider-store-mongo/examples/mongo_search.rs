//! Measures how e-mails are found on MongoDB:
//! `cargo run --release -p postrider-store-mongo --example mongo_search URL [COUNT [keep]]`.
//!
//! Fills the database of the URL, which must be empty, with the e-mails of the embedded store's example `search`, indexes them as
//! they come, and prints how long queries take that words lead to: the median and the longest of some rounds. Then it drops the
//! database, unless it is to `keep` it.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../postrider-store/examples/search/corpus.rs"]
#[allow(dead_code)]
mod corpus;

use std::sync::Arc;
use std::time::Instant;

use mongodb::bson::{Document, doc};
use postrider_store::*;
use postrider_store_mongo::{MongoOptions, open};

use corpus::{BY_WORDS, EMAILS, IMPORT_EMAILS, email, find, measure_queries, resident_kib};

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).expect("the first argument is the URL of an empty database");
    let count = std::env::args().nth(2).map_or(EMAILS, |count| count.parse().unwrap());
    let store: Arc<dyn Store> = open(MongoOptions::new(url.clone())).await.unwrap();
    let database = mongodb::Client::with_uri_str(&url).await.unwrap().default_database().unwrap();
    assert!(find(&store, "", ListStart::Page(1)).await.emails.is_empty(), "the database is not empty");
    let (started, mut indexing) = (Instant::now(), 0.0);
    for first in (0..count).step_by(IMPORT_EMAILS as usize) {
        let emails = (first..count.min(first + IMPORT_EMAILS)).map(|n| email(n, count, false)).collect();
        store.import(emails).await.unwrap();
        let started = Instant::now();
        index(&store, &database).await;
        indexing += started.elapsed().as_secs_f64();
    }
    println!("{count} e-mails: {:.0} s, {indexing:.0} s of them the index", started.elapsed().as_secs_f64());
    for name in ["emails", "words"] {
        let stats = database.run_command(doc! { "collStats": name }).await.unwrap_or_default();
        println!("{name}: {:?} bytes stored, {:?} in indexes", stats.get("storageSize"), stats.get("totalIndexSize"));
    }
    println!("resident: {} KiB", resident_kib());
    println!("| what | median | longest | found |\n|---|---|---|---|");
    measure_queries(&store, count, BY_WORDS).await;
    println!("resident after all that: {} KiB", resident_kib());
    store.close().await.unwrap();
    if std::env::args().nth(3).is_none_or(|word| word != "keep") {
        database.drop().await.unwrap();
    }
}

/// Searches, which indexes, until all is indexed.
async fn index(store: &Arc<dyn Store>, database: &mongodb::Database) {
    let unindexed = database.collection::<Document>("unindexed");
    loop {
        find(store, "nothingatall", ListStart::Page(1)).await;
        if unindexed.find_one(doc! {}).await.unwrap().is_none() {
            return;
        }
    }
}
