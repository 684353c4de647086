//! Group commit: what waits is written together, in one transaction.
//!
//! Under load many sessions share the round trips and the journal's sync, and without load nobody waits for company. What
//! the requests are, the writer does not know.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use postrider_store::StoreError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::engine::{Engine, lock};
use crate::failure::{Failure, closed};

type Result<T> = std::result::Result<T, StoreError>;

/// Requests in one transaction. More would only lengthen the wait of the first.
const BATCH_REQUESTS_MAX: usize = 500;

/// Bytes of requests in one transaction: the server holds all of them in memory until it is committed.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// A batch may take as long as so many commands that are not answered.
const BATCH_COMMANDS: u32 = 3;

/// How requests of a kind are written.
pub(crate) trait Batch: Send + Sync + 'static {
    type Answer: Send + 'static;

    /// About how much is written.
    fn bytes(&self) -> usize;

    /// Writes requests in one transaction, all or nothing, and answers each.
    fn write(
        engine: &Arc<Engine>,
        batch: &[Self],
    ) -> impl Future<Output = std::result::Result<Vec<Self::Answer>, Failure>> + Send
    where
        Self: Sized;

    /// Nobody knows whether these were written.
    fn doubt(engine: &Arc<Engine>, batch: &[Self])
    where
        Self: Sized;
}

/// Writes requests of one kind.
pub(crate) struct Writer<B: Batch> {
    sender: Mutex<Option<mpsc::Sender<Request<B>>>>,
    tasks: Mutex<JoinSet<()>>,
}

struct Request<B: Batch> {
    batch: B,
    answer: oneshot::Sender<Result<B::Answer>>,
}

type Receiver<B> = Arc<tokio::sync::Mutex<mpsc::Receiver<Request<B>>>>;

impl<B: Batch> Writer<B> {
    /// Starts `count` tasks, each with a transaction of its own.
    pub(crate) fn start(engine: &Arc<Engine>, count: usize) -> Self {
        let (sender, receiver) = mpsc::channel(engine.options.waiting_max);
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            tasks.spawn(write_all(engine.clone(), receiver.clone()));
        }
        Self { sender: Mutex::new(Some(sender)), tasks: Mutex::new(tasks) }
    }

    /// Answers when the request is committed. What is handed over is written also if nobody waits any more.
    pub(crate) async fn write(&self, batch: B) -> Result<B::Answer> {
        let (answer, answered) = oneshot::channel();
        let sent = lock(&self.sender).as_ref().map(|sender| sender.try_send(Request { batch, answer }));
        match sent {
            Some(Ok(())) => answered.await.unwrap_or_else(|_| Err(closed())),
            Some(Err(mpsc::error::TrySendError::Full(_))) => Err(StoreError::Overloaded),
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => Err(closed()),
        }
    }

    /// Takes no more requests, and waits until those taken are answered.
    pub(crate) async fn stop(&self) {
        drop(lock(&self.sender).take());
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
    }
}

impl<B: Batch> Drop for Writer<B> {
    fn drop(&mut self) {
        // What was handed over is still written: the tasks end when they have done that.
        drop(lock(&self.sender).take());
        std::mem::take(&mut *lock(&self.tasks)).detach_all();
    }
}

impl<B: Batch> fmt::Debug for Writer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

async fn write_all<B: Batch>(engine: Arc<Engine>, receiver: Receiver<B>) {
    loop {
        let Some(requests) = next(&receiver).await else { return };
        let (batch, answers): (Vec<B>, Vec<_>) =
            requests.into_iter().map(|request| (request.batch, request.answer)).unzip();
        // A panic would take the task with it, and all that comes after: it stays with this batch.
        let (engine_of_task, batch) = (engine.clone(), Arc::new(batch));
        let results = tokio::spawn(async move { write(&engine_of_task, &batch).await }).await;
        let results = results.unwrap_or_else(|error| {
            tracing::error!(%error, "a transaction ended with a panic");
            Vec::new()
        });
        let mut results = results.into_iter();
        for answer in answers {
            let result = results.next().unwrap_or_else(|| Err(StoreError::Unavailable("internal error".into())));
            // Nobody may be waiting any more; then what the answer holds is dropped, and gives back what it must.
            let _ = answer.send(result);
        }
    }
}

/// The requests for the next transaction: the first that comes, and all that wait then.
async fn next<B: Batch>(receiver: &Receiver<B>) -> Option<Vec<Request<B>>> {
    let mut receiver = receiver.lock().await;
    let first = receiver.recv().await?;
    let mut bytes = first.batch.bytes();
    let mut requests = vec![first];
    while requests.len() < BATCH_REQUESTS_MAX
        && bytes < BATCH_BYTES_MAX
        && let Ok(request) = receiver.try_recv()
    {
        bytes += request.batch.bytes();
        requests.push(request);
    }
    Some(requests)
}

/// Writes a batch. If that is refused because of one of the requests, or one is in another's way, each half by itself, so that
/// only that one fails in the end.
async fn write<B: Batch>(engine: &Arc<Engine>, batch: &[B]) -> Vec<Result<B::Answer>> {
    let patience = engine.options.answer_timeout * BATCH_COMMANDS;
    let started = Instant::now();
    let mut results: Vec<Option<Result<B::Answer>>> = batch.iter().map(|_| None).collect();
    let mut parts: VecDeque<Range<usize>> = std::iter::once(0..batch.len()).collect();
    let mut gone: Option<StoreError> = None;
    while let Some(part) = parts.pop_front() {
        let (Some(requests), Some(results)) = (batch.get(part.clone()), results.get_mut(part.clone())) else {
            continue;
        };
        if let Some(error) = &gone {
            results.iter_mut().for_each(|result| *result = Some(Err(error.clone())));
            continue;
        }
        match B::write(engine, requests).await {
            Ok(answers) => results.iter_mut().zip(answers).for_each(|(result, answer)| *result = Some(Ok(answer))),
            Err(Failure::Refused(_) | Failure::Conflict(_)) if requests.len() > 1 && started.elapsed() < patience => {
                let middle = part.start + requests.len() / 2;
                parts.extend([part.start..middle, middle..part.end]);
            }
            Err(failure) => {
                let is_known = matches!(failure, Failure::Refused(_) | Failure::Conflict(_));
                let error = failure.into_error();
                if !is_known {
                    B::doubt(engine, requests);
                }
                if !is_known || started.elapsed() >= patience {
                    // The others would wait as long for the same.
                    gone = Some(error.clone());
                }
                results.iter_mut().for_each(|result| *result = Some(Err(error.clone())));
            }
        }
    }
    results.into_iter().map(|result| result.unwrap_or_else(|| Err(closed()))).collect()
}
