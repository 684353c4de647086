//! A worker: sends one job after another to one destination, over one connection where it can.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postrider_core::{Attempt, Category, ObjectId, Outcome};
use postrider_store::{ClaimedEmail, NodeId, RawMessage, StoreError};
use tracing::{Instrument, debug, error, info_span, warn};

use super::lanes::{NextJob, Turn, Unconnected};
use super::{Job, Queue};
use crate::deliver::connect::{self, ConnectFailure, Connection};
use crate::deliver::route::Route;
use crate::deliver::transaction::{self, Revoked, Sent};

impl Queue {
    /// Starts a worker that is counted as active already.
    pub(super) fn start_worker(self: &Arc<Self>, route: Arc<Route>, node: NodeId) {
        tokio::spawn(work(self.clone(), route, node));
    }

    fn start_other(self: &Arc<Self>, route: Option<Arc<Route>>) {
        // A worker that is started while this node has no lease finds nothing to do and ends.
        if let Some(route) = route {
            let node = self.node.borrow().unwrap_or_default();
            self.start_worker(route, node);
        }
    }

    /// A worker is counted out; `other` takes its place.
    fn worker_ended(self: &Arc<Self>, other: Option<Arc<Route>>) {
        self.drained.notify_waiters();
        self.start_other(other);
        self.tell_shares();
    }
}

/// What a worker has in hand. However it ends, its job is not lost and it is counted out.
struct Worker {
    queue: Arc<Queue>,
    route: Arc<Route>,
    turn: Turn,
    job: Option<Job>,
    is_connected: bool,
    is_counted: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.is_connected {
            self.queue.lanes().note_disconnected(&self.route.key);
        }
        if let Some(job) = self.job.take() {
            error!(email = %job.email.id, "a delivery ended in a fault of this program; it is tried again later");
            let reason = "internal error while sending; see the log".to_owned();
            let outcome = Outcome::Deferred { category: Category::Other, reply: None, reason };
            let attempts = attempts_alike(&self.queue, &job, outcome);
            self.queue.settle(job, attempts, false);
        }
        if self.is_counted {
            let other = self.queue.lanes().end_worker(&self.route.key);
            self.queue.worker_ended(other);
        }
    }
}

/// Why a message was not sent, or not to its end.
#[derive(Debug)]
enum NotSent {
    Unconnected(Box<ConnectFailure>),
    /// It is not this node's to send any more.
    Revoked,
}

impl From<Revoked> for NotSent {
    fn from(_: Revoked) -> Self {
        Self::Revoked
    }
}

async fn work(queue: Arc<Queue>, route: Arc<Route>, node: NodeId) {
    let mut current = queue.node.subscribe();
    let turn = Turn { node, key: route.key.clone(), since: queue.now(), messages: 0 };
    let mut worker = Worker { queue, route, turn, job: None, is_connected: false, is_counted: true };
    tokio::select! {
        // First: what is lost to other nodes must stop before anything else happens.
        biased;
        _ = current.wait_for(|current| *current != Some(node)) => {
            // The claims are gone: another node sends this, or the process ends.
            worker.job = None;
        }
        () = worker.run() => {}
    }
}

impl Worker {
    async fn run(&mut self) {
        let mut connection: Option<Box<Connection>> = None;
        loop {
            // What came of a message could not be recorded now: none is begun.
            self.queue.outage.over().await;
            if !self.queue.may_send(self.turn.node) {
                return;
            }
            let now = self.queue.now();
            self.is_connected &= connection.is_some();
            let next = self.queue.lanes().next(&mut self.turn, connection.take(), now);
            match next {
                NextJob::End { other, surplus } => {
                    self.is_connected = false;
                    self.is_counted = false;
                    if let Some(connection) = surplus {
                        self.queue.close_surplus(*connection);
                    }
                    self.queue.worker_ended(other);
                    return;
                }
                NextJob::Send(job, open) => {
                    self.is_connected = open.is_some();
                    let span = info_span!("delivery", email = %job.email.id);
                    self.job = Some(job);
                    let sent = self.send(open).instrument(span).await;
                    connection = match sent {
                        Some(connection) => Some(connection),
                        None => {
                            self.disconnected();
                            None
                        }
                    };
                }
            }
        }
    }

    /// Sends the job in hand and settles it. Returns the connection if it can carry another message.
    async fn send(&mut self, open: Option<Box<Connection>>) -> Option<Box<Connection>> {
        let queue = self.queue.clone();
        let size = self.job.as_ref().map(|job| if job.raw.is_some() { 0 } else { job.email.size })?;
        // Read from the store a message counts like one that a session holds.
        let mut share = queue.memory.share();
        let over_budget = if share.resize(usize::try_from(size).unwrap_or(usize::MAX)) {
            None
        } else {
            debug!("waiting: no memory is left for messages");
            Some(queue.over_budget.lock().await)
        };
        let raw = self.message().await?;
        let (email, deliveries) = self.job.as_ref().map(|job| (job.email.clone(), job.deliveries.clone()))?;
        let sent = self.attempt(&email, &deliveries, raw, open).await;
        drop((share, over_budget));
        let job = self.job.take()?;
        match sent {
            Ok((sent, connection)) => {
                queue.settle(job, sent.attempts, sent.peer_reports);
                connection
            }
            Err(NotSent::Unconnected(failure)) => {
                self.unconnected(job, *failure);
                None
            }
            // Another node sends it.
            Err(NotSent::Revoked) => None,
        }
    }

