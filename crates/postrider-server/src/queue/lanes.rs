//! Who may send now: the claimed deliveries lined up by destination, and the limits in all and for each.
//!
//! Only counts and lists; no task is started and nothing is sent from here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use postrider_core::{Domain, Timestamp};
use postrider_store::{Membership, NodeId};

use super::Job;
use super::holdings::Holdings;
use super::shares::Shares;
use crate::deliver::connect::Connection;
use crate::deliver::route::Route;
use crate::policy::source::SourceKey;

/// After this many messages, or this time, a worker lets a waiting destination have its turn.
const TURN_MESSAGES: u32 = 50;
const TURN_TIME: Duration = Duration::from_secs(10);

/// Workers of a destination that nobody has connected to yet. Each connection that is made allows one more: a dead
/// destination never takes the places of those that answer.
const WORKERS_UNTRIED: usize = 2;

/// So many jobs a worker looks at for one that its connection can carry, and so often the first in line is passed over.
const LOOK_AHEAD_JOBS: usize = 50;
const PASSED_OVER_MAX: u32 = 50;

/// How much is sent and held at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneLimits {
    /// Workers of this node in all.
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

/// One destination.
#[derive(Debug)]
struct Lane {
    route: Arc<Route>,
    jobs: VecDeque<Job>,
    workers: usize,
    /// How many the other side seems to take, between 1 and the limit for all nodes.
    workers_max: usize,
    /// How many of them, and of idle connections, this node may have.
    share: usize,
    /// How many of the workers have a connection, by the connection's source.
    connected: Connected,
    /// How often the first job was passed over for one that a connection at hand could carry.
    passed_over: u32,
    /// Open connections that nobody uses, the one used last at the end.
    idle: Vec<(Box<Connection>, Timestamp)>,
    is_waiting: bool,
}

/// A worker's turn at its destination.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) node: NodeId,
    pub(super) key: Arc<str>,
    pub(super) since: Timestamp,
    pub(super) messages: u32,
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
        /// The destination whose worker may start in its place.
        other: Option<Arc<Route>>,
        /// Its connection, where that is beyond the share: to be closed, and told by [`Lanes::note_closed`].
        surplus: Option<Box<Connection>>,
    },
}

/// What became of a job that was to be lined up.
#[derive(Debug)]
pub(super) enum Pushed {
    /// A worker is to be started for it, which counts as active from now.
    Start(Arc<Route>),
    Waits,
    /// Its destination is for other nodes to serve.
    NotOurs(Job),
}

/// What follows from other shares.
#[derive(Debug, Default)]
pub(super) struct Reshaped {
    /// To be closed, and told by [`Lanes::note_closed`].
    pub(super) surplus: Vec<Connection>,
    /// Whose workers are to be started; they count as active from now.
    pub(super) start: Vec<Arc<Route>>,
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

    pub(super) fn active(&self) -> usize {
        self.active
    }

    /// Takes room for deliveries that are to be accepted with a claim; see [`Holdings::try_hold`]. In whose name.
    pub(super) fn try_hold(&mut self, domains: &[(Domain, usize)]) -> Option<NodeId> {
        let node = self.node?;
        self.holdings.try_hold(domains).then_some(node)
    }

    /// Gives room back that was taken in this node's name; see [`Holdings::unhold`].
    pub(super) fn unhold(&mut self, domains: &[(Domain, usize)], node: NodeId) -> bool {
        self.node == Some(node) && self.holdings.unhold(domains)
    }

    /// Lines a job up.
    pub(super) fn push(&mut self, route: Arc<Route>, job: Job, now: Timestamp) -> Pushed {
        let per_lane_max = self.limits.per_lane_max;
        let shares = self.shares;
        let lane = self.lanes.entry(route.key.clone()).or_insert_with(|| Lane {
            share: shares.of(per_lane_max, &route.key),
            route: route.clone(),
            jobs: VecDeque::new(),
            workers: 0,
            workers_max: WORKERS_UNTRIED.min(per_lane_max),
            connected: Connected::default(),
            passed_over: 0,
            idle: Vec::new(),
            is_waiting: false,
        });
        lane.route = route.clone();
        if lane.share == 0 {
            self.holdings.note_unserved(job.domains(), now);
            return Pushed::NotOurs(job);
        }
        self.holdings.note_served(|| job.domains());
        lane.jobs.push_back(job);
        self.worker_for(&route.key).map_or(Pushed::Waits, Pushed::Start)
    }

