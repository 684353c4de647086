//! Who may send now: the claimed deliveries lined up by destination, and the limits in all and for each.
//!
//! Only counts and lists; no task is started and nothing is sent from here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::AddAssign as _;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::{Domain, Priority, Timestamp};
use postrider_store::{DeliveryId, Membership, NodeId};

use super::Job;
use super::holdings::Holdings;
use super::shares::Shares;
use crate::deliver::connect::Connection;
use crate::deliver::route::Route;
use crate::generations::Generations;
use crate::policy::shaping::{Pace, Verdict};
use crate::policy::source::SourceKey;
use lane::{Chosen, Lane};

mod lane;
mod view;

/// After this many messages, or this time, a worker lets a waiting destination have its turn.
const TURN_MESSAGES: u32 = 50;
const TURN_TIME: Duration = Duration::from_secs(10);

/// Workers of a destination that nobody has connected to yet. Each connection that is made allows one more.
const WORKERS_UNTRIED: usize = 2;

/// Workers that try to connect where nobody is connected, for each place of one that sends. They take no such place before they
/// are connected: a dead destination is in nobody's way, and waiting for it costs next to nothing.
const TRYING_PER_PLACE: usize = 5;

/// Destinations whose pace is remembered while there is no mail for them.
const PACES_MAX: usize = 20_000;

/// How much is sent and held at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneLimits {
    /// Workers of this node that send, in all.
    pub(super) active_max: usize,
    /// Workers for one destination, of all nodes together, connections that are kept for more mail included.
    pub(super) per_lane_max: usize,
    /// Claimed deliveries of this node in all.
    pub(super) held_max: usize,
    /// Claimed deliveries for one recipient domain, of all nodes together.
    pub(super) held_per_domain_max: usize,
}

/// All destinations.
#[derive(Debug)]
pub(super) struct Lanes {
    limits: LaneLimits,
    lanes: HashMap<Arc<str>, Lane>,
    /// Destinations with jobs but without a worker, because `active_max` is reached; in the order of their turns.
    waiting: VecDeque<Arc<str>>,
    active: usize,
    /// The same of those that nobody is connected to.
    waiting_to_try: VecDeque<Arc<str>>,
    trying: usize,
    /// What was learnt of destinations that there is no mail for now.
    paces: Generations<Arc<str>, Pace>,
    /// The claims.
    pub(super) holdings: Holdings,
    shares: Shares,
    /// Destinations that have more workers than their share, from before it shrank.
    over: HashSet<Arc<str>>,
    /// Connections beyond a share that are being closed.
    closing: usize,
    /// What the other nodes know of the shares that this one keeps to: [`Membership::fingerprint`].
    announced: u64,
    /// In whose name claims are made. `None` while this node has no lease: it may hold nothing.
    node: Option<NodeId>,
}

/// A worker's turn at its destination.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) node: NodeId,
    pub(super) key: Arc<str>,
    pub(super) since: Timestamp,
    pub(super) messages: u32,
    /// It takes no place of those that send: nobody was connected to the destination when it began.
    pub(super) is_trying: bool,
    /// It was given a job without a connection, and opens one.
    pub(super) is_opening: bool,
}

/// A worker that is to be started. It is counted from now.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) route: Arc<Route>,
    pub(super) is_trying: bool,
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum NextJob {
    Send {
        job: Job,
        /// One that can carry it.
        open: Option<Box<Connection>>,
        /// One that is in the way of the limit: to be closed, and told by [`Lanes::note_closed`].
        surplus: Option<Box<Connection>>,
    },
    /// Nothing to do here; the worker ends.
    End {
        /// The worker that may start in its place.
        other: Option<Start>,
        /// The destination has work, but not before so long: then [`Lanes::resume`] is to be called.
        resume_after: Option<Duration>,
        /// Its connection, where that is beyond the share: to be closed, and told by [`Lanes::note_closed`].
        surplus: Option<Box<Connection>>,
    },
}

