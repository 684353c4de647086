//! Who may send now: the claimed deliveries lined up by destination, and the limits in all and for each.
//!
//! Only counts and lists; no task is started and nothing is sent from here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use postrider_core::{Domain, Timestamp};

use super::Job;
use crate::deliver::connect::Connection;
use crate::deliver::route::Route;

/// After this many messages a worker lets a waiting destination have its turn.
const TURN_MESSAGES: u32 = 50;

/// All destinations.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: HashMap<Arc<str>, Lane>,
    /// Destinations with jobs but without a worker, because `active_max` is reached; in the order of their turns.
    waiting: VecDeque<Arc<str>>,
    active: usize,
    active_max: usize,
    per_lane_max: usize,
    /// Claimed deliveries by recipient domain.
    held: HashMap<Domain, usize>,
    held_total: usize,
    held_max: usize,
    held_per_domain_max: usize,
    /// Domains with due deliveries in the store that nobody holds, as far as this node knows: new mail for them must not
    /// overtake the old.
    backlog: HashSet<Domain>,
    epoch: u64,
}

/// One destination.
#[derive(Debug)]
struct Lane {
    route: Arc<Route>,
    jobs: VecDeque<Job>,
    workers: usize,
    /// Open connections that nobody uses, the one used last at the end.
    idle: Vec<(Box<Connection>, Timestamp)>,
    /// Whether the last attempt to connect failed: then one worker at a time tries.
    failing: bool,
    is_waiting: bool,
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum NextJob {
    Send(Job, Option<Box<Connection>>),
    /// Nothing to do here; the worker ends. Another destination's worker may start.
    End(Option<Arc<Route>>),
}

impl Lanes {
    pub(super) fn new(active_max: usize, per_lane_max: usize, held_max: usize, held_per_domain_max: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            waiting: VecDeque::new(),
            active: 0,
            active_max,
            per_lane_max,
            held: HashMap::new(),
            held_total: 0,
            held_max,
            held_per_domain_max,
            backlog: HashSet::new(),
            epoch: 0,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn active(&self) -> usize {
        self.active
    }

    pub(super) fn held_per_domain_max(&self) -> usize {
        self.held_per_domain_max
    }

    /// How many more deliveries may be claimed.
    pub(super) fn room(&self) -> usize {
        self.held_max.saturating_sub(self.held_total)
    }

    pub(super) fn held(&self) -> Vec<(Domain, usize)> {
        self.held.iter().map(|(domain, &count)| (domain.clone(), count)).collect()
    }

    /// Takes room for deliveries, all or nothing. A message with more recipients than there is room may pass the limit,
    /// or it could never be sent.
    pub(super) fn try_hold(&mut self, domains: &[(Domain, usize)]) -> bool {
        let has_room = self.held_total < self.held_max
            && domains.iter().all(|(domain, _)| {
                !self.backlog.contains(domain) && self.held.get(domain).is_none_or(|&n| n < self.held_per_domain_max)
            });
        if has_room {
            self.hold(domains);
        }
        has_room
    }

    pub(super) fn hold(&mut self, domains: &[(Domain, usize)]) {
        for (domain, count) in domains {
            *self.held.entry(domain.clone()).or_default() += count;
            self.held_total += count;
        }
    }

    /// Gives room back; `true` if that makes a claim worth while.
    pub(super) fn unhold(&mut self, domains: &[(Domain, usize)], epoch: u64) -> bool {
        if epoch != self.epoch {
            return false;
        }
        let mut is_low = false;
        for (domain, count) in domains {
            let Some(held) = self.held.get_mut(domain) else { continue };
            *held = held.saturating_sub(*count);
            self.held_total = self.held_total.saturating_sub(*count);
            is_low |= *held <= self.held_per_domain_max / 2 && self.backlog.contains(domain);
            if *held == 0 {
                self.held.remove(domain);
            }
        }
        is_low
    }

    pub(super) fn note_backlog(&mut self, domains: impl IntoIterator<Item = Domain>) {
        self.backlog.extend(domains);
    }

    /// Nothing more could be claimed: there is no backlog but for domains that have no room.
    pub(super) fn clear_backlog(&mut self) {
        let (held, max) = (&self.held, self.held_per_domain_max);
        self.backlog.retain(|domain| held.get(domain).is_some_and(|&count| count >= max));
    }

    /// Lines a job up. Returns the route if a worker is to be started for it, which counts as active from now.
    pub(super) fn push(&mut self, route: Arc<Route>, job: Job) -> Option<Arc<Route>> {
        let lane = self.lanes.entry(route.key.clone()).or_insert_with(|| Lane {
            route: route.clone(),
            jobs: VecDeque::new(),
            workers: 0,
            idle: Vec::new(),
            failing: false,
            is_waiting: false,
        });
        lane.route = route;
        lane.jobs.push_back(job);
        if !lane.wants_worker(self.per_lane_max) {
            return None;
        }
        if self.active >= self.active_max {
            if !lane.is_waiting {
                lane.is_waiting = true;
                self.waiting.push_back(lane.route.key.clone());
            }
            return None;
        }
        lane.workers += 1;
        self.active += 1;
        Some(lane.route.clone())
    }

    /// The next job for a worker of this destination that has sent `messages` in its turn. `connection` is what it holds:
    /// it comes back with the job, or is kept for the next worker.
    pub(super) fn next(
        &mut self,
        key: &Arc<str>,
        connection: Option<Box<Connection>>,
        messages: u32,
        now: Timestamp,
    ) -> NextJob {
        let others_wait = !self.waiting.is_empty();
        let Some(lane) = self.lanes.get_mut(key) else {
            self.active = self.active.saturating_sub(1);
            return NextJob::End(self.next_waiting());
        };
        let turn_is_over = others_wait && messages >= TURN_MESSAGES;
        // A failing destination gets along with one worker.
        let is_spare = lane.failing && lane.workers > 1;
        if !turn_is_over
            && !is_spare
            && let Some(job) = lane.jobs.pop_front()
        {
            let connection = connection.or_else(|| lane.idle.pop().map(|(connection, _)| connection));
            return NextJob::Send(job, connection);
        }
        if let Some(connection) = connection {
            lane.idle.push((connection, now));
        }
        lane.workers -= 1;
        self.active -= 1;
        if lane.wants_worker(self.per_lane_max) && !lane.is_waiting {
            lane.is_waiting = true;
            self.waiting.push_back(key.clone());
        }
        self.forget_if_empty(key);
        NextJob::End(self.next_waiting())
    }

    /// A worker ended without asking for a next job.
    pub(super) fn abandon(&mut self, key: &Arc<str>) -> Option<Arc<Route>> {
        self.active = self.active.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.workers = lane.workers.saturating_sub(1);
            if lane.wants_worker(self.per_lane_max) && !lane.is_waiting {
                lane.is_waiting = true;
                self.waiting.push_back(key.clone());
            }
        }
        self.next_waiting()
    }

