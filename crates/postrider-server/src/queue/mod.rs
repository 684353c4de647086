//! The queue of this node: which claimed deliveries go where, and when.
//!
//! The store owns the queue; this room holds the part that this node has claimed, spreads it over destinations within
//! the limits, and hands the outcomes back. What it knows is lost with the process and nobody misses it: claims lapse with
//! the node's lease.
//!
//! Mail comes in two ways: a session that accepts a message may keep the claim on it ([`Queue::reserve`]), so that it is
//! sent from memory without another look at the store; everything else is claimed in batches by [`Queue::run`].

mod changes;
mod holdings;
mod lanes;
mod lease;
mod predecessor;
mod recall;
mod recent;
mod routing;
mod settle;
mod shares;
mod unrecorded;
mod view;
mod worker;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use postrider_core::{Domain, Priority, RetrySchedule, Timestamp};
use postrider_store::{ClaimRequest, ClaimedEmail, DeliveryId, Membership, NodeId, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use crate::deliver::Delivery;
use crate::deliver::connect::Connection;
use crate::deliver::route::Router;
use crate::directory::Recipients;
use crate::dkim::Signers;
use crate::memory::{MemoryBudget, MemoryShare};
use crate::outage::Outage;
use crate::policy::source::{Source, Sources};
use crate::policy::suppression::SuppressionList;
use crate::stats::Stats;
use crate::webhook::Webhooks;
use lanes::{LaneLimits, Lanes};
use lease::Lease;
pub(crate) use predecessor::NodeFile;
use recall::Recalled;
use recent::Recent;
use unrecorded::Unrecorded;
use view::Hands;

/// Jobs that are given back to the store together.
const GIVEN_BACK_JOBS: usize = 200;

/// The queue's limits and the values that outcomes are computed with.
#[derive(Debug)]
pub(crate) struct QueueOptions {
    pub(crate) registered: Registered,
    pub(crate) retry: RetrySchedule,
    /// Transactions at once: of this node in all, and of all nodes together to one destination.
    pub(crate) concurrency: usize,
    pub(crate) concurrency_per_destination: usize,
    /// Who gets the notifications to senders at home here.
    pub(crate) recipients: Arc<Recipients>,
    /// Who signs these notifications.
    pub(crate) signers: Arc<Signers>,
    /// To whom nothing is sent.
    pub(crate) suppressions: SuppressionList,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) stats: Arc<Stats>,
}

/// This node, as the store knows it.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) node: NodeId,
    pub(crate) host: String,
    /// The lease counts from then.
    pub(crate) at: Timestamp,
    /// The nodes as they were then.
    pub(crate) membership: Membership,
    /// Names it to the process that comes after this one.
    pub(crate) file: NodeFile,
}

/// The queue of this node.
#[derive(Debug)]
pub(crate) struct Queue {
    options: QueueOptions,
    store: Arc<dyn Store>,
    router: Router,
    sources: Arc<Sources>,
    delivery: Delivery,
    memory: MemoryBudget,
    /// Whoever sends a message for which the budget has no room; one at a time, so that all get done.
    over_budget: tokio::sync::Mutex<()>,
    lanes: Mutex<Lanes>,
    lease: Mutex<Lease>,
    /// Wakes the claimer: there is work in the store that this node does not hold.
    wake: Notify,
    /// Wakes who keeps the lease: the nodes are others, or should be told of this one.
    renew_wake: Notify,
    outage: Outage,
    unrecorded: Mutex<Unrecorded>,
    /// What was held or cancelled while this node has it.
    recalled: Recalled,
    /// Wakes who looks for that.
    recall_wake: Notify,
    /// What workers and look-ups are at.
    hands: Arc<Hands>,
    /// What came of the last attempts, by domain.
    recent: Mutex<Recent>,
    /// In whose name claims are made; the same as the lanes have. Workers of another node's claims stop at once.
    node: watch::Sender<Option<NodeId>>,
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
    /// From where it is sent.
    pub(crate) source: Source,
    /// Whose claims these are.
    pub(crate) node: NodeId,
}

impl Job {
    /// Its place in line: the lower, the sooner.
    fn rank(&self) -> i8 {
        self.email.instructions.priority.rank()
    }
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
    node: NodeId,
    used: bool,
}

impl Reservation {
    /// In whose name the deliveries are to be claimed.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.used && self.queue.lanes().unhold(&self.domains, self.node) {
            self.queue.kick();
        }
    }
}

