//! The writer: one thread that owns the only connection that writes.
//!
//! It takes everything that waits and commits it in one transaction, so that under load many requests share one sync of
//! the disk, and without load a request waits for nobody. A request is answered only after its commit has returned. What
//! the requests do, the writer does not know: one that panics fails alone.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{broadcast, oneshot};

use super::batch::Batch;
use super::changes::Teller;
use super::checkpoint::Checkpointer;
use super::failure::Failure;
use super::open::{self, SqliteOptions};
use super::search::Bell;
use crate::error::StoreError;
use crate::records::{Change, MailboxChange};

/// Requests in one transaction. More would only lengthen the wait of the first.
const BATCH_REQUESTS_MAX: usize = 1_024;

/// Bytes of requests in one transaction, so that a batch of large messages does not fill the memory with dirty pages.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// With nothing to do for this long the writer empties the write-ahead log.
const IDLE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 2_000 });

/// The way to the writer thread.
pub(super) struct Writer {
    sender: Mutex<Option<SyncSender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    changes: broadcast::Sender<Change>,
    mailbox_changes: broadcast::Sender<MailboxChange>,
    bell: Arc<Bell>,
}

impl Writer {
    /// Starts the thread. `keep` is dropped when the thread has ended.
    pub(super) fn start(
        connection: Connection,
        checkpointer: Checkpointer,
        options: SqliteOptions,
        keep: impl Send + 'static,
    ) -> std::io::Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(options.waiting_max);
        let teller = Teller::new(&connection);
        let (changes, mailbox_changes, bell) = (teller.sender(), teller.mailbox_sender(), teller.bell());
        let work = move || {
            Loop { connection, checkpointer, teller, options }.run(&receiver);
            drop(keep);
        };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(work)?;
        Ok(Arc::new(Self {
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            changes,
            mailbox_changes,
            bell,
        }))
    }

    /// Rings where something was committed that is to be indexed.
    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// What this process and others commit from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        let receiver = self.changes.subscribe();
        // A writer that sleeps must learn that somebody listens; one that cannot take this is awake, or has ended.
        let _ = self.write_and_forget(|_| Ok(()));
        receiver
    }

    /// As [`Writer::changes`], of what happens in mailboxes.
    pub(super) fn mailbox_changes(&self) -> broadcast::Receiver<MailboxChange> {
        let receiver = self.mailbox_changes.subscribe();
        let _ = self.write_and_forget(|_| Ok(()));
        receiver
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
        self.write_then_forget(operation, |()| ())
    }

    /// Like [`Writer::write_then`], for whoever does not wait for the answer.
    pub(super) fn write_then_forget<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut Batch<'_>) -> Result<T, Failure> + Send + 'static,
        then: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), StoreError> {
        let (answer, _) = oneshot::channel();
        self.send(Box::new(Request { operation, then, bytes: 0, result: None, answer }))
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

/// What a request is answered that panicked: the cause is in the log.
fn panicked() -> StoreError {
    StoreError::Unavailable("internal error".into())
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
    teller: Teller,
    /// To open the connection again.
    options: SqliteOptions,
}

impl Loop {
    fn run(&mut self, receiver: &Receiver<Box<dyn Job>>) {
        let mut is_log_empty = false;
        let mut worked_at = Instant::now();
        loop {
            let until_empty = (!is_log_empty).then(|| IDLE.saturating_sub(worked_at.elapsed()));
            let wait = until_empty.into_iter().chain(self.teller.next_look()).min();
            match receive(receiver, wait) {
                Ok(first) => {
                    is_log_empty = false;
                    let (batch, bytes) = gather(first, receiver);
                    self.commit(batch);
                    self.checkpointer.written(&self.connection, bytes);
                    worked_at = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {
                    if !is_log_empty && worked_at.elapsed() >= IDLE {
                        self.checkpointer.empty(&self.connection);
                        is_log_empty = true;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.checkpointer.empty(&self.connection);
                    return;
                }
            }
            self.teller.look_if_due(&self.connection);
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
                for job in jobs {
                    // The transaction is done: a panic here concerns nobody but the one who asked.
                    let answer = AssertUnwindSafe(|| job.answer(result.clone()));
                    if catch_unwind(answer).is_err() {
                        tracing::error!("a request to the store panicked as it was answered");
                    }
                }
            }
        }
    }

    /// Runs the jobs in one transaction. On error nothing of it is left.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        // All that a panic may leave half done is in the transaction, which is rolled back, and in the jobs: those that did
        // not panic run anew, the one that did answers an error.
        let result = catch_unwind(AssertUnwindSafe(|| self.attempt(jobs))).unwrap_or_else(|_| {
            tracing::error!(requests = jobs.len(), "a request to the store panicked");
            Err(panicked())
        });
        if result.is_err() {
            self.recover();
        }
        result
    }

    /// Rolls back what an error has left of a transaction, and opens the database again if the connection is of no use
    /// any more, as after some errors of the disk.
    fn recover(&mut self) {
        // After some errors, a full disk among them, SQLite has rolled back by itself already.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(error = %error, "a transaction could not be rolled back");
        }
        let read = self.connection.query_row("SELECT writes FROM health", [], |_| Ok(()));
        if read.is_ok() && self.connection.is_autocommit() {
            return;
        }
        match open::reopen_writer(&self.options) {
            Ok(connection) => {
                self.connection = connection;
                self.teller.reconnected();
                tracing::warn!("the database was opened again");
            }
            Err(error) => tracing::error!(error = %error, "the database cannot be opened again"),
        }
    }

    fn attempt(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut batch = Batch::new(&self.connection);
        for job in jobs {
            job.run(&mut batch)?;
        }
        let told = batch.finish()?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.teller.tell(&told);
        Ok(())
    }
}

