//! A worker: sends one job after another to one destination, over one connection where it can.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postrider_core::queue::Stage;
use postrider_core::{Attempt, Category, Domain, ObjectId, Outcome};
use postrider_store::{ClaimedEmail, NodeId, RawMessage, StoreError};
use tokio::sync::MutexGuard;
use tracing::{Instrument, debug, debug_span, error, info_span, warn};

use super::lanes::{NextJob, NoPlace, Start, Turn, Unconnected};
use super::view::Hand;
use super::{Job, Queue};
use crate::deliver::connect::{self, ConnectFailure, Connection};
use crate::deliver::route::Route;
use crate::deliver::seen::Seen;
use crate::deliver::transaction::{self, Revoked, Sent};
use crate::memory::MemoryShare;
use crate::policy::shaping::Verdict;
use crate::policy::source::SourceKey;
use crate::tls_reports::{Failure, ReportedPolicy};

impl Queue {
    /// Starts a worker that is counted already.
    pub(super) fn start_worker(self: &Arc<Self>, start: Start, node: NodeId) {
        tokio::spawn(work(self.clone(), start, node));
    }

    fn start_other(self: &Arc<Self>, start: Option<Start>) {
        // A worker that is started while this node has no lease finds nothing to do and ends.
        if let Some(start) = start {
            let node = self.node.borrow().unwrap_or_default();
            self.start_worker(start, node);
        }
    }

    /// A worker is counted out; `other` takes its place.
    fn worker_ended(self: &Arc<Self>, other: Option<Start>) {
        self.drained.notify_waiters();
        self.start_other(other);
        self.tell_shares();
    }

    /// Lets a destination go on after a pause.
    fn resume_after(self: &Arc<Self>, pause: Duration, key: Arc<str>) {
        debug!(destination = %key, pause_ms = pause.as_millis() as u64, "mail to a destination pauses");
        let queue = self.clone();
        let mut ended = self.ended.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = queue.delivery.clock.sleep(pause) => {
                    let start = queue.lanes().resume(&key);
                    start.into_iter().for_each(|start| queue.start_other(Some(start)));
                }
                _ = ended.wait_for(|&ended| ended) => {}
            }
        });
    }

    /// Takes note of what a destination says of our pace.
    fn note_verdict(&self, key: &Arc<str>, verdict: Option<Verdict>) {
        if let Some(verdict) = verdict {
            self.lanes().note_verdict(key, verdict, self.now());
        }
    }
}

/// What a worker has in hand. However it ends, its job is not lost and it is counted out.
struct Worker {
    queue: Arc<Queue>,
    route: Arc<Route>,
    turn: Turn,
    job: Option<Job>,
    /// Shows what it is at.
    hand: Hand,
    /// The source of its connection, where it has one.
    connected: Option<SourceKey>,
    is_counted: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.disconnected();
        if let Some(job) = self.job.take() {
            error!(email = %job.email.id, "a delivery ended in a fault of this program; it is tried again later");
            let reason = "internal error while sending; see the log".to_owned();
            let outcome = Outcome::Deferred { category: Category::Other, reply: None, reason };
            let attempts = attempts_alike(&self.queue, &job, outcome);
            self.queue.settle(job, attempts, false);
        }
        if self.is_counted {
            let other = self.queue.lanes().end_worker(&mut self.turn);
            self.queue.worker_ended(other);
        }
    }
}

/// Memory for a message.
struct Loan<'q> {
    _share: MemoryShare,
    _over_budget: Option<MutexGuard<'q, ()>>,
}

/// Why a message was not sent, or not to its end.
#[derive(Debug)]
enum NotSent {
    Unconnected(Box<ConnectFailure>),
    /// Its source address is none of this host after all.
    Unbound(IpAddr),
    /// It is not this node's to send any more.
    Revoked,
    /// The destination is reached, but too much else is being sent.
    NoPlace(Box<Connection>),
    /// Dealt with already.
    Done(Option<Box<Connection>>),
}

