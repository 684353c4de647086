//! Measures how e-mails are found: `cargo run --release -p postrider-store --example search [COUNT [FOLDER [keep]]]`.
//!
//! Fills a store with small e-mails, a million unless told otherwise, waits until all of them are indexed, and prints how long
//! lists, queries and statistics take: the median and the longest of some rounds, and the memory before and after. With `keep`
//! it measures nothing: every tenth e-mail is deferred for a day, and the store stays, to start a server on.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod corpus;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use postrider_store::*;

use corpus::{EMAILS, IMPORT_EMAILS, email, find, measure_all, resident_kib};

#[tokio::main]
async fn main() {
    let count = std::env::args().nth(1).map_or(EMAILS, |count| count.parse().unwrap());
    let folder =
        std::env::args_os().nth(2).map_or_else(|| std::env::temp_dir().join("postrider-search"), PathBuf::from);
    let _ = std::fs::remove_dir_all(&folder);
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteOptions::new(&folder)).unwrap());
    let is_kept = std::env::args().nth(3).is_some_and(|word| word == "keep");
    let started = Instant::now();
    for first in (0..count).step_by(IMPORT_EMAILS as usize) {
        let emails = (first..count.min(first + IMPORT_EMAILS)).map(|n| email(n, count, is_kept)).collect();
        store.import(emails).await.unwrap();
    }
    println!("{count} e-mails: {:.0} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    while find(&store, "nothingatall", ListStart::Page(1)).await.is_incomplete {}
    println!("the rest of the index: {:.0} s", started.elapsed().as_secs_f64());
    let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len() >> 20);
    println!("database {} MiB, index {} MiB", size("postrider.db"), size("postrider-search.db"));
    store.close().await.unwrap();
    drop(store);
    if is_kept {
        return;
    }

    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteOptions::new(&folder)).unwrap());
    println!("resident: {} KiB", resident_kib());
    measure_all(&store, count).await;
    println!("resident after all that: {} KiB", resident_kib());
    store.close().await.unwrap();
    drop(store);
    std::fs::remove_dir_all(&folder).unwrap();
}