    /// Notes whether the destination could be connected to. When it could not, the jobs that wait for it are returned:
    /// they would fail the same way, one time-out after another.
    pub(super) fn note_connection(&mut self, key: &Arc<str>, connected: bool) -> Vec<Job> {
        let Some(lane) = self.lanes.get_mut(key) else { return Vec::new() };
        lane.failing = !connected;
        if connected { Vec::new() } else { lane.jobs.drain(..).collect() }
    }

    /// A worker to start for a destination that waits, if there is room for one. It counts as active from now.
    fn next_waiting(&mut self) -> Option<Arc<Route>> {
        while self.active < self.active_max {
            let key = self.waiting.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            lane.is_waiting = false;
            if !lane.wants_worker(self.per_lane_max) {
                continue;
            }
            lane.workers += 1;
            self.active += 1;
            // It may want more than one.
            if lane.wants_worker(self.per_lane_max) {
                lane.is_waiting = true;
                self.waiting.push_back(key);
            }
            return Some(lane.route.clone());
        }
        None
    }

    fn forget_if_empty(&mut self, key: &Arc<str>) {
        let is_empty = |lane: &Lane| lane.jobs.is_empty() && lane.workers == 0 && lane.idle.is_empty() && !lane.failing;
        if self.lanes.get(key).is_some_and(is_empty) {
            self.lanes.remove(key);
        }
    }

    /// Connections that nobody has used for `idle_max`.
    pub(super) fn take_idle_connections(&mut self, now: Timestamp, idle_max: Duration) -> Vec<Connection> {
        let mut taken = Vec::new();
        self.lanes.retain(|_, lane| {
            let fresh = lane.idle.iter().position(|(_, since)| now.since(*since) < idle_max).unwrap_or(lane.idle.len());
            taken.extend(lane.idle.drain(..fresh).map(|(connection, _)| *connection));
            !(lane.jobs.is_empty() && lane.workers == 0 && lane.idle.is_empty())
        });
        taken
    }

    pub(super) fn drop_connections(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.idle.clear();
        }
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

    /// Forgets all claims: they are lost.
    pub(super) fn reset(&mut self, epoch: u64) {
        self.take_all_jobs();
        self.held.clear();
        self.held_total = 0;
        self.backlog.clear();
        self.epoch = epoch;
    }
}

impl Lane {
    fn wants_worker(&self, per_lane_max: usize) -> bool {
        let workers_max = if self.failing { 1 } else { per_lane_max };
        !self.jobs.is_empty() && self.workers < workers_max
    }
}

#[cfg(test)]
mod tests {
    use postrider_core::{Address, Envelope, ObjectId, Recipient};
    use postrider_store::{ClaimedDelivery, ClaimedEmail};