    /// The message of the job in hand, from memory or from the store. `None`: the job is dealt with.
    async fn message(&mut self) -> Option<Bytes> {
        let job = self.job.as_ref()?;
        if let Some(held) = &job.raw {
            return Some(held.raw.clone());
        }
        let id = job.email.id;
        match self.raw(id).await {
            Ok(Some(message)) => Some(message.relayed()),
            Ok(None) => {
                debug!("the e-mail was deleted while it waited");
                let job = self.job.take()?;
                self.queue.forget(&job);
                None
            }
            Err(StoreError::Corrupt(cause)) => {
                error!(cause, "the message cannot be read; its deliveries are deferred");
                let job = self.job.take()?;
                let reason = "the stored message cannot be read; see the log".to_owned();
                let outcome = Outcome::Deferred { category: Category::Other, reply: None, reason };
                let attempts = attempts_alike(&self.queue, &job, outcome);
                self.queue.settle(job, attempts, false);
                None
            }
            Err(error) => {
                warn!(%error, "the message cannot be read now; its deliveries are given back");
                let job = self.job.take()?;
                self.queue.give_back(vec![job]);
                // The claimer would hand it out again at once.
                self.queue.delivery.clock.sleep(self.queue.delivery.limits.queue_poll).await;
                None
            }
        }
    }

    /// A message from the store, waited for while the store is out of reach.
    async fn raw(&self, id: ObjectId) -> Result<Option<RawMessage>, StoreError> {
        let queue = &self.queue;
        loop {
            match queue.store.raw(id).await {
                Err(error @ StoreError::Unavailable(_)) => {
                    queue.store_failed("the message cannot be read now", &error);
                    queue.delivery.clock.sleep(queue.delivery.limits.queue_poll).await;
                    queue.outage.over().await;
                }
                answer => return answer,
            }
        }
    }

    /// One attempt: over the open connection if there is one and it still works, else over a new one.
    async fn attempt(
        &mut self,
        email: &ClaimedEmail,
        deliveries: &[usize],
        raw: Bytes,
        mut open: Option<Box<Connection>>,
    ) -> Result<(Sent, Option<Box<Connection>>), NotSent> {
        let queue = self.queue.clone();
        let node = self.turn.node;
        let may_send = || queue.may_send(node);
        // After a failed handshake the next attempt goes in clear, rather than never (RFC 7435 section 3).
        let avoid_tls = deliveries.iter().any(|&i| email.deliveries[i].last_category == Some(Category::Tls));
        loop {
            let kept = open.take().filter(|connection| connection.is_quiet());
            let was_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => {
                    self.disconnected();
                    let connecting = connect::connect(&queue.delivery, &self.route, avoid_tls).await;
                    let connection = connecting.map_err(|failure| NotSent::Unconnected(Box::new(failure)))?;
                    self.is_connected = true;
                    let more = queue.lanes().note_connected(&self.route.key);
                    queue.start_other(more);
                    connection
                }
            };
            match transaction::send(&queue.delivery, connection, email, deliveries, raw.clone(), &may_send).await? {
                // The other side closed it while nobody looked: that is no attempt.
                (Sent { began: false, .. }, _) if was_kept => {
                    debug!("the kept connection was closed; a new one is opened")
                }
                (sent, connection) => return Ok((sent, connection)),
            }
        }
    }

    fn disconnected(&mut self) {
        if std::mem::take(&mut self.is_connected) {
            self.queue.lanes().note_disconnected(&self.route.key);
        }
    }

    /// Settles a job whose destination could not be connected to. If nobody is connected to it, so is all that waits for
    /// the same: one time-out after another would not make it better.
    fn unconnected(&self, job: Job, failure: ConnectFailure) {
        if failure.outcome.category() == Some(Category::Tls) {
            // The others may go in clear, having tried before.
            return self.settle_unconnected(job, &failure, failure.outcome.clone());
        }
        let unconnected = self.queue.lanes().note_unconnected(&self.route.key, job);
        let Unconnected::Fail(jobs) = unconnected else { return debug!("left to the connections that are open") };
        for (nth, job) in jobs.into_iter().enumerate() {
            let mut outcome = failure.outcome.clone();
            if nth > 0
                && let Outcome::Deferred { reason, .. } = &mut outcome
            {
                *reason = format!("not tried, because just now: {reason}");
            }
            self.settle_unconnected(job, &failure, outcome);
        }
    }

    fn settle_unconnected(&self, job: Job, failure: &ConnectFailure, outcome: Outcome) {
        let mut attempts = attempts_alike(&self.queue, &job, outcome);
        for (_, attempt) in &mut attempts {
            failure.describe(attempt);
        }
        self.queue.settle(job, attempts, false);
    }
}

/// The same outcome for all deliveries of a job.
pub(super) fn attempts_alike(queue: &Queue, job: &Job, outcome: Outcome) -> Vec<(usize, Attempt)> {
    let now = queue.now();
    job.deliveries
        .iter()
        .map(|&index| {
            let attempt = Attempt {
                number: job.email.deliveries[index].attempts + 1,
                started_at: now,
                duration: Duration::ZERO,
                mx: None,
                mx_ip: None,
                source_ip: None,
                tls: None,
                exchanges: Vec::new(),
                outcome: outcome.clone(),
            };
            (index, attempt)
        })
        .collect()
}