    /// A worker to start for this destination, if it wants one and there is room; else it waits for its turn.
    fn worker_for(&mut self, key: &Arc<str>) -> Option<Arc<Route>> {
        let lane = self.lanes.get_mut(key).filter(|lane| lane.wants_worker())?;
        if self.active < self.limits.active_max {
            lane.workers += 1;
            self.active += 1;
            return Some(lane.route.clone());
        }
        if !lane.is_waiting {
            lane.is_waiting = true;
            self.waiting.push_back(key.clone());
        }
        None
    }

    /// The next job for a worker. `connection` is what it holds: it comes back with the job, or is kept for the next
    /// worker.
    pub(super) fn next(&mut self, turn: &mut Turn, connection: Option<Box<Connection>>, now: Timestamp) -> NextJob {
        let others_wait = !self.waiting.is_empty();
        let is_current = self.node == Some(turn.node);
        let is_over = others_wait && (turn.messages >= TURN_MESSAGES || now.since(turn.since) >= TURN_TIME);
        let mut surplus = connection;
        if let Some(lane) = self.lanes.get_mut(&turn.key) {
            let is_spare = lane.workers > lane.workers_max();
            if is_current
                && !is_over
                && !is_spare
                && let Some(job) = lane.take_job(surplus.as_deref())
            {
                turn.messages += 1;
                let chosen = lane.connection_for(&job, surplus, now);
                self.closing += usize::from(chosen.surplus.is_some());
                return NextJob::Send { job, open: chosen.open, surplus: chosen.surplus };
            }
            if let Some(connection) = surplus.take() {
                let fits = lane.workers.max(lane.connected.all() + lane.idle.len()) <= lane.share;
                lane.connected.remove(&connection.source);
                if is_current && fits {
                    lane.idle.push((connection, now));
                } else {
                    surplus = Some(connection);
                }
            }
        }
        self.closing += usize::from(surplus.is_some());
        NextJob::End { other: self.end_worker(&turn.key), surplus }
    }