    use super::*;
    use crate::deliver::route::TlsMode;

    fn route(key: &str) -> Arc<Route> {
        Arc::new(Route { key: key.into(), hosts: Vec::new(), port: 25, tls: TlsMode::Never, credentials: None })
    }

    fn job(domain: &str) -> Job {
        let recipient = Recipient::new(Address::parse(&format!("a@{domain}")).unwrap());
        let delivery = ClaimedDelivery {
            number: 0,
            recipient,
            queued_at: Timestamp::default(),
            attempts: 0,
            last_category: None,
            delay_notified: false,
        };
        let email = ClaimedEmail {
            id: ObjectId::default(),
            created_at: Timestamp::default(),
            envelope: Envelope::default(),
            message_id: None,
            size: 0,
            is_8bit: false,
            deliveries: vec![delivery],
        };
        Job { email: Arc::new(email), deliveries: vec![0], raw: None }
    }

    fn next_key(next: NextJob) -> Option<Arc<str>> {
        match next {
            NextJob::End(route) => route.map(|route| route.key.clone()),
            NextJob::Send(..) => panic!("there was a job"),
        }
    }

    #[test]
    fn a_destination_gets_no_more_workers_than_its_limit() {
        let mut lanes = Lanes::new(10, 2, 100, 100);
        let started = (0..5).filter(|_| lanes.push(route("a"), job("a.example")).is_some()).count();
        assert_eq!((started, lanes.active()), (2, 2));
        let now = Timestamp::default();
        for _ in 0..5 {
            assert!(matches!(lanes.next(&"a".into(), None, 1, now), NextJob::Send(..)));
        }
        assert_eq!(next_key(lanes.next(&"a".into(), None, 1, now)), None);
        assert_eq!(lanes.active(), 1);
    }

    #[test]
    fn destinations_take_turns_when_all_workers_are_busy() {
        let mut lanes = Lanes::new(1, 1, 100, 100);
        let now = Timestamp::default();
        assert!(lanes.push(route("a"), job("a.example")).is_some());
        assert!(lanes.push(route("a"), job("a.example")).is_none());
        assert!(lanes.push(route("b"), job("b.example")).is_none());
        assert!(matches!(lanes.next(&"a".into(), None, 0, now), NextJob::Send(..)));
        // Its turn is over: b starts, a waits.
        assert_eq!(next_key(lanes.next(&"a".into(), None, TURN_MESSAGES, now)).as_deref(), Some("b"));
        assert!(matches!(lanes.next(&"b".into(), None, 0, now), NextJob::Send(..)));
        assert_eq!(next_key(lanes.next(&"b".into(), None, 1, now)).as_deref(), Some("a"));
        assert_eq!(lanes.active(), 1);
    }

    #[test]
    fn a_failing_destination_gives_its_jobs_back_and_keeps_one_worker() {
        let mut lanes = Lanes::new(10, 5, 100, 100);
        for _ in 0..4 {
            lanes.push(route("a"), job("a.example"));
        }
        assert_eq!(lanes.active(), 4);
        assert!(matches!(lanes.next(&"a".into(), None, 0, Timestamp::default()), NextJob::Send(..)));
        assert_eq!(lanes.note_connection(&"a".into(), false).len(), 3);
        for _ in 0..3 {
            next_key(lanes.next(&"a".into(), None, 0, Timestamp::default()));
        }
        assert_eq!(lanes.active(), 1);
        assert!(lanes.push(route("a"), job("a.example")).is_none());
        assert!(lanes.note_connection(&"a".into(), true).is_empty());
        assert!(lanes.push(route("a"), job("a.example")).is_some());
    }

    #[test]
    fn new_mail_does_not_overtake_what_waits_in_the_store() {
        let mut lanes = Lanes::new(10, 5, 100, 2);
        let domain = |n| vec![(Domain::parse("a.example").unwrap(), n)];
        assert!(lanes.try_hold(&domain(2)));
        assert!(!lanes.try_hold(&domain(1)));
        lanes.note_backlog([Domain::parse("a.example").unwrap()]);
        assert!(lanes.unhold(&domain(1), 0), "half is free and there is a backlog");
        assert!(!lanes.try_hold(&domain(1)), "what is in the store goes first");
        lanes.clear_backlog();
        assert!(lanes.try_hold(&domain(1)));
        lanes.reset(1);
        assert!(!lanes.unhold(&domain(2), 0), "claims of an older epoch are gone already");
        assert_eq!(lanes.room(), 100);
    }
}
