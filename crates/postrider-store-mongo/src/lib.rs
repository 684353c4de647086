//! The store on MongoDB: for any number of equal nodes on one replica set.

mod options;

use std::sync::Arc;

use postrider_store::{Store, StoreError};

pub use options::{LeaseClock, MongoOptions};

/// Connects, brings the database to this version, and opens the store.
///
/// [`StoreError::Unavailable`] when the server cannot be reached or lacks what the engine needs: the text says what;
/// [`StoreError::Corrupt`] when a newer version wrote the database.
pub async fn open(options: MongoOptions) -> Result<Arc<dyn Store>, StoreError> {
    let _ = options;
    Err(StoreError::Unavailable("not built yet".into()))
}