impl Queue {
    pub(crate) fn new(
        options: QueueOptions,
        store: Arc<dyn Store>,
        router: Router,
        sources: Arc<Sources>,
        delivery: Delivery,
        memory: MemoryBudget,
    ) -> Arc<Self> {
        let limits = LaneLimits {
            active_max: options.concurrency,
            per_lane_max: options.concurrency_per_destination,
            held_max: options.concurrency * delivery.limits.claims_per_slot,
            held_per_domain_max: options.concurrency_per_destination * delivery.limits.claims_per_domain_slot,
        };
        let Registered { node, membership, at, .. } = options.registered;
        let is_alone = store.is_exclusive();
        let mut lanes = Lanes::new(limits, node, if is_alone { Membership::ALONE } else { membership });
        if is_alone {
            // There is nobody to tell.
            lanes.note_announced(Membership::ALONE.fingerprint);
        }
        let lease = delivery.limits.lease;
        Arc::new(Self {
            lanes: Mutex::new(lanes),
            lease: Mutex::new(Lease::new(at + lease, lease)),
            node: watch::Sender::new(Some(node)),
            options,
            store,
            router,
            sources,
            delivery,
            memory,
            over_budget: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
            renew_wake: Notify::new(),
            outage: Outage::new(),
            unrecorded: Mutex::default(),
            recalled: Recalled::default(),
            recall_wake: Notify::new(),
            hands: Arc::default(),
            recent: Mutex::default(),
            settling: AtomicUsize::new(0),
            drained: Notify::new(),
            stopping: AtomicBool::new(false),
            ended: watch::Sender::new(false),
        })
    }

    /// Looks into the store now.
    pub(crate) fn kick(&self) {
        self.wake.notify_one();
    }

    /// Makes room for deliveries to these domains, to be accepted with this node's claim. `None`: leave them to the
    /// store, the queue will claim them when it can; what is waiting there already goes first.
    pub(crate) fn reserve(self: &Arc<Self>, domains: Vec<(Domain, usize)>, priority: Priority) -> Option<Reservation> {
        if self.stopping.load(Ordering::Relaxed) {
            return None;
        }
        let node = self.lanes().try_hold(&domains, priority)?;
        Some(Reservation { queue: self.clone(), domains, node, used: false })
    }

    /// Tells that deliveries to these domains were accepted without a claim.
    pub(crate) fn left_in_store(&self, domains: impl IntoIterator<Item = Domain>) {
        if self.lanes().holdings.note_backlog(domains) {
            self.kick();
        }
    }

    /// Begins with an e-mail that was accepted with this node's claim.
    pub(crate) fn submit(
        self: &Arc<Self>,
        mut reservation: Reservation,
        email: ClaimedEmail,
        message: Option<HeldMessage>,
    ) {
        reservation.used = true;
        self.take_on(email, message, reservation.node);
    }

    /// Claims and renews until told to stop. Ends when the queue is stopped.
    pub(crate) async fn run(self: Arc<Self>) {
        tokio::join!(self.keep_lease(), self.hear_changes(), self.recall_whenever_told(), self.claim_whenever_due());
    }

    /// The store answered a call with an error: `what` was not done.
    pub(crate) fn store_failed(&self, what: &'static str, error: &StoreError) {
        self.outage.note(what, error, self.now());
        if self.outage.is_on() {
            // Who keeps the lease finds out when it is over.
            self.renew_wake.notify_one();
        }
    }

    /// The store has written something: if it was out of reach, all goes on.
    fn store_answers(&self) {
        if self.outage.end(self.now()) {
            self.kick();
        }
    }

