//! Who may send now: the claimed deliveries lined up by destination, and the limits in all and for each.
//!
//! Only counts and lists; no task is started and nothing is sent from here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use postrider_core::{Domain, Timestamp};
use postrider_store::NodeId;

use super::Job;
use crate::deliver::connect::Connection;
use crate::deliver::route::Route;

/// After this many messages, or this time, a worker lets a waiting destination have its turn.
const TURN_MESSAGES: u32 = 50;
const TURN_TIME: Duration = Duration::from_secs(10);

/// Workers of a destination that nobody has connected to yet. Each connection that is made allows one more: a dead
/// destination never takes the places of those that answer.
const WORKERS_UNTRIED: usize = 2;

/// How much is sent and held at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneLimits {
    /// Workers in all, and for one destination.
    pub(super) active_max: usize,
    pub(super) per_lane_max: usize,
    /// Claimed deliveries in all, and for one recipient domain.
    pub(super) held_max: usize,
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
    /// Claimed deliveries by recipient domain.
    held: HashMap<Domain, usize>,
    held_total: usize,
    /// Domains with due deliveries in the store that nobody holds, as far as this node knows: new mail for them must not
    /// overtake the old.
    backlog: HashSet<Domain>,
    /// Counts up with each note of a backlog: a claim that was under way may not have seen what the note is about.
    backlog_notes: u64,
    /// The last claim ended because `held_max` was reached, not because nothing more was due.
    is_starved: bool,
    /// In whose name claims are made. `None` while this node has no lease: it may hold nothing.
    node: Option<NodeId>,
}

/// One destination.
#[derive(Debug)]
struct Lane {
    route: Arc<Route>,
    jobs: VecDeque<Job>,
    workers: usize,
    /// How many it may have now, between 1 and the limit.
    workers_max: usize,
    /// How many of the workers have a connection.
    connected: usize,
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
    Send(Job, Option<Box<Connection>>),
    /// Nothing to do here; the worker ends. Another destination's worker may start.
    End(Option<Arc<Route>>),
}

/// What follows when a worker could not connect.
#[derive(Debug)]
pub(super) enum Unconnected {
    /// Others are connected: the job is in line again for them, and the destination gets along with fewer workers.
    LeftToOthers,
    /// Nobody is: the job, and all that wait for the same, would run into the same wall.
    Fail(Vec<Job>),
}

