//! One destination: its jobs in line, its workers in numbers, its connections.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use postrider_core::Timestamp;

use super::{Turn, WORKERS_UNTRIED};
use crate::deliver::connect::Connection;
use crate::deliver::route::Route;
use crate::policy::shaping::Pace;
use crate::policy::source::SourceKey;
use crate::queue::Job;

/// So many jobs a worker looks at for one that its connection can carry, and so often the first in line is passed over.
const LOOK_AHEAD_JOBS: usize = 50;
const PASSED_OVER_MAX: u32 = 50;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) route: Arc<Route>,
    /// In line: the urgent first, and of these who came first.
    pub(super) jobs: VecDeque<Job>,
    /// Workers that send, and those that only try to connect.
    active: usize,
    trying: usize,
    /// How many the other side seems to take by the connections that came about, between 1 and `limit`.
    pub(super) workers_max: usize,
    /// Connections of all nodes together.
    pub(super) limit: usize,
    /// How many workers, and idle connections, this node may have.
    pub(super) share: usize,
    /// What the other side says of our pace.
    pub(super) pace: Pace,
    /// Somebody waits to call [`super::Lanes::resume`].
    pub(super) is_paused: bool,
    /// How many of the workers have a connection, by the connection's source.
    pub(super) connected: Connected,
    /// Workers that open a connection for the job that they were given.
    opening: usize,
    /// How often the first job was passed over for one that a connection at hand could carry.
    passed_over: u32,
    /// Open connections that nobody uses, the one used last at the end.
    pub(super) idle: Vec<(Box<Connection>, Timestamp)>,
    pub(super) is_waiting: bool,
}

/// With what a job goes on.
pub(super) struct Chosen {
    pub(super) open: Option<Box<Connection>>,
    pub(super) surplus: Option<Box<Connection>>,
}

impl Lane {
    pub(super) fn new(route: Arc<Route>, limit: usize, share: usize, pace: Pace) -> Self {
        Self {
            route,
            jobs: VecDeque::new(),
            active: 0,
            trying: 0,
            workers_max: WORKERS_UNTRIED.min(limit),
            limit,
            share,
            pace,
            is_paused: false,
            connected: Connected::default(),
            opening: 0,
            passed_over: 0,
            idle: Vec::new(),
            is_waiting: false,
        }
    }

    pub(super) fn wants_worker(&self) -> bool {
        !self.jobs.is_empty() && !self.is_paused && self.workers() < self.workers_max()
    }

    pub(super) fn workers(&self) -> usize {
        self.active + self.trying
    }

    pub(super) fn workers_max(&self) -> usize {
        self.workers_max.min(self.share).min(self.pace.connections(self.limit))
    }

    pub(super) fn count_mut(&mut self, is_trying: bool) -> &mut usize {
        if is_trying { &mut self.trying } else { &mut self.active }
    }

    /// Of workers that try, and of those that send.
    pub(super) fn counts_mut(&mut self) -> (&mut usize, &mut usize) {
        (&mut self.trying, &mut self.active)
    }

    /// Whether there is a connection.
    pub(super) fn is_reached(&self) -> bool {
        self.connected.all() > 0 || !self.idle.is_empty()
    }

    /// Of what all nodes together may do, this node's part.
    pub(super) fn part(&self) -> f64 {
        self.share as f64 / self.limit.max(1) as f64
    }

    /// Leave for one message; else the destination pauses for so long.
    pub(super) fn take_leave(&mut self, now: Timestamp) -> Result<(), Duration> {
        let leave = self.pace.take(&self.route.profile, self.part(), now);
        self.is_paused |= leave.is_err();
        leave
    }

    /// Puts a job behind all that are as urgent, or more.
    pub(super) fn line_up(&mut self, job: Job) {
        let rank = job.rank();
        let place = self.jobs.partition_point(|waiting| waiting.rank() <= rank);
        self.jobs.insert(place, job);
    }

    /// Puts a job that came out of line back, before all that are as urgent, or less.
    pub(super) fn line_up_first(&mut self, job: Job) {
        let rank = job.rank();
        let place = self.jobs.partition_point(|waiting| waiting.rank() < rank);
        self.jobs.insert(place, job);
    }

    /// The next job: of those at the front that are as urgent as the first, one that the connection can carry, unless the first
    /// has waited long enough.
    pub(super) fn take_job(&mut self, connection: Option<&Connection>) -> Option<Job> {
        let place = self.place(connection);
        self.passed_over = if place == 0 { 0 } else { self.passed_over + 1 };
        self.jobs.remove(place)
    }

    /// Whether the decision is too old by which the next job would leave. Then it is no message that takes leave: it is decided
    /// anew, and comes back.
    pub(super) fn next_is_stale(&self, connection: Option<&Connection>, now: Timestamp) -> bool {
        self.jobs.get(self.place(connection)).is_some_and(|job| job.source.holds_until <= now)
    }

    /// Where the next job stands in line.
    fn place(&self, connection: Option<&Connection>) -> usize {
        let suits = |job: &Job| connection.is_some_and(|connection| connection.source == job.source.key);
        let rank = self.jobs.front().map(Job::rank);
        let first = self.jobs.iter().take(LOOK_AHEAD_JOBS).take_while(|job| Some(job.rank()) == rank);
        match first.into_iter().position(suits) {
            Some(place) if place == 0 || self.passed_over < PASSED_OVER_MAX => place,
            _ => 0,
        }
    }

    /// The connection for a job: the one at hand if it suits, or an idle one. The one at hand then becomes idle, and if that
    /// makes too many, the one that was idle for longest is surplus.
    pub(super) fn connection_for(
        &mut self,
        turn: &mut Turn,
        job: &Job,
        at_hand: Option<Box<Connection>>,
        now: Timestamp,
    ) -> Chosen {
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
        } else {
            self.opening += 1;
            turn.is_opening = true;
        }
        let connections = self.connected.all() + self.opening + self.idle.len();
        let is_too_many = connections > self.share && !self.idle.is_empty();
        Chosen { open, surplus: is_too_many.then(|| self.idle.remove(0).0) }
    }

    /// A worker has its connection, or could not get one.
    pub(super) fn end_opening(&mut self, turn: &mut Turn) {
        if std::mem::take(&mut turn.is_opening) {
            self.opening = self.opening.saturating_sub(1);
        }
    }

    /// Keeps a worker's connection for another worker; gives it back where that would be too many.
    pub(super) fn keep(
        &mut self,
        connection: Box<Connection>,
        is_current: bool,
        now: Timestamp,
    ) -> Option<Box<Connection>> {
        let fits = self.workers().max(self.connected.all() + self.idle.len()) <= self.share;
        self.connected.remove(&connection.source);
        if !(is_current && fits) {
            return Some(connection);
        }
        self.idle.push((connection, now));
        None
    }
}

/// Connections in use, counted by their source.
#[derive(Debug, Default)]
pub(super) struct Connected(HashMap<SourceKey, usize>);

impl Connected {
    pub(super) fn all(&self) -> usize {
        self.0.values().sum()
    }

    pub(super) fn by(&self, source: &SourceKey) -> usize {
        self.0.get(source).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, source: &SourceKey) {
        *self.0.entry(source.clone()).or_default() += 1;
    }

    pub(super) fn remove(&mut self, source: &SourceKey) {
        if let Some(count) = self.0.get_mut(source) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(source);
            }
        }
    }
}
