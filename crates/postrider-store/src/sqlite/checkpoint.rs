//! Moving committed pages from the write-ahead log into the database.
//!
//! A checkpoint reads, writes and syncs megabytes. A thread of its own does that while the writer goes on; but only when
//! nothing is left to move can the log start over, and under constant load there always is. So the writer itself moves
//! the little that came meanwhile, each time the thread is done. Thus the log stays bounded and the writer never waits
//! long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::Connection;

use super::open::BUSY_TIMEOUT;
use crate::error::StoreError;

/// The thread starts when about this much was written since the last time.
const WRITTEN_BYTES_MAX: usize = 16 << 20;

/// What one request writes beside its message: rows and index pages, roughly.
pub(super) const ROWS_BYTES: usize = 2_048;

/// The writer's side.
#[derive(Debug)]
pub(super) struct Checkpointer {
    start: SyncSender<()>,
    /// The thread has moved what there was when it started.
    is_done: Arc<AtomicBool>,
    is_running: bool,
    written_bytes: usize,
}

impl Checkpointer {
    /// Starts the thread; it ends when the returned value is dropped.
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (start, started) = sync_channel(1);
        let is_done = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_done);
        let work = move || {
            while started.recv().is_ok() {
                checkpoint(&connection, "PASSIVE");
                done.store(true, Ordering::Release);
            }
        };
        std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(work)
            .map_err(|error| StoreError::Unavailable(format!("no thread for checkpoints: {error}")))?;
        Ok(Self { start, is_done, is_running: false, written_bytes: 0 })
    }

    /// Told after each commit how much it wrote.
    pub(super) fn written(&mut self, connection: &Connection, bytes: usize) {
        self.written_bytes += bytes;
        if self.is_running {
            if self.is_done.swap(false, Ordering::Acquire) {
                self.is_running = false;
                checkpoint(connection, "PASSIVE");
            }
        } else if self.written_bytes >= WRITTEN_BYTES_MAX && self.start.try_send(()).is_ok() {
            self.is_running = true;
            self.written_bytes = 0;
        }
    }

    /// Moves everything and truncates the log, unless a reader or another process is in the way; then next time.
    pub(super) fn empty(&mut self, connection: &Connection) {
        // Whoever reads for long must not keep the writer from writing: it does not wait for them here.
        let waited = connection.busy_timeout(Duration::ZERO);
        checkpoint(connection, "TRUNCATE");
        if let Err(error) = waited.and_then(|()| connection.busy_timeout(BUSY_TIMEOUT)) {
            tracing::warn!(error = %error, "the time to wait for other processes could not be set");
        }
        self.written_bytes = 0;
    }
}

/// A checkpoint that does not succeed costs nothing but a longer log: the next one moves all of it.
fn checkpoint(connection: &Connection, mode: &str) {
    let result = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    match result {
        Ok((is_busy, log_pages, moved_pages)) => {
            tracing::trace!(mode, is_busy, log_pages, moved_pages, "checkpoint");
        }
        Err(error) => tracing::warn!(error = %error, "a checkpoint failed"),
    }
}