impl Lanes {
    pub(super) fn new(limits: LaneLimits, node: NodeId) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            waiting: VecDeque::new(),
            active: 0,
            held: HashMap::new(),
            held_total: 0,
            backlog: HashSet::new(),
            backlog_notes: 0,
            is_starved: false,
            node: Some(node),
        }
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        self.node
    }

    pub(super) fn active(&self) -> usize {
        self.active
    }

    pub(super) fn held_per_domain_max(&self) -> usize {
        self.limits.held_per_domain_max
    }

    /// How many more deliveries may be claimed.
    pub(super) fn room(&self) -> usize {
        self.limits.held_max.saturating_sub(self.held_total)
    }

    pub(super) fn held(&self) -> Vec<(Domain, usize)> {
        self.held.iter().map(|(domain, &count)| (domain.clone(), count)).collect()
    }

    /// Takes room for deliveries that are to be accepted with a claim, all or nothing; in whose name. A message with more
    /// recipients than there is room may pass the limit, or it could never be sent.
    pub(super) fn try_hold(&mut self, domains: &[(Domain, usize)]) -> Option<NodeId> {
        let node = self.node?;
        let max = self.limits.held_per_domain_max;
        let has_room = self.room() > 0
            && domains.iter().all(|(domain, _)| {
                !self.backlog.contains(domain) && self.held.get(domain).is_none_or(|&count| count < max)
            });
        has_room.then(|| {
            self.hold(domains);
            node
        })
    }

    /// Counts claims in.
    pub(super) fn hold(&mut self, domains: &[(Domain, usize)]) {
        for (domain, count) in domains {
            let held = self.held.entry(domain.clone()).or_default();
            *held += count;
            self.held_total += count;
        }
    }

    /// Gives room back; `true` if that makes a claim worth while: not for every single place, but when half is free.
    pub(super) fn unhold(&mut self, domains: &[(Domain, usize)], node: NodeId) -> bool {
        if self.node != Some(node) {
            return false;
        }
        let mut is_low = false;
        for (domain, count) in domains {
            let Some(held) = self.held.get_mut(domain) else { continue };
            *held = held.saturating_sub(*count);
            self.held_total = self.held_total.saturating_sub(*count);
            is_low |= *held <= self.limits.held_per_domain_max / 2 && self.backlog.contains(domain);
            if *held == 0 {
                self.held.remove(domain);
            }
        }
        (is_low && !self.is_starved) || (self.is_starved && self.held_total <= self.limits.held_max / 2)
    }

    /// Notes domains for which mail was accepted without a claim; `true` if it could be claimed now.
    pub(super) fn note_backlog(&mut self, domains: impl IntoIterator<Item = Domain>) -> bool {
        self.backlog_notes += 1;
        let mut has_room = false;
        for domain in domains {
            has_room |= self.has_room_for(&domain);
            self.backlog.insert(domain);
        }
        if self.room() == 0 {
            self.is_starved = true;
        }
        has_room && !self.is_starved
    }

    /// Whether so much is free that a claim is worth while.
    fn has_room_for(&self, domain: &Domain) -> bool {
        self.held.get(domain).is_none_or(|&count| count <= self.limits.held_per_domain_max / 2)
    }

    /// How often a backlog was noted: to be asked before a claim, and told after it.
    pub(super) fn backlog_notes(&self) -> u64 {
        self.backlog_notes
    }

    /// A claim ended because there was no room for more.
    pub(super) fn note_starved(&mut self) {
        self.is_starved = true;
    }

    /// A claim that began with `notes` notes has ended. `full`: the domains of which it took, with what was held before, as
    /// many as may be held: they may well have more. `more`: so may others. `true` if it is worth while to claim again at
    /// once; otherwise [`Lanes::unhold`] tells when it is.
    pub(super) fn end_claim(&mut self, full: Vec<Domain>, more: bool, notes: u64) -> bool {
        if !more {
            self.is_starved = false;
        }
        // What was accepted after the claim began it may not have seen.
        if !more && self.backlog_notes == notes {
            self.backlog.clear();
        }
        self.backlog.extend(full);
        self.room() > 0 && (more || self.backlog.iter().any(|domain| self.has_room_for(domain)))
    }

    /// Lines a job up. Returns the route if a worker is to be started for it, which counts as active from now.
    pub(super) fn push(&mut self, route: Arc<Route>, job: Job) -> Option<Arc<Route>> {
        let workers_max = WORKERS_UNTRIED.min(self.limits.per_lane_max);
        let lane = self.lanes.entry(route.key.clone()).or_insert_with(|| Lane {
            route: route.clone(),
            jobs: VecDeque::new(),
            workers: 0,
            workers_max,
            connected: 0,
            idle: Vec::new(),
            is_waiting: false,
        });
        lane.route = route.clone();
        lane.jobs.push_back(job);
        self.worker_for(&route.key)
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
        if let Some(lane) = self.lanes.get_mut(&turn.key) {
            let is_spare = lane.workers > lane.workers_max;
            if is_current
                && !is_over
                && !is_spare
                && let Some(job) = lane.jobs.pop_front()
            {
                turn.messages += 1;
                let connection = connection.or_else(|| {
                    let (connection, _) = lane.idle.pop()?;
                    lane.connected += 1;
                    Some(connection)
                });
                return NextJob::Send(job, connection);
            }
            if let Some(connection) = connection {
                lane.connected = lane.connected.saturating_sub(1);
                lane.idle.push((connection, now));
            }
        }
        NextJob::End(self.end_worker(&turn.key))
    }

    /// Counts a worker out. Returns another one to start.
    pub(super) fn end_worker(&mut self, key: &Arc<str>) -> Option<Arc<Route>> {
        self.active = self.active.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.workers = lane.workers.saturating_sub(1);
            if lane.wants_worker() && !lane.is_waiting {
                lane.is_waiting = true;
                self.waiting.push_back(key.clone());
            }
        }
        self.next_waiting()
    }

    /// A worker has a new connection. Returns one more worker to start, if the destination has work for it.
    pub(super) fn note_connected(&mut self, key: &Arc<str>) -> Option<Arc<Route>> {
        let per_lane_max = self.limits.per_lane_max;
        let lane = self.lanes.get_mut(key)?;
        lane.connected += 1;
        lane.workers_max = (lane.workers_max + 1).min(per_lane_max);
        self.worker_for(key)
    }

    /// A worker's connection is closed.
    pub(super) fn note_disconnected(&mut self, key: &Arc<str>) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.connected = lane.connected.saturating_sub(1);
        }
    }

    /// A worker could not connect with this job.
    pub(super) fn note_unconnected(&mut self, key: &Arc<str>, job: Job) -> Unconnected {
        let Some(lane) = self.lanes.get_mut(key) else { return Unconnected::Fail(vec![job]) };
        if lane.connected > 0 {
            // It takes fewer connections at once than we tried.
            lane.workers_max = lane.connected;
            lane.jobs.push_front(job);
            return Unconnected::LeftToOthers;
        }
        lane.workers_max = 1;
        Unconnected::Fail(std::iter::once(job).chain(lane.jobs.drain(..)).collect())
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

    /// Forgets all claims: they are lost with the node in whose name they were made. `node`: who claims from now on.
    pub(super) fn reset(&mut self, node: Option<NodeId>) {
        self.take_all_jobs();
        self.held.clear();
        self.held_total = 0;
        self.backlog.clear();
        self.is_starved = false;
        self.node = node;
    }
}

