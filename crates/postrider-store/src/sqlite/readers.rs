//! The readers: a pool of connections that only read.
//!
//! What may take long is read on threads made for blocking work. The hop there and back costs more than reading one row
//! by its key, so a small read runs at once on the task that asks, if a connection is idle.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::{Semaphore, TryAcquireError};

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
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(refused)?;
        let permit = Arc::clone(&self.connections).acquire_owned().await.map_err(|_| closed())?;
        let idle = Arc::clone(&self.idle);
        let work = move || {
            let connection = Borrowed::take(&idle)?;
            let result = operation(&connection);
            drop(connection);
            drop((permit, place));
            result
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a read did not end: {error}"))))
    }

    /// Runs a read of few rows on this task; `None` if no connection is idle, or if that is what `operation` answers.
    pub(super) fn try_read_small<T>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let _permit = match self.connections.try_acquire() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits) => return Ok(None),
            Err(TryAcquireError::Closed) => return Err(closed()),
        };
        if self.places.is_closed() {
            return Err(closed());
        }
        operation(&*Borrowed::take(&self.idle)?)
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

/// A connection on loan: back in the pool afterwards, also when the read panics.
struct Borrowed<'p> {
    connection: Option<Connection>,
    idle: &'p Mutex<Vec<Connection>>,
}

impl<'p> Borrowed<'p> {
    /// The caller holds a permit, so one is there unless the pool is closed.
    fn take(idle: &'p Mutex<Vec<Connection>>) -> Result<Self, StoreError> {
        let connection = lock(idle).pop().ok_or_else(closed)?;
        Ok(Self { connection: Some(connection), idle })
    }
}

impl Deref for Borrowed<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is taken out only by drop")
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        lock(self.idle).extend(self.connection.take());
    }
}

fn refused(error: TryAcquireError) -> StoreError {
    match error {
        TryAcquireError::NoPermits => StoreError::Overloaded,
        TryAcquireError::Closed => closed(),
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}
