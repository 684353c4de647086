//! The queue of this node: which claimed deliveries go where, and when.
//!
//! The store owns the queue; this room holds the part that this node has claimed, spreads it over destinations within
//! the limits, and hands the outcomes back. What it knows is lost with the process and nobody misses it: claims lapse with
//! the node's lease.
//!
//! Mail comes in two ways: a session that accepts a message may keep the claim on it ([`Queue::reserve`]), so that it is
//! sent from memory without another look at the store; everything else is claimed in batches by [`Queue::run`].

mod lanes;
mod settle;
mod worker;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use postrider_core::{Domain, RetrySchedule, Timestamp};
use postrider_store::{ClaimRequest, ClaimedEmail, DeliveryId, NodeId, Store, StoreError};
use tokio::sync::{Notify, watch};
use tracing::{debug, error, info, warn};

use crate::deliver::Delivery;
use crate::deliver::route::{Route, Router};
use crate::memory::MemoryShare;
use lanes::Lanes;

/// The queue's limits and the values that outcomes are computed with.
#[derive(Debug, Clone)]
pub(crate) struct QueueOptions {
    pub(crate) node: NodeId,
    pub(crate) retry: RetrySchedule,
    /// Transactions at once, in all and to one destination.
    pub(crate) concurrency: usize,
    pub(crate) concurrency_per_destination: usize,
    /// Domains whose mail is kept here: where a notification to them goes.
    pub(crate) local_domains: Vec<Domain>,
}

/// The queue of this node.
#[derive(Debug)]
pub(crate) struct Queue {
    options: QueueOptions,
    store: Arc<dyn Store>,
    router: Router,
    delivery: Delivery,
    lanes: Mutex<Lanes>,
    /// Wakes the claimer: there is work in the store that this node does not hold.
    wake: Notify,
    /// Counts up when all claims are lost or given up; workers of an older epoch stop at once.
    epoch: watch::Sender<u64>,
    /// Settlements on their way to the store.
    settling: AtomicUsize,
    /// Notified when a worker or a settlement has ended.
    drained: Notify,
    /// No more claims.
    stopping: AtomicBool,
    /// Nothing is held any more: the lease may lapse.
    ended: watch::Sender<bool>,
}

/// Claimed deliveries of one e-mail that go to one destination.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) email: Arc<ClaimedEmail>,
    /// Which of the e-mail's claimed deliveries: indexes into its list.
    pub(crate) deliveries: Vec<usize>,
    /// The message as it is sent, where it is still in memory.
    pub(crate) raw: Option<HeldMessage>,
}

/// A message in memory, and its share of the budget.
#[derive(Debug, Clone)]
pub(crate) struct HeldMessage {
    pub(crate) raw: Bytes,
    pub(crate) _share: Arc<MemoryShare>,
}

/// Room in the queue for a message that is about to be accepted. Dropped unused, the room is free again.
#[derive(Debug)]
pub(crate) struct Reservation {
    queue: Arc<Queue>,
    domains: Vec<(Domain, usize)>,
    epoch: u64,
    used: bool,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.used {
            self.queue.lanes().unhold(&self.domains, self.epoch);
        }
    }
}

impl Queue {
    pub(crate) fn new(options: QueueOptions, store: Arc<dyn Store>, router: Router, delivery: Delivery) -> Arc<Self> {
        let slots = delivery.limits.claims_per_slot;
        let lanes = Lanes::new(
            options.concurrency,
            options.concurrency_per_destination,
            options.concurrency * slots,
            options.concurrency_per_destination * slots,
        );
        Arc::new(Self {
            options,
            store,
            router,
            delivery,
            lanes: Mutex::new(lanes),
            wake: Notify::new(),
            epoch: watch::Sender::new(0),
            settling: AtomicUsize::new(0),
            drained: Notify::new(),
            stopping: AtomicBool::new(false),
            ended: watch::Sender::new(false),
        })
    }

    pub(crate) fn node(&self) -> NodeId {
        self.options.node
    }

    /// Looks into the store now.
    pub(crate) fn kick(&self) {
        self.wake.notify_one();
    }

    /// Makes room for deliveries to these domains, to be accepted with this node's claim. `None`: leave them to the
    /// store, the queue will claim them when it can; what is waiting there already goes first.
    pub(crate) fn reserve(self: &Arc<Self>, domains: Vec<(Domain, usize)>) -> Option<Reservation> {
        if self.stopping.load(Ordering::Relaxed) {
            return None;
        }
        let mut lanes = self.lanes();
        lanes.try_hold(&domains).then(|| Reservation {
            queue: self.clone(),
            domains,
            epoch: lanes.epoch(),
            used: false,
        })
    }

    /// Tells that deliveries to these domains were accepted without a claim.
    pub(crate) fn left_in_store(&self, domains: impl IntoIterator<Item = Domain>) {
        self.lanes().note_backlog(domains);
        self.kick();
    }