/// The next request, waited for so long at most.
fn receive(receiver: &Receiver<Box<dyn Job>>, wait: Option<Duration>) -> Result<Box<dyn Job>, RecvTimeoutError> {
    match wait {
        Some(wait) => receiver.recv_timeout(wait),
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tempfile::TempDir;

    use super::*;
    use crate::sqlite::SqliteStore;

    /// A writer on a database with all tables, and a connection beside it.
    fn writer(folder: &TempDir, broken: Option<Connection>) -> (Arc<Writer>, Connection) {
        let options = SqliteOptions::new(folder.path());
        let opened = open::open(&options).unwrap();
        let checkpointer = Checkpointer::start(opened.checkpoint).unwrap();
        let writer = Writer::start(broken.unwrap_or(opened.writer), checkpointer, options, ()).unwrap();
        (writer, Connection::open(folder.path().join("postrider.db")).unwrap())
    }

    fn count(batch: &mut Batch<'_>) -> Result<(), Failure> {
        batch.connection.execute("UPDATE health SET writes = writes + 1", [])?;
        Ok(())
    }

    fn counted(connection: &Connection) -> u32 {
        connection.query_row("SELECT writes FROM health", [], |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn a_request_that_panics_fails_alone() {
        let folder = TempDir::new().unwrap();
        let (writer, beside) = writer(&folder, None);
        // While another program holds the database, all of these gather into one batch.
        beside.execute_batch("BEGIN IMMEDIATE").unwrap();
        let runs = Arc::new(AtomicUsize::new(0));
        let requests: Vec<_> = (0..20)
            .map(|n| {
                let (writer, runs) = (Arc::clone(&writer), Arc::clone(&runs));
                let operation = move |batch: &mut Batch<'_>| {
                    count(batch)?;
                    runs.fetch_add(1, Ordering::Relaxed);
                    assert!(n % 7 != 3, "this one panics");
                    Ok(n)
                };
                tokio::spawn(async move { writer.write(0, operation).await })
            })
            .collect();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        beside.execute_batch("ROLLBACK").unwrap();
        let mut stored = 0;
        for (n, request) in requests.into_iter().enumerate() {
            let expected = if n % 7 == 3 { Err(panicked()) } else { Ok(n) };
            assert_eq!(request.await.unwrap(), expected);
            stored += u32::from(n % 7 != 3);
        }
        assert_eq!(counted(&beside), stored, "nothing is left of those that panicked");
        assert!(runs.load(Ordering::Relaxed) > 20, "they were in one batch");
    }

    #[tokio::test]
    async fn an_answer_that_panics_does_not_stop_the_writer() {
        let folder = TempDir::new().unwrap();
        let (writer, beside) = writer(&folder, None);
        let answer = writer.write_then(0, count, |()| panic!("this answer panics")).await;
        assert!(matches!(answer, Err::<(), _>(StoreError::Unavailable(_))));
        assert_eq!(writer.write(0, count).await, Ok(()));
        assert_eq!(counted(&beside), 2);
    }

    #[tokio::test]
    async fn a_connection_that_does_not_work_is_opened_again() {
        let folder = TempDir::new().unwrap();
        // To one without the tables nothing can be written.
        let (writer, beside) = writer(&folder, Some(Connection::open_in_memory().unwrap()));
        assert!(matches!(writer.write(0, count).await, Err(StoreError::Unavailable(_))));
        assert_eq!(writer.write(0, count).await, Ok(()));
        assert_eq!(counted(&beside), 1);
    }

    #[tokio::test]
    async fn a_writer_that_sleeps_wakes_for_who_listens() {
        let folder = TempDir::new().unwrap();
        let (writer, beside) = writer(&folder, None);
        writer.write(0, count).await.unwrap();
        // It sleeps when it has emptied the log.
        let log = folder.path().join("postrider.db-wal");
        while std::fs::metadata(&log).unwrap().len() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut heard = writer.changes();
        beside.execute("UPDATE health SET writes = writes + 1", []).unwrap();
        tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_gone_is_not_made_anew() {
        let folder = TempDir::new().unwrap();
        let (writer, _beside) = writer(&folder, Some(Connection::open_in_memory().unwrap()));
        std::fs::remove_file(folder.path().join("postrider.db")).unwrap();
        for _ in 0..2 {
            assert!(matches!(writer.write(0, count).await, Err(StoreError::Unavailable(_))));
        }
        assert!(!SqliteOptions::new(folder.path()).exists());
        writer.stop();
        drop(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
        assert!(SqliteOptions::new(folder.path()).exists());
    }
}