    /// Counts a worker out. Returns another one to start.
    pub(super) fn end_worker(&mut self, key: &Arc<str>) -> Option<Arc<Route>> {
        self.active = self.active.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.workers = lane.workers.saturating_sub(1);
            if lane.workers <= lane.share {
                self.over.remove(key);
            }
            if lane.wants_worker() && !lane.is_waiting {
                lane.is_waiting = true;
                self.waiting.push_back(key.clone());
            }
        }
        self.next_waiting()
    }

    /// A worker has a new connection. Returns one more worker to start, if the destination has work for it.
    pub(super) fn note_connected(&mut self, key: &Arc<str>, source: &SourceKey) -> Option<Arc<Route>> {
        let per_lane_max = self.limits.per_lane_max;
        let lane = self.lanes.get_mut(key)?;
        lane.connected.add(source);
        lane.workers_max = (lane.workers_max + 1).min(per_lane_max);
        self.worker_for(key)
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
            lane.jobs.push_front(job);
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

    /// A worker to start for a destination that waits, if there is room for one. It counts as active from now.
    fn next_waiting(&mut self) -> Option<Arc<Route>> {
        while self.active < self.limits.active_max {
            let key = self.waiting.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            lane.is_waiting = false;
            if !lane.wants_worker() {
                continue;
            }
            lane.workers += 1;
            self.active += 1;
            // It may want more than one.
            if lane.wants_worker() {
                lane.is_waiting = true;
                self.waiting.push_back(key);
            }
            return Some(lane.route.clone());
        }
        None
    }

    /// Connections that nobody has used for `idle_max`. Destinations with nothing to do are forgotten.
    pub(super) fn take_idle_connections(&mut self, now: Timestamp, idle_max: Duration) -> Vec<Connection> {
        let mut taken = Vec::new();
        self.lanes.retain(|_, lane| {
            let fresh = lane.idle.iter().position(|(_, since)| now.since(*since) < idle_max).unwrap_or(lane.idle.len());
            taken.extend(lane.idle.drain(..fresh).map(|(connection, _)| *connection));
            !(lane.jobs.is_empty() && lane.workers == 0 && lane.idle.is_empty())
        });
        taken
    }

    pub(super) fn take_all_jobs(&mut self) -> Vec<Job> {
        self.waiting.clear();
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
            lane.share = self.shares.of(self.limits.per_lane_max, key);
            let surplus = lane.idle.len().saturating_sub(lane.share.saturating_sub(lane.workers));
            reshaped.surplus.extend(lane.idle.drain(..surplus).map(|(connection, _)| *connection));
            if lane.share == 0 {
                reshaped.not_ours.extend(lane.jobs.drain(..));
            }
            if lane.workers > lane.share {
                self.over.insert(key.clone());
            }
        }
        self.closing += reshaped.surplus.len();
        reshaped.not_ours.iter().for_each(|job| self.holdings.note_unserved(job.domains(), now));
        let keys: Vec<Arc<str>> = self.lanes.keys().cloned().collect();
        for key in keys {
            while let Some(route) = self.worker_for(&key) {
                reshaped.start.push(route);
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

impl Lane {
    /// The next job: of those at the front, one that the connection can carry, unless the first has waited long enough.
    fn take_job(&mut self, connection: Option<&Connection>) -> Option<Job> {
        let suits = |job: &Job| connection.is_some_and(|connection| connection.source == job.source.key);
        let place = match self.jobs.iter().take(LOOK_AHEAD_JOBS).position(suits) {
            Some(place) if place == 0 || self.passed_over < PASSED_OVER_MAX => place,
            _ => 0,
        };
        self.passed_over = if place == 0 { 0 } else { self.passed_over + 1 };
        self.jobs.remove(place)
    }

    /// The connection for a job: the one at hand if it suits, or an idle one. The one at hand then becomes idle, and if that
    /// makes too many, the one that was idle for longest is surplus.
    fn connection_for(&mut self, job: &Job, at_hand: Option<Box<Connection>>, now: Timestamp) -> Chosen {
        let source = &job.source.key;
        if let Some(connection) = at_hand {
            if connection.source == *source {
                return Chosen { open: Some(connection), surplus: None };
            }
            self.connected.remove(&connection.source);
            self.idle.push((connection, now));
        }
        let found = self.idle.iter().rposition(|(connection, _)| connection.source == *source);
        let open = found.map(|place| self.idle.remove(place).0);
        if open.is_some() {
            self.connected.add(source);
        }
        let is_too_many = self.workers + self.idle.len() > self.share && !self.idle.is_empty();
        Chosen { open, surplus: is_too_many.then(|| self.idle.remove(0).0) }
    }

    fn wants_worker(&self) -> bool {
        !self.jobs.is_empty() && self.workers < self.workers_max()
    }

    fn workers_max(&self) -> usize {
        self.workers_max.min(self.share)
    }
}

/// With what a job goes on.
struct Chosen {
    open: Option<Box<Connection>>,
    surplus: Option<Box<Connection>>,
}

/// Connections in use, counted by their source.
#[derive(Debug, Default)]
struct Connected(HashMap<SourceKey, usize>);

impl Connected {
    fn all(&self) -> usize {
        self.0.values().sum()
    }

    fn by(&self, source: &SourceKey) -> usize {
        self.0.get(source).copied().unwrap_or(0)
    }

    fn add(&mut self, source: &SourceKey) {
        *self.0.entry(source.clone()).or_default() += 1;
    }

    fn remove(&mut self, source: &SourceKey) {
        if let Some(count) = self.0.get_mut(source) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(source);
            }
        }
    }
}

#[cfg(test)]
mod tests;