impl From<Revoked> for NotSent {
    fn from(_: Revoked) -> Self {
        Self::Revoked
    }
}

async fn work(queue: Arc<Queue>, start: Start, node: NodeId) {
    let mut current = queue.node.subscribe();
    let Start { route, is_trying } = start;
    let turn = Turn { node, key: route.key.clone(), since: queue.now(), messages: 0, is_trying, is_opening: false };
    let hand = queue.hands.new_hand();
    let mut worker = Worker { queue, route, turn, job: None, hand, connected: None, is_counted: true };
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
            if connection.is_none() {
                self.disconnected();
            }
            let next = self.queue.lanes().next(&mut self.turn, connection.take(), now);
            match next {
                NextJob::End { other, resume_after, surplus } => {
                    self.connected = None;
                    if let Some(pause) = resume_after {
                        self.queue.resume_after(pause, self.turn.key.clone());
                    }
                    self.is_counted = false;
                    if let Some(connection) = surplus {
                        self.queue.close_surplus(*connection);
                    }
                    self.queue.worker_ended(other);
                    return;
                }
                NextJob::Send { job, open, surplus } => {
                    self.connected = open.as_ref().map(|connection| connection.source.clone());
                    if let Some(connection) = surplus {
                        self.queue.close_surplus(*connection);
                    }
                    if job.source.holds_until <= now {
                        self.queue.reconsider(job);
                        connection = open;
                        continue;
                    }
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
        let (email, deliveries, source) =
            self.job.as_ref().map(|job| (job.email.clone(), job.deliveries.clone(), job.source.key.clone()))?;
        let stage = if open.is_some() { Stage::Sending } else { Stage::Connecting };
        self.hand.take(&email, &deliveries, stage, queue.now());
        let sent = self.attempt(&email, &deliveries, &source, open).await;
        self.hand.let_go();
        if let Err(NotSent::Done(connection)) = sent {
            return connection;
        }
        let job = self.job.take()?;
        match sent {
            Ok((mut sent, connection)) => {
                sent.attempts.iter_mut().for_each(|(_, attempt)| job.source.describe(attempt));
                self.note_use(&sent.attempts);
                // One that is too much for it outweighs others that are taken.
                let verdicts = sent.attempts.iter().filter_map(|(_, attempt)| Verdict::of(&attempt.outcome));
                queue.note_verdict(&self.turn.key, verdicts.max_by_key(|verdict| *verdict == Verdict::TooFast));
                queue.settle(job, sent.attempts, sent.peer_reports);
                connection
            }
            Err(NotSent::Unbound(ip)) => {
                warn!(%ip, "a source address is no address of this host any more; another is chosen");
                queue.sources.reject(ip);
                queue.reconsider(job);
                None
            }
            Err(NotSent::Unconnected(failure)) => {
                queue.note_verdict(&self.turn.key, Verdict::of(&failure.outcome));
                self.unconnected(job, *failure);
                None
            }
            Err(NotSent::NoPlace(connection)) => {
                let Some(job) = queue.without_recalled(job) else { return Some(connection) };
                self.connected = None;
                let left = queue.lanes().put_back(&self.turn, job, connection, queue.now());
                if let Some(connection) = left.surplus {
                    queue.close_surplus(*connection);
                }
                queue.give_back(left.job.into_iter().collect());
                None
            }
            // Another node sends it.
            Err(NotSent::Revoked | NotSent::Done(_)) => None,
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

    /// One attempt: over the open connection if there is one and it still works, else over a new one. The message is read when
    /// there is a connection: what waits for one takes no memory.
    async fn attempt(
        &mut self,
        email: &ClaimedEmail,
        deliveries: &[usize],
        source: &SourceKey,
        mut open: Option<Box<Connection>>,
    ) -> Result<(Sent, Option<Box<Connection>>), NotSent> {
        let queue = self.queue.clone();
        let node = self.turn.node;
        let may_send = || queue.may_send(node);
        // After a failed handshake the next attempt goes in clear, rather than never (RFC 7435 section 3).
        let avoid_tls = deliveries.iter().any(|&i| email.deliveries[i].last_category == Some(Category::Tls));
        let next_hop = next_hop(email, deliveries);
        let mut held: Option<(Bytes, Loan<'_>)> = None;
        loop {
            let kept =
                open.take().filter(|connection| connection.is_quiet() && connection.may_carry(next_hop.as_ref()));
            let mut was_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => {
                    self.hand.move_to(Stage::Connecting, queue.now());
                    self.connect(source, avoid_tls, next_hop.as_ref()).await?
                }
            };
            let raw = match &held {
                Some((raw, _)) => raw.clone(),
                None => {
                    let (loan, has_waited) = self.borrow_memory(&queue).await;
                    // The other side may not have had so much patience.
                    was_kept |= has_waited;
                    let Some(raw) = self.message().await else { return Err(NotSent::Done(Some(connection))) };
                    held.insert((raw, loan)).0.clone()
                }
            };
            self.job = self.job.take().and_then(|job| queue.without_recalled(job));
            let Some(deliveries) = self.job.as_ref().map(|job| job.deliveries.clone()) else {
                return Err(NotSent::Done(Some(connection)));
            };
            self.hand.move_to(Stage::Sending, queue.now());
            let mut seen = Vec::new();
            if queue.delivery.tls_ledger.is_some() {
                seen.extend(Seen::of(&connection, &self.route));
            }
            let sending = transaction::send(&queue.delivery, connection, email, &deliveries, raw, &may_send);
            match sending.instrument(debug_span!("transaction", recipients = deliveries.len())).await? {
                // The other side closed it while nobody looked: that is no attempt.
                (Sent { began: false, .. }, _) if was_kept => {
                    debug!("the kept connection was closed; a new one is opened")
                }
                (sent, connection) => {
                    self.note_seen(email, &deliveries, &seen);
                    return Ok((sent, connection));
                }
            }
        }
    }

    /// A new connection.
    async fn connect(
        &mut self,
        source: &SourceKey,
        avoid_tls: bool,
        next_hop: Option<&Domain>,
    ) -> Result<Box<Connection>, NotSent> {
        let queue = self.queue.clone();
        self.disconnected();
        let connecting = connect::connect(&queue.delivery, &self.route, source, avoid_tls, next_hop)
            .instrument(debug_span!("connect", destination = %self.route.key))
            .await;
        let mut connection = connecting.map_err(|failure| match failure.unbound {
            Some(ip) => NotSent::Unbound(ip),
            None => NotSent::Unconnected(Box::new(failure)),
        })?;
        if let Some(job) = &self.job {
            self.note_seen(&job.email, &job.deliveries, &std::mem::take(&mut connection.seen_before));
        }
        self.connected = Some(source.clone());
        let place = queue.lanes().note_connected(&mut self.turn, source);
        match place {
            Ok(more) => queue.start_other(more),
            Err(NoPlace) => return Err(NotSent::NoPlace(connection)),
        }
        Ok(connection)
    }

    /// Room for the message of the job in hand, where it is not in memory already: read from the store it counts like one that
    /// a session holds. Whether that took time.
    async fn borrow_memory<'q>(&self, queue: &'q Queue) -> (Loan<'q>, bool) {
        let size = self.job.as_ref().map_or(0, |job| if job.raw.is_some() { 0 } else { job.email.size });
        let mut share = queue.memory.share();
        if share.resize(usize::try_from(size).unwrap_or(usize::MAX)) {
            return (Loan { _share: share, _over_budget: None }, false);
        }
        debug!("waiting: no memory is left for messages");
        self.hand.move_to(Stage::Memory, queue.now());
        let over_budget = queue.over_budget.lock().await;
        (Loan { _share: share, _over_budget: Some(over_budget) }, true)
    }

    /// Counts, for the reports to recipient domains, how well the way there was protected. Of what waives TLS nothing is told: so no
    /// report is about reports (RFC 8460 section 3).
    fn note_seen(&self, email: &ClaimedEmail, deliveries: &[usize], seen: &[Seen]) {
        let Some(ledger) = self.queue.delivery.tls_ledger.as_ref().filter(|_| !seen.is_empty()) else { return };
        if email.instructions.waives_tls {
            return;
        }
        let mut domains: Vec<Domain> =
            deliveries.iter().map(|&index| email.deliveries[index].recipient.address.domain()).collect();
        domains.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        domains.dedup();
        for domain in domains.iter().filter(|domain| domain.literal().is_none()) {
            let (policy, policy_failure) = self.queue.router.reported_policy(domain);
            let of = |kind: &str| ReportedPolicy { kind: kind.to_owned(), text: Vec::new(), hosts: Vec::new() };
            if let Some(result) = policy_failure {
                ledger.note(domain, &of("sts"), Some(Failure { result, mx: None, mx_ip: None, source_ip: None }));
            }
            for Seen { tlsa, failure } in seen {
                let policy = tlsa.as_ref().or(policy.as_ref()).cloned().unwrap_or_else(|| of("no-policy-found"));
                ledger.note(domain, &policy, failure.clone());
            }
        }
    }

    fn disconnected(&mut self) {
        if let Some(source) = self.connected.take() {
            self.queue.lanes().note_disconnected(&self.route.key, &source);
        }
    }

    /// Counts attempts for the address that they were made from.
    fn note_use(&self, attempts: &[(usize, Attempt)]) {
        if let Some(ip) = attempts.iter().find_map(|(_, attempt)| attempt.source_ip) {
            self.queue.sources.note_use(ip, attempts.len());
        }
    }

    /// Settles a job whose destination could not be connected to. If nobody is connected to it, so is all that waits for
    /// the same: one time-out after another would not make it better.
    fn unconnected(&self, job: Job, failure: ConnectFailure) {
        if failure.outcome.category() == Some(Category::Tls) {
            // The others may go in clear, having tried before.
            return self.settle_unconnected(job, &failure, failure.outcome.clone(), true);
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
            self.settle_unconnected(job, &failure, outcome, nth == 0);
        }
    }

    fn settle_unconnected(&self, job: Job, failure: &ConnectFailure, outcome: Outcome, is_tried: bool) {
        // No message has left.
        self.queue.sources.give_back(&job.source);
        if is_tried {
            self.note_seen(&job.email, &job.deliveries, &failure.seen);
        }
        let mut attempts = attempts_alike(&self.queue, &job, outcome);
        for (_, attempt) in &mut attempts {
            failure.describe(attempt);
            job.source.describe(attempt);
        }
        if is_tried {
            self.note_use(&attempts);
        }
        self.queue.settle(job, attempts, false);
    }
}

/// The domain of the recipients, where all are of one.
fn next_hop(email: &ClaimedEmail, deliveries: &[usize]) -> Option<Domain> {
    let mut domains = deliveries.iter().map(|&index| email.deliveries[index].recipient.address.domain());
    let first = domains.next()?;
    domains.all(|domain| domain == first).then_some(first)
}

/// The same outcome for all deliveries of a job.
pub(super) fn attempts_alike(queue: &Queue, job: &Job, outcome: Outcome) -> Vec<(usize, Attempt)> {
    let attempt = |&index: &usize| (index, attempt_without_connection(queue, job, index, outcome.clone()));
    job.deliveries.iter().map(attempt).collect()
}

/// What is recorded of a delivery that was not spoken of with anybody.
pub(super) fn attempt_without_connection(queue: &Queue, job: &Job, index: usize, outcome: Outcome) -> Attempt {
    Attempt {
        number: job.email.deliveries[index].attempts + 1,
        started_at: queue.now(),
        duration: Duration::ZERO,
        mx: None,
        mx_ip: None,
        source_ip: None,
        ip_selection: None,
        tls: None,
        exchanges: Vec::new(),
        outcome,
    }
}
