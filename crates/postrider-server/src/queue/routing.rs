//! From claimed deliveries to jobs: which destination each goes to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postrider_core::Domain;
use postrider_store::{ClaimedEmail, NodeId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::lanes::Pushed;
use super::{HeldMessage, Job, Queue};
use crate::deliver::route::{NoRoute, Route};

/// Domains of one e-mail that are looked up at once.
const LOOK_UPS_MAX: usize = 32;

/// Recipients whose domains are found within this time share transactions; those found later go on their own, so that one
/// dead name server does not hold up the rest.
const GROUPING_TIME: Duration = Duration::from_secs(2);

/// What a look-up found, for the deliveries with these indexes.
type Found = (Vec<usize>, Result<Arc<Route>, NoRoute>);

impl Queue {
    /// Finds the ways for a claimed e-mail and lines it up.
    pub(super) fn take_on(self: &Arc<Self>, email: ClaimedEmail, message: Option<HeldMessage>, node: NodeId) {
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
            return self.line_up(route, Job { email, deliveries, raw: message, node });
        }
        let queue = self.clone();
        tokio::spawn(async move { queue.find_routes(email, by_domain, message, node).await });
    }

    async fn find_routes(
        self: Arc<Self>,
        email: Arc<ClaimedEmail>,
        by_domain: Vec<(Domain, Vec<usize>)>,
        message: Option<HeldMessage>,
        node: NodeId,
    ) {
        let job = |deliveries| Job { email: email.clone(), deliveries, raw: message.clone(), node };
        let places = Arc::new(Semaphore::new(LOOK_UPS_MAX));
        let mut look_ups: JoinSet<Found> = JoinSet::new();
        for (domain, indexes) in by_domain {
            let (queue, places) = (self.clone(), places.clone());
            look_ups.spawn(async move {
                let _place = places.acquire().await;
                (indexes, queue.router.find(&domain).await)
            });
        }
        let mut unrouted: Vec<bool> = vec![true; email.deliveries.len()];
        let mut groups: HashMap<Arc<str>, (Arc<Route>, Vec<usize>)> = HashMap::new();
        let mut patience = self.delivery.clock.sleep(GROUPING_TIME);
        let mut is_grouping = true;
        loop {
            let found = tokio::select! {
                biased;
                found = look_ups.join_next() => found,
                () = &mut patience, if is_grouping => {
                    is_grouping = false;
                    self.line_up_groups(&mut groups, &job);
                    continue;
                }
            };
            // A look-up that failed in a fault of this program leaves its deliveries unrouted.
            let Some(Ok((indexes, route))) = found else {
                if found.is_none() {
                    break;
                } else {
                    continue;
                };
            };
            indexes.iter().for_each(|&index| unrouted[index] = false);
            match route {
                Ok(route) => groups.entry(route.key.clone()).or_insert_with(|| (route, Vec::new())).1.extend(indexes),
                Err(no_route) => self.settle_unrouted(job(indexes), &no_route),
            }
            if !is_grouping {
                self.line_up_groups(&mut groups, &job);
            }
        }
        self.line_up_groups(&mut groups, &job);
        let lost: Vec<usize> = (0..unrouted.len()).filter(|&index| unrouted[index]).collect();
        if !lost.is_empty() {
            self.give_back(vec![job(lost)]);
        }
    }

    fn line_up_groups(
        self: &Arc<Self>,
        groups: &mut HashMap<Arc<str>, (Arc<Route>, Vec<usize>)>,
        job: &impl Fn(Vec<usize>) -> Job,
    ) {
        for (_, (route, mut deliveries)) in groups.drain() {
            deliveries.sort_unstable();
            self.line_up(route, job(deliveries));
        }
    }

    fn line_up(self: &Arc<Self>, route: Arc<Route>, job: Job) {
        let pushed = {
            let mut lanes = self.lanes();
            if lanes.node() != Some(job.node) {
                // Its claims are gone, with the node in whose name they were made.
                return;
            }
            if self.stopping.load(Ordering::Relaxed) {
                drop(lanes);
                return self.give_back(vec![job]);
            }
            (job.node, lanes.push(route, job, self.now()))
        };
        match pushed {
            (node, Pushed::Start(route)) => self.start_worker(route, node),
            (_, Pushed::Waits) => {}
            (_, Pushed::NotOurs(job)) => self.give_back(vec![job]),
        }
    }
}
