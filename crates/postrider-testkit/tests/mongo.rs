//! The test server for MongoDB keeps what the tests build on: what it acknowledged survives a SIGKILL, and a client that is
//! cut off from it finds out.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};
use mongodb::{Client, Collection};
use postrider_testkit::{MongoServer, ProxyMode, TcpProxy};

/// How long a client waits for the server here.
const PATIENCE: Duration = Duration::from_millis(500);

async fn collection(url: &str) -> Collection<Document> {
    let mut options = ClientOptions::parse(url).await.unwrap();
    options.server_selection_timeout = Some(PATIENCE);
    options.connect_timeout = Some(PATIENCE);
    options.retry_reads = Some(false);
    options.retry_writes = Some(false);
    options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
    let client = Client::with_options(options).unwrap();
    client.default_database().unwrap().collection("things")
}

#[tokio::test]
async fn a_killed_server_comes_back_with_all_that_it_acknowledged() {
    let Some(mut server) = MongoServer::start_own().await else { return };
    let database = server.database();
    let proxy = TcpProxy::start(server.address()).await;
    let things = collection(&database.url_through(proxy.address())).await;
    for number in 0..20 {
        things.insert_one(doc! { "_id": number }).await.unwrap();
    }
    server.kill();
    things.insert_one(doc! { "_id": 20 }).await.unwrap_err();
    server.restart().await;
    let count = postrider_testkit::eventually("the server", async || things.count_documents(doc! {}).await.ok()).await;
    assert_eq!(count, 20);
    server.restart().await;
    let direct = collection(database.url()).await;
    assert_eq!(direct.count_documents(doc! {}).await.unwrap(), 20);
}

#[tokio::test]
async fn a_call_into_silence_ends_with_its_time_out() {
    let Some(mut server) = MongoServer::start_own().await else { return };
    let database = server.database();
    let proxy = TcpProxy::start(server.address()).await;
    let things = collection(&database.url_through(proxy.address())).await;
    things.insert_one(doc! { "_id": 1 }).await.unwrap();
    let answer = async || tokio::time::timeout(PATIENCE, things.find_one(doc! {})).await.ok()?.ok()?;
    proxy.set(ProxyMode::Drop).await;
    let started = Instant::now();
    assert_eq!(answer().await, None);
    assert!(started.elapsed() < 2 * PATIENCE);
    proxy.set(ProxyMode::Pass).await;
    postrider_testkit::eventually("an answer", answer).await;
    server.stop();
    assert_eq!(answer().await, None);
    server.go_on();
    postrider_testkit::eventually("an answer", answer).await;
}

#[tokio::test]
async fn all_tests_share_a_server_with_a_database_for_each() {
    let server = MongoServer::shared().await;
    let (one, two) = (server.database(), server.database());
    collection(one.url()).await.insert_one(doc! { "_id": 1 }).await.unwrap();
    collection(two.url()).await.insert_one(doc! { "_id": 1 }).await.unwrap();
    assert_eq!(collection(one.url()).await.count_documents(doc! {}).await.unwrap(), 1);
    assert!(std::ptr::eq(server, MongoServer::shared().await));
}
