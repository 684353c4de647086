//! The readers: a pool of connections that only read, used on threads made for blocking work.

use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::writer::lock;
use crate::error::StoreError;

#[derive(Debug)]
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    /// One for each connection.
    connections: Arc<Semaphore>,
    /// One for each read that runs or waits.
    places: Arc<Semaphore>,
    count: u32,
}

impl Readers {
    /// `waiting_max` reads wait at most for a connection.
    pub(super) fn new(connections: Vec<Connection>, waiting_max: usize) -> Self {
        let count = connections.len();
        Self {
            idle: Arc::new(Mutex::new(connections)),
            connections: Arc::new(Semaphore::new(count)),
            places: Arc::new(Semaphore::new((count + waiting_max).min(Semaphore::MAX_PERMITS))),
            count: u32::try_from(count).unwrap_or(u32::MAX),
        }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|error| match error {
            tokio::sync::TryAcquireError::NoPermits => StoreError::Overloaded,
            tokio::sync::TryAcquireError::Closed => closed(),
        })?;
        let permit = Arc::clone(&self.connections).acquire_owned().await.map_err(|_| closed())?;
        let idle = Arc::clone(&self.idle);
        let work = move || {
            let connection = lock(&idle).pop().ok_or_else(closed)?;
            let result = operation(&connection);
            lock(&idle).push(connection);
            drop((permit, place));
            result
        };
        // A read that panicked has taken its connection with it; the others go on.
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a read did not end: {error}"))))
    }

    /// Takes no more reads, waits for those that run, and closes their connections.
    pub(super) async fn close(&self) {
        self.places.close();
        let all = self.connections.acquire_many(self.count).await;
        lock(&self.idle).clear();
        drop(all);
        self.connections.close();
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}