impl Lane {
    fn wants_worker(&self) -> bool {
        !self.jobs.is_empty() && self.workers < self.workers_max
    }
}

#[cfg(test)]
mod tests {
    use postrider_core::{Address, Envelope, Recipient};
    use postrider_store::{ClaimedDelivery, ClaimedEmail};

    use super::*;
    use crate::deliver::route::TlsMode;

    const NODE: NodeId = NodeId::from_bytes([1; 12]);
    const OTHER_NODE: NodeId = NodeId::from_bytes([2; 12]);

    fn lanes(active_max: usize, per_lane_max: usize, held_max: usize, held_per_domain_max: usize) -> Lanes {
        Lanes::new(LaneLimits { active_max, per_lane_max, held_max, held_per_domain_max }, NODE)
    }

    fn route(key: &str) -> Arc<Route> {
        Arc::new(Route { key: key.into(), hosts: Vec::new(), port: 25, tls: TlsMode::Never, credentials: None })
    }

    fn turn(key: &str) -> Turn {
        Turn { node: NODE, key: key.into(), since: Timestamp::default(), messages: 0 }
    }

    fn job() -> Job {
        let recipient = Recipient::new(Address::parse("a@a.example").unwrap());
        let delivery = ClaimedDelivery {
            number: 0,
            recipient,
            queued_at: Timestamp::default(),
            attempts: 0,
            last_category: None,
            delay_notified: false,
        };
        let email = ClaimedEmail {
            id: NodeId::default(),
            created_at: Timestamp::default(),
            envelope: Envelope::default(),
            message_id: None,
            size: 0,
            is_8bit: false,
            deliveries: vec![delivery],
        };
        Job { email: Arc::new(email), deliveries: vec![0], raw: None, node: NODE }
    }

    fn domain(count: usize) -> Vec<(Domain, usize)> {
        vec![(Domain::parse("a.example").unwrap(), count)]
    }

    fn ended(next: NextJob) -> Option<Arc<str>> {
        match next {
            NextJob::End(route) => route.map(|route| route.key.clone()),
            NextJob::Send(..) => panic!("there was a job"),
        }
    }

    fn takes_a_job(lanes: &mut Lanes, turn: &mut Turn) -> bool {
        matches!(lanes.next(turn, None, Timestamp::default()), NextJob::Send(..))
    }

    #[test]
    fn a_destination_gets_more_workers_as_it_takes_connections_and_never_more_than_its_limit() {
        let mut lanes = lanes(10, 4, 100, 100);
        let started = (0..9).filter(|_| lanes.push(route("a"), job()).is_some()).count();
        assert_eq!(started, WORKERS_UNTRIED);
        let more = (0..9).filter(|_| lanes.note_connected(&"a".into()).is_some()).count();
        assert_eq!((started + more, lanes.active()), (4, 4));
        let mut turn = turn("a");
        for _ in 0..9 {
            assert!(takes_a_job(&mut lanes, &mut turn));
        }
        assert_eq!(ended(lanes.next(&mut turn, None, Timestamp::default())), None);
        assert_eq!(lanes.active(), 3);
    }

    #[test]
    fn destinations_take_turns_when_all_workers_are_busy() {
        let mut lanes = lanes(1, 1, 100, 100);
        assert!(lanes.push(route("a"), job()).is_some());
        assert!(lanes.push(route("a"), job()).is_none());
        assert!(lanes.push(route("b"), job()).is_none());
        let mut a = turn("a");
        assert!(takes_a_job(&mut lanes, &mut a));
        a.messages = TURN_MESSAGES;
        assert_eq!(ended(lanes.next(&mut a, None, Timestamp::default())).as_deref(), Some("b"));
        let mut b = turn("b");
        assert!(takes_a_job(&mut lanes, &mut b));
        // A slow destination's turn is over by time.
        assert_eq!(ended(lanes.next(&mut b, None, Timestamp::default() + TURN_TIME)).as_deref(), Some("a"));
        assert_eq!(lanes.active(), 1);
    }