    /// Stops claiming, waits for what is being sent, and gives the rest back. What does not end before `deadline` is cut
    /// off and given back too.
    pub(crate) async fn stop(self: &Arc<Self>, deadline: impl Future<Output = ()>) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        let waiting = self.lanes().take_all_jobs();
        self.give_back(waiting);
        let all_done = async {
            loop {
                let drained = self.drained.notified();
                if self.lanes().workers() == 0 && self.settling.load(Ordering::Acquire) == 0 {
                    break;
                }
                drained.await;
            }
            // Nobody uses a connection now: each is ended in order (RFC 5321 section 4.1.1.10).
            let open = self.lanes().take_idle_connections(Timestamp::from_millis(i64::MAX), std::time::Duration::ZERO);
            self.quit(open).join_all().await;
        };
        tokio::select! {
            () = all_done => {}
            () = deadline => warn!(active = self.lanes().workers(), "deliveries were cut off by the shutdown"),
        }
        if let Some(node) = self.lose_claims(None)
            && let Err(error) = self.store.leave(node).await
        {
            error!(%error, "the claims of this node could not be given back; they lapse with its lease");
        }
        self.ended.send_replace(true);
    }

    async fn claim_whenever_due(self: &Arc<Self>) {
        let poll = self.delivery.limits.queue_poll;
        while !self.stopping.load(Ordering::Relaxed) {
            if !self.outage.is_on()
                && let Err(error) = self.claim().await
            {
                self.store_failed("the queue cannot claim; it tries again", &error);
            }
            let idle = self.lanes().take_idle_connections(self.now(), self.delivery.limits.connection_idle);
            self.quit(idle).detach_all();
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.delivery.clock.sleep(poll) => {}
            }
        }
    }

    /// Claims until nothing is due or there is no room.
    async fn claim(self: &Arc<Self>) -> Result<(), StoreError> {
        loop {
            let now = self.now();
            let (limit, held, node, per_domain_max, notes) = {
                let mut lanes = self.lanes();
                let Some(node) = lanes.node() else { return Ok(()) };
                let holdings = &mut lanes.holdings;
                let limit = holdings.room();
                if limit == 0 {
                    holdings.note_starved();
                }
                (limit, holdings.held(now), node, holdings.per_domain_max(), holdings.backlog_notes())
            };
            if limit == 0 || per_domain_max == 0 || self.stopping.load(Ordering::Relaxed) {
                return Ok(());
            }
            let mut counts = held.iter().cloned().collect::<HashMap<_, _>>();
            let request = ClaimRequest { node, now, limit, per_domain_max, held };
            let claimed = self.store.claim(request).await?;
            self.look_up_suppressions(&claimed.emails).await;
            let mut taken = 0;
            for email in claimed.emails {
                let domains = domains_of(&email);
                {
                    let mut lanes = self.lanes();
                    if lanes.node() != Some(node) {
                        // The node was given up meanwhile, and all its claims with it.
                        return Ok(());
                    }
                    lanes.holdings.hold(&domains);
                }
                for (domain, count) in domains {
                    taken += count;
                    *counts.entry(domain).or_default() += count;
                }
                if let Some(email) = self.record_known(email, node) {
                    self.take_on(email, None, node);
                }
            }
            if taken > 0 {
                debug!(deliveries = taken, "claimed");
            }
            counts.retain(|_, count| *count >= per_domain_max);
            let full = counts.into_keys().collect();
            let is_worth_while = self.lanes().holdings.end_claim(full, claimed.more, notes);
            if !is_worth_while || (claimed.more && taken == 0) {
                return Ok(());
            }
        }
    }

    /// To whom nothing is sent.
    pub(crate) fn suppressions(&self) -> &SuppressionList {
        &self.options.suppressions
    }

    /// Asks the store about all recipients of a claim together.
    async fn look_up_suppressions(&self, emails: &[ClaimedEmail]) {
        let deliveries = emails.iter().flat_map(|email| &email.deliveries);
        let addresses: Vec<_> = deliveries.map(|delivery| &delivery.recipient.address).collect();
        self.options.suppressions.look_up(&addresses).await;
    }

    /// Gives claims back to the store, untried.
    fn give_back(self: &Arc<Self>, jobs: Vec<Job>) {
        jobs.iter().for_each(|job| self.sources.give_back(&job.source));
        let mut jobs = jobs.into_iter().peekable();
        while let Some(first) = jobs.next() {
            let (node, mut part) = (first.node, vec![first]);
            while part.len() < GIVEN_BACK_JOBS {
                let Some(job) = jobs.next_if(|job| job.node == node) else { break };
                part.push(job);
            }
            let settling = Settling::begin(self);
            let queue = self.clone();
            tokio::spawn(async move {
                let _settling = settling;
                queue.release(node, &part).await;
                part.iter().for_each(|job| queue.forget(job));
            });
        }
    }

    async fn release(&self, node: NodeId, jobs: &[Job]) {
        let deliveries: Vec<DeliveryId> = jobs.iter().flat_map(Job::ids).collect();
        while let Err(error) = self.store.release(node, deliveries.clone()).await {
            self.store_failed("claims cannot be given back yet", &error);
            if !self.is_current(node) {
                return;
            }
            self.delivery.clock.sleep(settle::STORE_RETRY).await;
        }
    }

    /// Says goodbye on connections that nobody needs, all at once.
    fn quit(&self, connections: Vec<Connection>) -> JoinSet<()> {
        connections.into_iter().map(|connection| connection.quit(self.delivery.clock.clone())).collect()
    }

    /// Gives up the room of a job's deliveries.
    fn forget(&self, job: &Job) {
        self.recalled.forget(job.ids());
        if self.lanes().unhold(&job.domains(), job.node) {
            self.kick();
        }
    }

    fn is_current(&self, node: NodeId) -> bool {
        *self.node.borrow() == Some(node)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // Nothing in there is left half-changed by a panic: each method changes counts and lists only.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.delivery.clock.now()
    }
}

/// Something on its way to the store, counted as long as it lives.
#[derive(Debug)]
struct Settling(Arc<Queue>);

impl Settling {
    fn begin(queue: &Arc<Queue>) -> Self {
        queue.settling.fetch_add(1, Ordering::AcqRel);
        Self(queue.clone())
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.0.settling.fetch_sub(1, Ordering::AcqRel);
        self.0.drained.notify_waiters();
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