    /// Begins with an e-mail that was accepted with this node's claim.
    pub(crate) fn submit(
        self: &Arc<Self>,
        mut reservation: Reservation,
        email: ClaimedEmail,
        message: Option<HeldMessage>,
    ) {
        reservation.used = true;
        self.take_on(email, message, reservation.epoch);
    }

    /// Claims and renews until told to stop. Ends when the queue is stopped.
    pub(crate) async fn run(self: Arc<Self>) {
        tokio::join!(self.renew_lease(), self.claim_whenever_due());
    }

    /// Stops claiming, waits for what is being sent, and gives the rest back. What does not end before `deadline` does is
    /// cut off and given back too.
    pub(crate) async fn stop(self: &Arc<Self>, deadline: impl Future<Output = ()>) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake.notify_waiters();
        self.wake.notify_one();
        let waiting = self.lanes().take_all_jobs();
        self.give_back(waiting);
        let all_done = async {
            loop {
                let drained = self.drained.notified();
                if self.lanes().active() == 0 && self.settling.load(Ordering::Acquire) == 0 {
                    return;
                }
                drained.await;
            }
        };
        tokio::select! {
            () = all_done => {}
            () = deadline => warn!(active = self.lanes().active(), "deliveries were cut off by the shutdown"),
        }
        self.epoch.send_modify(|epoch| *epoch += 1);
        self.lanes().drop_connections();
        if let Err(error) = self.store.leave(self.options.node).await {
            error!(%error, "the claims of this node could not be given back; they lapse with its lease");
        }
        self.ended.send_replace(true);
    }

    async fn claim_whenever_due(self: &Arc<Self>) {
        let poll = self.delivery.limits.queue_poll;
        while !self.stopping.load(Ordering::Relaxed) {
            if let Err(error) = self.claim().await {
                warn!(%error, "the queue cannot claim; it tries again");
            }
            let now = self.delivery.clock.now();
            let idle = self.lanes().take_idle_connections(now, self.delivery.limits.connection_idle);
            for connection in idle {
                tokio::spawn(connection.quit(self.delivery.clock.clone()));
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.delivery.clock.sleep(poll) => {}
            }
        }
    }

    /// Claims until nothing is due or there is no room.
    async fn claim(self: &Arc<Self>) -> Result<(), StoreError> {
        loop {
            let (limit, held, epoch) = {
                let lanes = self.lanes();
                (lanes.room(), lanes.held(), lanes.epoch())
            };
            if limit == 0 || self.stopping.load(Ordering::Relaxed) {
                return Ok(());
            }
            let request = ClaimRequest {
                node: self.options.node,
                now: self.delivery.clock.now(),
                limit,
                per_domain_max: self.lanes().held_per_domain_max(),
                held,
            };
            let claimed = self.store.claim(request).await?;
            let count: usize = claimed.emails.iter().map(|email| email.deliveries.len()).sum();
            if count > 0 {
                debug!(deliveries = count, "claimed");
            }
            for email in claimed.emails {
                {
                    let mut lanes = self.lanes();
                    if lanes.epoch() != epoch {
                        return Ok(());
                    }
                    lanes.hold(&domains_of(&email));
                }
                self.take_on(email, None, epoch);
            }
            if !claimed.more {
                self.lanes().clear_backlog();
                return Ok(());
            }
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Keeps this node's lease, until the queue has stopped. If it cannot be renewed in time, everything in hand is dropped
    /// before it lapses: by then another node may send it.
    async fn renew_lease(self: &Arc<Self>) {
        let lease = self.delivery.limits.lease;
        let clock = &self.delivery.clock;
        let mut lapses_at = clock.now() + lease;
        let mut fenced = false;
        loop {
            let mut ended = self.ended.subscribe();
            tokio::select! {
                () = clock.sleep(lease / 3) => {}
                _ = ended.wait_for(|&ended| ended) => return,
            }
            let asked_at = clock.now();
            let renewing = async {
                if fenced {
                    // The store may still think that this node holds what it has dropped.
                    self.store.leave(self.options.node).await?;
                }
                self.store.renew(self.options.node, asked_at, lease).await
            };
            match crate::clock::timeout(clock.as_ref(), lease / 3, renewing).await {
                Ok(Ok(())) => {
                    // Counted from before the question: the store's own count can only be later.
                    lapses_at = asked_at + lease;
                    if std::mem::take(&mut fenced) {
                        info!("the lease is renewed; deliveries go on");
                        self.kick();
                    }
                }
                Ok(Err(error)) => warn!(%error, "the lease of this node could not be renewed"),
                Err(_) => warn!("the store did not renew the lease of this node in time"),
            }
            if !fenced && clock.now() + lease / 3 >= lapses_at {
                error!("the lease of this node lapses; its deliveries are dropped, other nodes take them over");
                fenced = true;
                self.drop_claims();
            }
        }
    }

    fn drop_claims(&self) {
        let epoch = *self.epoch.borrow() + 1;
        self.lanes().reset(epoch);
        self.epoch.send_modify(|current| *current = epoch);
    }

    /// Finds the ways for a claimed e-mail and lines it up.
    fn take_on(self: &Arc<Self>, email: ClaimedEmail, message: Option<HeldMessage>, epoch: u64) {
        let email = Arc::new(email);
        let mut by_domain: Vec<(Domain, Vec<usize>)> = Vec::with_capacity(1);
        for (index, delivery) in email.deliveries.iter().enumerate() {
            let domain = delivery.recipient.address.domain();
            match by_domain.iter_mut().find(|(known, _)| *known == domain) {
                Some((_, indexes)) => indexes.push(index),
                None => by_domain.push((domain, vec![index])),
            }
        }
        // The common case costs no task: one domain whose route is known.
        if let [(domain, _)] = &by_domain[..]
            && let Some(route) = self.router.known(domain)
        {
            let deliveries = (0..email.deliveries.len()).collect();
            return self.line_up(route, Job { email, deliveries, raw: message }, epoch);
        }
        let queue = self.clone();
        tokio::spawn(async move { queue.find_routes(email, by_domain, message, epoch).await });
    }

    /// Groups deliveries by route: domains that share their MX hosts share the transaction.
    async fn find_routes(
        self: Arc<Self>,
        email: Arc<ClaimedEmail>,
        by_domain: Vec<(Domain, Vec<usize>)>,
        message: Option<HeldMessage>,
        epoch: u64,
    ) {
        let mut jobs: HashMap<Arc<str>, (Arc<Route>, Vec<usize>)> = HashMap::new();
        for (domain, indexes) in by_domain {
            match self.router.find(&domain).await {
                Ok(route) => jobs.entry(route.key.clone()).or_insert_with(|| (route, Vec::new())).1.extend(indexes),
                Err(no_route) => {
                    let job = Job { email: email.clone(), deliveries: indexes, raw: message.clone() };
                    self.settle_unrouted(job, &no_route, epoch);
                }
            }
        }
        for (route, mut deliveries) in jobs.into_values() {
            deliveries.sort_unstable();
            self.line_up(route, Job { email: email.clone(), deliveries, raw: message.clone() }, epoch);
        }
    }

    fn line_up(self: &Arc<Self>, route: Arc<Route>, job: Job, epoch: u64) {
        let start = {
            let mut lanes = self.lanes();
            if lanes.epoch() != epoch {
                return;
            }
            if self.stopping.load(Ordering::Relaxed) {
                drop(lanes);
                return self.give_back(vec![job]);
            }
            lanes.push(route, job)
        };
        if let Some(route) = start {
            self.start_worker(route);
        }
    }

    /// Gives claims back to the store, untried.
    fn give_back(self: &Arc<Self>, jobs: Vec<Job>) {
        let deliveries: Vec<DeliveryId> = jobs.iter().flat_map(Job::ids).collect();
        if deliveries.is_empty() {
            return;
        }
        let domains: Vec<_> = jobs.iter().flat_map(Job::domains).collect();
        let queue = self.clone();
        self.settling.fetch_add(1, Ordering::AcqRel);
        tokio::spawn(async move {
            if let Err(error) = queue.store.release(queue.options.node, deliveries).await {
                warn!(%error, "claims could not be given back; they lapse with this node's lease");
            }
            let epoch = queue.lanes().epoch();
            queue.lanes().unhold(&domains, epoch);
            queue.settling.fetch_sub(1, Ordering::AcqRel);
            queue.drained.notify_waiters();
        });
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // Nothing in there is left half-changed by a panic: each method changes counts and lists only.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.delivery.clock.now()
    }
}

impl Job {
    fn ids(&self) -> impl Iterator<Item = DeliveryId> + '_ {
        self.deliveries.iter().map(|&i| DeliveryId { email: self.email.id, number: self.email.deliveries[i].number })
    }

    /// How many deliveries it has to each domain.
    fn domains(&self) -> Vec<(Domain, usize)> {
        count_domains(self.deliveries.iter().map(|&i| self.email.deliveries[i].recipient.address.domain()))
    }
}

fn domains_of(email: &ClaimedEmail) -> Vec<(Domain, usize)> {
    count_domains(email.deliveries.iter().map(|delivery| delivery.recipient.address.domain()))
}

/// Counts equal domains.
pub(crate) fn count_domains(domains: impl Iterator<Item = Domain>) -> Vec<(Domain, usize)> {
    let mut counts: Vec<(Domain, usize)> = Vec::with_capacity(1);
    for domain in domains {
        match counts.iter_mut().find(|(known, _)| *known == domain) {
            Some((_, count)) => *count += 1,
            None => counts.push((domain, 1)),
        }
    }
    counts
}
