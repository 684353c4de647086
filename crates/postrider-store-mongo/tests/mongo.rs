//! The MongoDB engine: the suite of all engines, and what only this one promises.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use postrider_store::Store;
use postrider_store::conformance::Harness;
use postrider_store_mongo::{LeaseClock, MongoOptions, MongoStore};
use postrider_testkit::{MongoDatabase, MongoServer};
use tokio::sync::OnceCell;

/// A database of its own on the server that all tests share.
#[derive(Debug, Default)]
struct Mongo {
    database: OnceCell<MongoDatabase>,
    other: OnceCell<MongoDatabase>,
}

impl Mongo {
    async fn url(&self) -> &str {
        fresh(&self.database).await
    }
}

async fn fresh(database: &OnceCell<MongoDatabase>) -> &str {
    database.get_or_init(async || MongoServer::shared().await.database()).await.url()
}

/// Options with which a test brings its own time.
fn options(url: &str) -> MongoOptions {
    MongoOptions { lease_clock: LeaseClock::Callers, ..MongoOptions::new(url) }
}

#[async_trait]
impl Harness for Mongo {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(MongoStore::open(options(self.url().await)).await.unwrap())
    }

    async fn open_other(&self) -> Arc<dyn Store> {
        Arc::new(MongoStore::open(options(fresh(&self.other).await)).await.unwrap())
    }

    fn is_single_process(&self) -> bool {
        false
    }
}

mod conformance {
    use super::Mongo;

    postrider_store::conformance_suite!(Mongo::default());
}
