//! The lines as others see them: what is where in them, and what they wait for. Nothing is changed from here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use postrider_core::queue::{ConnectionsCause, DeliveryPlace, DestinationStatus, LineWait, Stage};
use postrider_core::{Domain, ObjectId, Timestamp};

use super::Lanes;
use super::lane::Lane;

impl Lanes {
    /// Where the deliveries of an e-mail are in line.
    pub(in crate::queue) fn places(&self, email: ObjectId, now: Timestamp) -> Vec<DeliveryPlace> {
        let mut places = Vec::new();
        for lane in self.lanes.values() {
            for (ahead, job) in lane.jobs.iter().enumerate().filter(|(_, job)| job.email.id == email) {
                let destination = lane.status(&self.limits, now);
                let until = lane.leaves_at(ahead, now);
                places.extend(job.deliveries.iter().map(|&index| DeliveryPlace {
                    number: job.email.deliveries[index].number,
                    stage: Stage::InLine,
                    since: None,
                    ahead: ahead as u64,
                    until,
                    destination: Some(destination.clone()),
                }));
            }
        }
        places
    }

    /// A destination, where there is mail for it, or was a moment ago.
    pub(in crate::queue) fn status(&self, key: &str, now: Timestamp) -> Option<DestinationStatus> {
        self.lanes.get(key).map(|lane| lane.status(&self.limits, now))
    }

    /// The destinations that mail to these domains is in line for.
    pub(in crate::queue) fn keys_of(&self, domains: &HashSet<&Domain>) -> HashMap<Domain, Vec<Arc<str>>> {
        let mut found: HashMap<Domain, Vec<Arc<str>>> = HashMap::new();
        for (key, lane) in &self.lanes {
            for job in &lane.jobs {
                for (domain, _) in job.domains() {
                    if !domains.contains(&domain) {
                        continue;
                    }
                    let keys = found.entry(domain).or_default();
                    if !keys.contains(key) {
                        keys.push(key.clone());
                    }
                }
            }
        }
        found
    }
}

impl Lane {
    fn status(&self, limits: &super::LaneLimits, now: Timestamp) -> DestinationStatus {
        let profile = &self.route.profile;
        let waits_for = self.waits_for(now);
        let goes_on_at = matches!(waits_for, Some(LineWait::RateLimit | LineWait::Paused));
        DestinationStatus {
            host: self.route.hosts.first().map(|host| host.name.clone()).unwrap_or_default(),
            in_line: self.jobs.iter().map(|job| job.deliveries.len() as u64).sum(),
            connections: (self.connected.all() + self.idle.len()) as u64,
            connections_max: self.workers_max() as u64,
            connections_cause: self.connections_cause(limits),
            connections_limit: self.limit as u64,
            messages_per_minute: profile.messages_per_minute,
            gap_ms: self.pace.gap().map(|gap| gap.as_millis() as u64),
            paused_until: self.pace.paused_until(now),
            waits_for,
            goes_on_at: goes_on_at.then(|| self.leaves_at(0, now)).flatten(),
        }
    }

    /// When a message leaves at the earliest that has so many before it.
    fn leaves_at(&self, ahead: usize, now: Timestamp) -> Option<Timestamp> {
        self.pace.leaves_at(&self.route.profile, self.part(), ahead, now)
    }

    fn waits_for(&self, now: Timestamp) -> Option<LineWait> {
        if self.jobs.is_empty() {
            None
        } else if self.pace.paused_until(now).is_some() {
            Some(LineWait::Paused)
        } else if self.is_paused {
            Some(LineWait::RateLimit)
        } else if self.is_waiting {
            Some(LineWait::Concurrency)
        } else if self.workers() < self.workers_max() {
            None
        } else {
            Some(if self.is_reached() { LineWait::Connections } else { LineWait::Connecting })
        }
    }

    /// What keeps its connections from being more.
    fn connections_cause(&self, limits: &super::LaneLimits) -> ConnectionsCause {
        let max = self.workers_max();
        let is_from_profile = self.route.profile.connections.is_some_and(|count| count != limits.per_lane_max);
        if self.pace.connections(self.limit) == max && max < self.limit {
            ConnectionsCause::Learnt
        } else if self.share == max && max < self.limit {
            ConnectionsCause::Share
        } else if max < self.limit {
            ConnectionsCause::Growing
        } else if is_from_profile {
            ConnectionsCause::Profile
        } else {
            ConnectionsCause::Setting
        }
    }
}
