//! The SQLite engine: the suite of all engines, and what only this one promises.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use postrider_store::conformance::Harness;
use postrider_store::{SqliteOptions, SqliteStore, Store};
use tempfile::TempDir;

/// A store in a temporary folder.
#[derive(Debug)]
struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(SqliteOptions::new(self.path())).unwrap())
    }

    fn is_single_process(&self) -> bool {
        true
    }
}

mod conformance {
    use super::Sqlite;

    postrider_store::conformance_suite!(Sqlite::new());
}
