//! The plain loop that `cargo xtask bench mongo` compares with: documents inserted one by one, each durable on a majority
//! before the next, from a number of tasks. It knows nothing of Postrider.
//!
//! `sample URL FILE COUNT` keeps documents of `emails` in a file. `insert URL FILE TASKS` reads numbers from standard input,
//! one a line, inserts as many of these documents into `emails`, each under a new `_id`, and answers with the microseconds
//! that this took. `drop URL` drops the database.

#![allow(clippy::print_stdout, reason = "it answers on standard output")]

use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};
use mongodb::{Client, Collection, Database};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "usage: sample URL FILE COUNT | insert URL FILE TASKS | drop URL";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["sample", url, file, count] => sample(&database(url, 1).await?, file, count.parse()?).await,
        ["insert", url, file, tasks] => {
            let tasks = tasks.parse()?;
            insert_as_told(&database(url, tasks).await?, file, tasks).await
        }
        ["drop", url] => Ok(database(url, 1).await?.drop().await?),
        _ => Err(USAGE.into()),
    }
}

/// The URL's database. Each task can have a connection of its own.
async fn database(url: &str, tasks: u32) -> Result<Database> {
    let mut options = ClientOptions::parse(url).await?;
    options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
    options.max_pool_size = Some(tasks);
    let client = Client::with_options(options)?;
    client.default_database().ok_or_else(|| "the URL names no database".into())
}

async fn sample(database: &Database, file: &str, count: i64) -> Result<()> {
    let emails: Collection<RawDocumentBuf> = database.collection("emails");
    let mut found = emails.find(doc! {}).limit(count).await?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(file)?);
    while found.advance().await? {
        // BSON tells its own length.
        file.write_all(found.current().as_bytes())?;
    }
    Ok(file.flush()?)
}

async fn insert_as_told(database: &Database, file: &str, tasks: u32) -> Result<()> {
    let bytes = std::fs::read(file)?;
    let mut rest = bytes.as_slice();
    let mut documents = Vec::new();
    while !rest.is_empty() {
        documents.push(Document::from_reader(&mut rest)?);
    }
    if documents.is_empty() {
        return Err(format!("{file} holds no documents").into());
    }
    let documents = Arc::new(documents);
    for line in std::io::stdin().lock().lines() {
        let count = line?.trim().parse()?;
        let started = Instant::now();
        insert(database, &documents, count, tasks).await?;
        println!("{}", started.elapsed().as_micros());
    }
    Ok(())
}

async fn insert(database: &Database, documents: &Arc<Vec<Document>>, count: u64, tasks: u32) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut inserting = JoinSet::new();
    for _ in 0..tasks {
        let (next, documents) = (next.clone(), documents.clone());
        let emails: Collection<Document> = database.collection("emails");
        inserting.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return Ok::<(), mongodb::error::Error>(());
                }
                let mut document = documents[usize::try_from(n).unwrap_or(0) % documents.len()].clone();
                document.insert("_id", ObjectId::new());
                emails.insert_one(document).await?;
            }
        });
    }
    while let Some(ended) = inserting.join_next().await {
        ended??;
    }
    Ok(())
}
