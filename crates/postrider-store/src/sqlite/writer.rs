//! The writer: one thread that owns the only connection that writes.
//!
//! It takes everything that waits and commits it in one transaction, so that under load many requests share one sync of
//! the disk, and without load a request waits for nobody. A request is answered only after its commit has returned. What
//! the requests do, the writer does not know.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::batch::Batch;
use super::checkpoint::Checkpointer;
use super::failure::Failure;
use crate::error::StoreError;

/// Requests in one transaction. More would only lengthen the wait of the first.
const BATCH_REQUESTS_MAX: usize = 1_024;

/// Bytes of requests in one transaction, so that a batch of large messages does not fill the memory with dirty pages.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// With nothing to do for this long the writer empties the write-ahead log.
const IDLE: Duration = Duration::from_secs(2);

/// The way to the writer thread.
pub(super) struct Writer {
    sender: Mutex<Option<SyncSender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread. `waiting_max` requests wait at most; `keep` is dropped when the thread has ended.
    pub(super) fn start(
        connection: Connection,
        checkpointer: Checkpointer,
        waiting_max: usize,
        keep: impl Send + 'static,
    ) -> std::io::Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(waiting_max);
        let work = move || {
            Loop { connection, checkpointer }.run(&receiver);
            drop(keep);
        };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(work)?;
        Ok(Arc::new(Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) }))
    }

    /// Runs an operation in the next transaction and answers when that is durable. The operation runs again if the
    /// transaction had to be rolled back for another's sake. `bytes` is about how much it writes.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        operation: impl FnMut(&mut Batch<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_then(bytes, operation, |value| value).await
    }

    /// Like [`Writer::write`]; `then` makes the answer of the result once that is durable.
    pub(super) async fn write_then<T: Send + 'static, A: Send + 'static>(
        &self,
        bytes: usize,
        operation: impl FnMut(&mut Batch<'_>) -> Result<T, Failure> + Send + 'static,
        then: impl FnOnce(T) -> A + Send + 'static,
    ) -> Result<A, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Box::new(Request { operation, then, bytes, result: None, answer }))?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Like [`Writer::write`], for whoever does not wait for the answer.
    pub(super) fn write_and_forget(
        &self,
        operation: impl FnMut(&mut Batch<'_>) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (answer, _) = oneshot::channel();
        self.send(Box::new(Request { operation, then: |()| (), bytes: 0, result: None, answer }))
    }

    /// Takes no more requests, and waits until those taken are written and the log is emptied.
    pub(super) fn stop(&self) {
        drop(lock(&self.sender).take());
        if let Some(thread) = lock(&self.thread).take() {
            // The thread itself may drop the last handle, with an answer that nobody waits for; it cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("the store's writer thread ended with a panic");
            }
        }
    }

    fn send(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        match lock(&self.sender).as_ref().map(|sender| sender.try_send(job)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(StoreError::Overloaded),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(stopped()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// A lock that outlives a panic of its holder: nothing guarded here can be left half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stopped() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

/// A request as the writer sees it.
trait Job: Send {
    fn bytes(&self) -> usize;

    /// An error means that the transaction must be rolled back. What the operation refused is no error here.
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError>;

    /// Tells the outcome: of the transaction and, where that succeeded, of the operation in it.
    fn answer(self: Box<Self>, transaction: Result<(), StoreError>);
}

struct Request<T, A, F, G> {
    operation: F,
    then: G,
    bytes: usize,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<A, StoreError>>,
}

impl<T, A, F, G> Job for Request<T, A, F, G>
where
    T: Send,
    A: Send,
    F: FnMut(&mut Batch<'_>) -> Result<T, Failure> + Send,
    G: FnOnce(T) -> A + Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        self.result = None;
        match (self.operation)(batch) {
            Ok(value) => self.result = Some(Ok(value)),
            Err(Failure::Refused(error)) => self.result = Some(Err(error)),
            Err(Failure::Undo(error)) => return Err(error),
        }
        Ok(())
    }

    fn answer(self: Box<Self>, transaction: Result<(), StoreError>) {
        let result = match transaction {
            Ok(()) => self.result.unwrap_or_else(|| Err(stopped())).map(self.then),
            Err(error) => Err(error),
        };
        // Nobody may be waiting any more; then what the answer holds is dropped here, and gives back what it must.
        let _ = self.answer.send(result);
    }
}

/// What the thread has.
struct Loop {
    connection: Connection,
    checkpointer: Checkpointer,
}

impl Loop {
    fn run(&mut self, receiver: &Receiver<Box<dyn Job>>) {
        let mut is_log_empty = false;
        loop {
            let first = if is_log_empty {
                receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                receiver.recv_timeout(IDLE)
            };
            match first {
                Ok(first) => {
                    is_log_empty = false;
                    let (batch, bytes) = gather(first, receiver);
                    self.commit(batch);
                    self.checkpointer.written(&self.connection, bytes);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.checkpointer.empty(&self.connection);
                    is_log_empty = true;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.checkpointer.empty(&self.connection);
                    return;
                }
            }
        }
    }

    /// Commits the jobs together. If that fails, each half tries alone, so that a job that cannot succeed fails by itself
    /// and costs the others a few commits more.
    fn commit(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let result = self.transact(&mut jobs);
        match result {
            Err(error) if jobs.len() > 1 => {
                tracing::debug!(error = %error, requests = jobs.len(), "a batch is split");
                let second = jobs.split_off(jobs.len() / 2);
                self.commit(jobs);
                self.commit(second);
            }
            result => {
                jobs.into_iter().for_each(|job| job.answer(result.clone()));
            }
        }
    }

    /// Runs the jobs in one transaction. On error nothing of it is left.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let result = self.attempt(jobs);
        // After some errors, a full disk among them, SQLite has rolled back by itself already.
        if result.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(error = %error, "a transaction could not be rolled back");
        }
        result
    }

    fn attempt(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut batch = Batch::new(&self.connection);
        for job in jobs {
            job.run(&mut batch)?;
        }
        batch.finish()?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

/// What waits now, with `first` at its head, and its size in bytes.
fn gather(first: Box<dyn Job>, receiver: &Receiver<Box<dyn Job>>) -> (Vec<Box<dyn Job>>, usize) {
    let mut bytes = first.bytes();
    let mut jobs = vec![first];
    while jobs.len() < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(job) = receiver.try_recv() else { break };
        bytes += job.bytes();
        jobs.push(job);
    }
    (jobs, bytes)
}