/// What became of a job that was to be lined up.
#[derive(Debug)]
pub(super) enum Pushed {
    Start(Start),
    Waits,
    /// Its destination is for other nodes to serve.
    NotOurs(Job),
}

/// What follows from other shares.
#[derive(Debug, Default)]
pub(super) struct Reshaped {
    /// To be closed, and told by [`Lanes::note_closed`].
    pub(super) surplus: Vec<Connection>,
    pub(super) start: Vec<Start>,
    /// For other nodes.
    pub(super) not_ours: Vec<Job>,
}

/// What follows when a worker could not connect.
#[derive(Debug)]
pub(super) enum Unconnected {
    /// Others are connected: the job is in line again for them, and the destination gets along with fewer workers.
    LeftToOthers,
    /// Nobody is: the job, and all that wait for the same from the same source, would run into the same wall.
    Fail(Vec<Job>),
}

impl Lanes {
    pub(super) fn new(limits: LaneLimits, node: NodeId, membership: Membership) -> Self {
        let shares = Shares::new(membership);
        Self {
            limits,
            lanes: HashMap::new(),
            waiting: VecDeque::new(),
            active: 0,
            waiting_to_try: VecDeque::new(),
            trying: 0,
            paces: Generations::new(PACES_MAX),
            holdings: Holdings::new(limits.held_max, shares.of_any(limits.held_per_domain_max)),
            shares,
            over: HashSet::new(),
            closing: 0,
            announced: 0,
            node: Some(node),
        }
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// All workers.
    pub(super) fn workers(&self) -> usize {
        self.active + self.trying
    }

    /// Takes room for deliveries that are to be accepted with a claim; see [`Holdings::try_hold`]. In whose name.
    pub(super) fn try_hold(&mut self, domains: &[(Domain, usize)], priority: Priority) -> Option<NodeId> {
        let node = self.node?;
        self.holdings.try_hold(domains, priority > Priority::NORMAL).then_some(node)
    }

    /// Gives room back that was taken in this node's name; see [`Holdings::unhold`].
    pub(super) fn unhold(&mut self, domains: &[(Domain, usize)], node: NodeId) -> bool {
        self.node == Some(node) && self.holdings.unhold(domains)
    }

    /// Lines a job up.
    pub(super) fn push(&mut self, route: Arc<Route>, job: Job, now: Timestamp) -> Pushed {
        let limit = limit_of(&route, &self.limits);
        let (shares, paces) = (self.shares, &mut self.paces);
        let lane = self.lanes.entry(route.key.clone()).or_insert_with(|| {
            let pace = paces.get(&route.key).cloned().unwrap_or_default();
            Lane::new(route.clone(), limit, shares.of(limit, &route.key), pace)
        });
        lane.route = route.clone();
        if lane.share == 0 {
            self.holdings.note_unserved(job.domains(), now);
            return Pushed::NotOurs(job);
        }
        self.holdings.note_served(|| job.domains());
        lane.line_up(job);
        self.worker_for(&route.key).map_or(Pushed::Waits, Pushed::Start)
    }

    /// A worker to start for this destination, if it wants one and there is room; else it waits for its turn.
    fn worker_for(&mut self, key: &Arc<str>) -> Option<Start> {
        let lane = self.lanes.get_mut(key).filter(|lane| lane.wants_worker())?;
        let is_trying = !lane.is_reached();
        let (count, max) = match is_trying {
            true => (&mut self.trying, self.limits.active_max * TRYING_PER_PLACE),
            false => (&mut self.active, self.limits.active_max),
        };
        if *count < max {
            *count += 1;
            lane.count_mut(is_trying).add_assign(1);
            return Some(Start { route: lane.route.clone(), is_trying });
        }
        self.wait_for_turn(key);
        None
    }

    /// Puts a destination that wants a worker in the line for one.
    fn wait_for_turn(&mut self, key: &Arc<str>) {
        if let Some(lane) = self.lanes.get_mut(key).filter(|lane| lane.wants_worker() && !lane.is_waiting) {
            lane.is_waiting = true;
            let line = if lane.is_reached() { &mut self.waiting } else { &mut self.waiting_to_try };
            line.push_back(key.clone());
        }
    }

    /// The next job for a worker. `connection` is what it holds: it comes back with the job, or is kept for the next
    /// worker.
    pub(super) fn next(&mut self, turn: &mut Turn, connection: Option<Box<Connection>>, now: Timestamp) -> NextJob {
        let others_wait = !self.waiting.is_empty();
        let is_current = self.node == Some(turn.node);
        let is_over = others_wait && (turn.messages >= TURN_MESSAGES || now.since(turn.since) >= TURN_TIME);
        let (mut surplus, mut resume_after) = (connection, None);
        if let Some(lane) = self.lanes.get_mut(&turn.key) {
            lane.end_opening(turn);
            let may_go_on = is_current
                && !is_over
                && !lane.is_paused
                && lane.workers() <= lane.workers_max()
                && !lane.jobs.is_empty()
                && promote(lane, turn, &mut self.active, &mut self.trying, self.limits.active_max);
            if may_go_on {
                let is_stale = lane.next_is_stale(surplus.as_deref(), now);
                match if is_stale { Ok(()) } else { lane.take_leave(now) } {
                    Ok(()) => {
                        if let Some(job) = lane.take_job(surplus.as_deref()) {
                            turn.messages += 1;
                            let Chosen { open, surplus } = lane.connection_for(turn, &job, surplus, now);
                            self.closing += usize::from(surplus.is_some());
                            return NextJob::Send { job, open, surplus };
                        }
                    }
                    Err(wait) => resume_after = Some(wait),
                }
            }
            if let Some(connection) = surplus.take() {
                surplus = lane.keep(connection, is_current, now);
            }
        }
        self.closing += usize::from(surplus.is_some());
        NextJob::End { other: self.end_worker(turn), resume_after, surplus }
    }

    /// Counts a worker out. Returns another one to start.
    pub(super) fn end_worker(&mut self, turn: &mut Turn) -> Option<Start> {
        let count = if turn.is_trying { &mut self.trying } else { &mut self.active };
        *count = count.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(&turn.key) {
            lane.end_opening(turn);
            let count = lane.count_mut(turn.is_trying);
            *count = count.saturating_sub(1);
            if lane.workers() <= lane.share {
                self.over.remove(&turn.key);
            }
        }
        self.wait_for_turn(&turn.key);
        self.next_waiting()
    }

    /// A worker has a new connection. `Err`: it has no place among those that send, and gives job and connection back with
    /// [`Lanes::put_back`]. `Ok`: perhaps one more worker to start, if the destination has work for it.
    pub(super) fn note_connected(&mut self, turn: &mut Turn, source: &SourceKey) -> Result<Option<Start>, NoPlace> {
        let Some(lane) = self.lanes.get_mut(&turn.key) else { return Ok(None) };
        lane.end_opening(turn);
        lane.connected.add(source);
        lane.workers_max = (lane.workers_max + 1).min(lane.limit);
        if !promote(lane, turn, &mut self.active, &mut self.trying, self.limits.active_max) {
            return Err(NoPlace);
        }
        Ok(self.worker_for(&turn.key))
    }

    /// Takes back what a worker has no place to send. The destination waits for its turn.
    pub(super) fn put_back(&mut self, turn: &Turn, job: Job, connection: Box<Connection>, now: Timestamp) -> PutBack {
        let Some(lane) = self.lanes.get_mut(&turn.key) else {
            return PutBack { job: Some(job), surplus: Some(connection) };
        };
        let is_current = self.node == Some(turn.node);
        let surplus = lane.keep(connection, is_current, now);
        self.closing += usize::from(surplus.is_some());
        if !is_current {
            return PutBack { job: None, surplus };
        }
        lane.line_up_first(job);
        PutBack { job: None, surplus }
    }

    /// A worker's connection is closed.
    pub(super) fn note_disconnected(&mut self, key: &Arc<str>, source: &SourceKey) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.connected.remove(source);
        }
    }

    /// A worker could not connect with this job.
    pub(super) fn note_unconnected(&mut self, key: &Arc<str>, job: Job) -> Unconnected {
        let Some(lane) = self.lanes.get_mut(key) else { return Unconnected::Fail(vec![job]) };
        // Of a destination that is another's now, those that are connected end, too.
        if lane.connected.by(&job.source.key) > 0 && lane.share > 0 {
            // It takes fewer connections at once than we tried.
            lane.workers_max = lane.connected.all();
            lane.line_up_first(job);
            return Unconnected::LeftToOthers;
        }
        if lane.connected.all() == 0 {
            lane.workers_max = 1;
        }
        let (failed, others) =
            lane.jobs.drain(..).partition::<VecDeque<_>, _>(|waiting| waiting.source.key == job.source.key);
        lane.jobs = others;
        Unconnected::Fail(std::iter::once(job).chain(failed).collect())
    }

    /// Takes note of what a destination said of our pace.
    pub(super) fn note_verdict(&mut self, key: &Arc<str>, verdict: Verdict, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.pace.note(verdict, lane.connected.all(), lane.limit, now);
        }
    }

    /// A destination goes on after a pause. The workers to start for it: as many as it had, for those that take connections
    /// which are open already call no others.
    pub(super) fn resume(&mut self, key: &Arc<str>) -> Vec<Start> {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.is_paused = false;
        }
        std::iter::from_fn(|| self.worker_for(key)).collect()
    }

    /// A worker to start for a destination that waits, if there is room for one.
    fn next_waiting(&mut self) -> Option<Start> {
        // A line of those that came to be reached, or lost their last connection, is looked through once.
        for _ in 0..self.waiting.len() + self.waiting_to_try.len() {
            let key = if self.active < self.limits.active_max && !self.waiting.is_empty() {
                self.waiting.pop_front()
            } else if self.trying < self.limits.active_max * TRYING_PER_PLACE {
                self.waiting_to_try.pop_front()
            } else {
                None
            };
            let key = key?;
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            lane.is_waiting = false;
            if let Some(start) = self.worker_for(&key) {
                // It may want more than one.
                self.wait_for_turn(&key);
                return Some(start);
            }
        }
        None
    }

    /// Connections that nobody has used for `idle_max`. Destinations with nothing to do are forgotten.
    pub(super) fn take_idle_connections(&mut self, now: Timestamp, idle_max: Duration) -> Vec<Connection> {
        let mut taken = Vec::new();
        let paces = &mut self.paces;
        self.lanes.retain(|key, lane| {
            let fresh = lane.idle.iter().position(|(_, since)| now.since(*since) < idle_max).unwrap_or(lane.idle.len());
            taken.extend(lane.idle.drain(..fresh).map(|(connection, _)| *connection));
            let is_needed = !lane.jobs.is_empty() || lane.workers() > 0 || !lane.idle.is_empty();
            if !is_needed && (lane.pace.is_learnt() || lane.pace.is_ahead(now)) {
                paces.insert(key.clone(), lane.pace.clone());
            }
            is_needed
        });
        taken
    }

    /// Takes these deliveries out of line.
    pub(super) fn take_out(&mut self, ids: &HashSet<DeliveryId>) -> Vec<Job> {
        let mut taken = Vec::new();
        for lane in self.lanes.values_mut() {
            lane.jobs.iter_mut().for_each(|job| taken.extend(job.take_out(ids)));
            lane.jobs.retain(|job| !job.deliveries.is_empty());
        }
        taken
    }

    pub(super) fn take_all_jobs(&mut self) -> Vec<Job> {
        self.waiting.clear();
        self.waiting_to_try.clear();
        self.lanes
            .values_mut()
            .flat_map(|lane| {
                lane.is_waiting = false;
                lane.jobs.drain(..)
            })
            .collect()
    }

    /// Forgets all claims, for they are lost with the node in whose name they were made, and closes what is idle. `next`:
    /// who claims from now on, and among whom.
    pub(super) fn reset(&mut self, next: Option<(NodeId, Membership)>) {
        self.take_all_jobs();
        self.holdings.clear();
        self.lanes.values_mut().for_each(|lane| lane.idle.clear());
        self.node = next.map(|(node, _)| node);
        self.announced = 0;
        if let Some((_, membership)) = next {
            self.shares = Shares::new(membership);
            // There is nothing to close and nothing to send: only the shares are others.
            self.apply_shares(Timestamp::default());
        }
    }
}

