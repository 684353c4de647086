//! A worker: sends one job after another to one destination, over one connection where it can.

use std::sync::Arc;

use postrider_core::{Attempt, Category, Outcome};
use tracing::{Instrument, debug, error, info_span, warn};

use super::lanes::NextJob;
use super::{Job, Queue};
use crate::deliver::connect::{self, ConnectFailure, Connection};
use crate::deliver::route::Route;
use crate::deliver::transaction::{self, Sent};

impl Queue {
    /// Starts a worker that is counted as active already.
    pub(super) fn start_worker(self: &Arc<Self>, route: Arc<Route>) {
        tokio::spawn(work(self.clone(), route));
    }
}

/// Makes sure that a worker is counted out, and its job is not lost, however it ends.
struct Guard {
    queue: Arc<Queue>,
    key: Arc<str>,
    job: Option<Job>,
    epoch: u64,
    counted: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            error!(email = %job.email.id, "a delivery ended in a fault of this program; it is tried again later");
            let reason = "internal error while sending; see the log".to_owned();
            let outcome = Outcome::Deferred { category: Category::Other, reply: None, reason };
            let attempts = attempts_alike(&self.queue, &job, outcome);
            self.queue.settle(job, attempts, false, self.epoch);
        }
        if self.counted {
            let next = self.queue.lanes().abandon(&self.key);
            self.queue.drained.notify_waiters();
            if let Some(route) = next {
                self.queue.start_worker(route);
            }
        }
    }
}

async fn work(queue: Arc<Queue>, route: Arc<Route>) {
    let mut epoch_changes = queue.epoch.subscribe();
    let epoch = *epoch_changes.borrow_and_update();
    let mut guard = Guard { queue: queue.clone(), key: route.key.clone(), job: None, epoch, counted: true };
    tokio::select! {
        // First: what is lost to other nodes must stop before anything else happens.
        biased;
        _ = epoch_changes.changed() => {
            // The claims are gone: another node sends this, or the process ends.
            guard.job = None;
        }
        () = work_through(&queue, &route, &mut guard) => {}
    }
}

async fn work_through(queue: &Arc<Queue>, route: &Arc<Route>, guard: &mut Guard) {
    let mut connection = None;
    let mut messages = 0;
    loop {
        let now = queue.now();
        let next = queue.lanes().next(&route.key, connection.take(), messages, now);
        match next {
            NextJob::End(other) => {
                guard.counted = false;
                queue.drained.notify_waiters();
                if let Some(route) = other {
                    queue.start_worker(route);
                }
                return;
            }
            NextJob::Send(job, open) => {
                messages += 1;
                let span = info_span!("delivery", email = %job.email.id);
                guard.job = Some(job);
                connection = send(queue, route, guard, open).instrument(span).await;
            }
        }
    }
}

/// Sends the guard's job and settles it. Returns the connection if it can carry another message.
async fn send(
    queue: &Arc<Queue>,
    route: &Arc<Route>,
    guard: &mut Guard,
    open: Option<Box<Connection>>,
) -> Option<Box<Connection>> {
    let job = guard.job.as_ref()?;
    let raw = match &job.raw {
        Some(held) => held.raw.clone(),
        None => match queue.store.raw(job.email.id).await {
            Ok(Some(message)) => message.relayed(),
            Ok(None) => {
                debug!("the e-mail was deleted while it waited");
                let job = guard.job.take()?;
                queue.forget(&job, guard.epoch);
                return open;
            }
            Err(error) => {
                warn!(%error, "the message cannot be read; its deliveries are given back");
                let job = guard.job.take()?;
                queue.give_back(vec![job]);
                // The claimer would hand it out again at once.
                queue.delivery.clock.sleep(queue.delivery.limits.queue_poll).await;
                return open;
            }
        },
    };
    let outcome = attempt(queue, route, job, raw, open).await;
    let job = guard.job.take()?;
    match outcome {
        Ok((sent, connection)) => {
            queue.settle(job, sent.attempts, sent.peer_reports, guard.epoch);
            connection
        }
        Err(failure) => {
            give_up_for_now(queue, route, job, failure, guard.epoch);
            None
        }
    }
}

/// One attempt: over the open connection if there is one and it still works, else over a new one.
async fn attempt(
    queue: &Arc<Queue>,
    route: &Arc<Route>,
    job: &Job,
    raw: bytes::Bytes,
    mut open: Option<Box<Connection>>,
) -> Result<(Sent, Option<Box<Connection>>), ConnectFailure> {
    let delivery = &queue.delivery;
    // After a failed handshake the next attempt goes in clear, rather than never (RFC 7435 section 3).
    let avoid_tls = job.deliveries.iter().any(|&i| job.email.deliveries[i].last_category == Some(Category::Tls));
    loop {
        let was_open = open.as_ref().is_some_and(|connection| connection.is_quiet());
        let connection = match open.take().filter(|_| was_open) {
            Some(connection) => connection,
            None => {
                let connection = connect::connect(delivery, route, avoid_tls).await?;
                queue.lanes().note_connection(&route.key, true);
                connection
            }
        };
        match transaction::send(delivery, connection, &job.email, &job.deliveries, raw.clone()).await {
            // The other side closed it while nobody looked: that is no attempt.
            (Sent { began: false, .. }, _) if was_open => debug!("the kept connection was closed; a new one is opened"),
            (sent, connection) => return Ok((sent, connection)),
        }
    }
}

/// Settles a job whose destination could not be connected to, and all that waits for the same: it would only run into
/// the same time-out.
fn give_up_for_now(queue: &Arc<Queue>, route: &Arc<Route>, job: Job, failure: ConnectFailure, epoch: u64) {
    let waiting = queue.lanes().note_connection(&route.key, false);
    for (nth, job) in std::iter::once(job).chain(waiting).enumerate() {
        let mut outcome = failure.outcome.clone();
        if nth > 0
            && let Outcome::Deferred { reason, .. } = &mut outcome
        {
            *reason = format!("not tried, because just now: {reason}");
        }
        let mut attempts = attempts_alike(queue, &job, outcome);
        for (_, attempt) in &mut attempts {
            failure.describe(attempt);
        }
        queue.settle(job, attempts, false, epoch);
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
                duration: std::time::Duration::ZERO,
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