    #[test]
    fn when_nobody_can_connect_all_that_waits_fails() {
        let mut lanes = lanes(10, 5, 100, 100);
        for _ in 0..4 {
            lanes.push(route("a"), job());
        }
        let mut turn = turn("a");
        assert!(takes_a_job(&mut lanes, &mut turn));
        let Unconnected::Fail(jobs) = lanes.note_unconnected(&"a".into(), job()) else {
            panic!("others are connected")
        };
        assert_eq!(jobs.len(), 4);
        // One worker at a time tries from now on, until it is connected.
        assert!(lanes.end_worker(&"a".into()).is_none());
        assert!(lanes.push(route("a"), job()).is_none());
        assert!(lanes.push(route("a"), job()).is_none());
        assert_eq!(lanes.active(), 1);
        assert!(lanes.note_connected(&"a".into()).is_some());
    }

    #[test]
    fn one_refused_connection_costs_nothing_while_others_work() {
        let mut lanes = lanes(10, 5, 100, 100);
        for _ in 0..4 {
            lanes.push(route("a"), job());
        }
        lanes.note_connected(&"a".into());
        assert_eq!(lanes.active(), 3);
        let Unconnected::LeftToOthers = lanes.note_unconnected(&"a".into(), job()) else { panic!("one is connected") };
        lanes.end_worker(&"a".into());
        lanes.end_worker(&"a".into());
        let mut turn = turn("a");
        for _ in 0..5 {
            assert!(takes_a_job(&mut lanes, &mut turn), "the one that is connected sends them all");
        }
    }

    #[test]
    fn new_mail_does_not_overtake_what_waits_in_the_store() {
        let mut lanes = lanes(10, 5, 100, 4);
        assert_eq!(lanes.try_hold(&domain(4)), Some(NODE));
        assert_eq!(lanes.try_hold(&domain(1)), None);
        assert!(!lanes.note_backlog([Domain::parse("a.example").unwrap()]), "there is no room to claim it");
        assert!(!lanes.unhold(&domain(1), NODE), "one free place is not worth a claim");
        assert!(lanes.unhold(&domain(1), NODE), "half of them are");
        assert_eq!(lanes.try_hold(&domain(1)), None, "what is in the store goes first");
        lanes.end_claim(Vec::new(), false, lanes.backlog_notes());
        assert_eq!(lanes.try_hold(&domain(1)), Some(NODE));
    }

    #[test]
    fn what_was_accepted_while_a_claim_was_under_way_is_not_forgotten() {
        let mut lanes = lanes(10, 5, 100, 4);
        lanes.hold(&domain(3));
        let notes = lanes.backlog_notes();
        assert!(!lanes.note_backlog([Domain::parse("a.example").unwrap()]));
        assert!(!lanes.end_claim(Vec::new(), false, notes), "there is no room yet");
        assert_eq!(lanes.try_hold(&domain(1)), None, "it still goes first");
        assert!(lanes.unhold(&domain(1), NODE), "and is claimed as soon as half is free");
        assert!(lanes.end_claim(Vec::new(), false, notes), "or at once where it is free already");
        assert!(!lanes.end_claim(Vec::new(), false, lanes.backlog_notes()));
        assert_eq!(lanes.try_hold(&domain(1)), Some(NODE));
    }

    #[test]
    fn a_domain_that_was_claimed_to_its_limit_is_claimed_again_without_waiting_for_the_next_look() {
        let mut lanes = lanes(10, 5, 100, 4);
        let full = || vec![Domain::parse("a.example").unwrap()];
        lanes.hold(&domain(4));
        assert!(!lanes.end_claim(full(), false, 0));
        assert!(!lanes.unhold(&domain(1), NODE));
        assert!(lanes.unhold(&domain(1), NODE));
        // Some may have been sent before the claim was through.
        assert!(lanes.end_claim(full(), false, 0));
    }

    #[test]
    fn a_starved_node_claims_when_half_of_all_is_free() {
        let mut lanes = lanes(10, 5, 4, 4);
        lanes.hold(&domain(4));
        lanes.note_starved();
        assert!(!lanes.note_backlog([Domain::parse("b.example").unwrap()]));
        assert!(!lanes.unhold(&domain(1), NODE));
        assert!(lanes.unhold(&domain(1), NODE));
    }

    #[test]
    fn claims_end_with_the_node_that_made_them() {
        let mut lanes = lanes(10, 5, 100, 4);
        lanes.push(route("a"), job());
        lanes.hold(&domain(4));
        lanes.reset(None);
        assert_eq!(lanes.try_hold(&domain(1)), None, "without a lease nothing may be held");
        lanes.reset(Some(OTHER_NODE));
        assert_eq!(lanes.try_hold(&domain(1)), Some(OTHER_NODE));
        lanes.unhold(&domain(4), NODE);
        assert_eq!(lanes.room(), 99, "what the old node held is not counted twice");
        let mut old = turn("a");
        assert_eq!(ended(lanes.next(&mut old, None, Timestamp::default())), None);
    }
}