/// The shares of all nodes.
impl Lanes {
    /// Takes note of who the nodes are now. What follows, if that changes shares.
    pub(super) fn keep_to(&mut self, membership: Membership, now: Timestamp) -> Option<Reshaped> {
        self.shares.change(membership).then(|| self.apply_shares(now))
    }

    fn apply_shares(&mut self, now: Timestamp) -> Reshaped {
        let mut reshaped = Reshaped::default();
        self.holdings.set_per_domain_max(self.shares.of_any(self.limits.held_per_domain_max));
        self.over.clear();
        for (key, lane) in &mut self.lanes {
            lane.share = self.shares.of(lane.limit, key);
            let surplus = lane.idle.len().saturating_sub(lane.share.saturating_sub(lane.workers()));
            reshaped.surplus.extend(lane.idle.drain(..surplus).map(|(connection, _)| *connection));
            if lane.share == 0 {
                reshaped.not_ours.extend(lane.jobs.drain(..));
            }
            if lane.workers() > lane.share {
                self.over.insert(key.clone());
            }
        }
        self.closing += reshaped.surplus.len();
        reshaped.not_ours.iter().for_each(|job| self.holdings.note_unserved(job.domains(), now));
        let keys: Vec<Arc<str>> = self.lanes.keys().cloned().collect();
        for key in keys {
            while let Some(start) = self.worker_for(&key) {
                reshaped.start.push(start);
            }
        }
        reshaped
    }

    /// A connection beyond a share is closed.
    pub(super) fn note_closed(&mut self) {
        self.closing = self.closing.saturating_sub(1);
    }

    /// The [`Membership::fingerprint`] of the nodes whose shares are kept to: once nothing exceeds them any more.
    pub(super) fn keeps_to(&self) -> u64 {
        if self.over.is_empty() && self.closing == 0 { self.shares.fingerprint() } else { self.announced }
    }

    /// The other nodes know that this one keeps to these shares.
    pub(super) fn note_announced(&mut self, fingerprint: u64) {
        self.announced = fingerprint;
    }

    /// Whether the other nodes should be told.
    pub(super) fn has_news(&self) -> bool {
        self.node.is_some() && self.keeps_to() != self.announced
    }
}

/// A worker that is connected has no place among those that send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoPlace;

/// What is left of what was put back.
#[derive(Debug)]
pub(super) struct PutBack {
    /// The destination is forgotten: the job is to be given back.
    pub(super) job: Option<Job>,
    /// To be closed, and told by [`Lanes::note_closed`].
    pub(super) surplus: Option<Box<Connection>>,
}

/// How many connections a destination takes of all nodes together.
fn limit_of(route: &Route, limits: &LaneLimits) -> usize {
    route.profile.connections.unwrap_or(limits.per_lane_max)
}

/// Whether a worker may send. One that only tries takes a place for it, once its destination is reached.
fn promote(lane: &mut Lane, turn: &mut Turn, active: &mut usize, trying: &mut usize, active_max: usize) -> bool {
    if !turn.is_trying || !lane.is_reached() {
        return true;
    }
    if *active >= active_max {
        return false;
    }
    turn.is_trying = false;
    for (from, to) in [(trying, active), lane.counts_mut()] {
        *from = from.saturating_sub(1);
        *to += 1;
    }
    true
}

#[cfg(test)]
mod tests;
