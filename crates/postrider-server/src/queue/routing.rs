//! From claimed deliveries to jobs: which destination each goes to, and from which source.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postrider_core::queue::Stage;
use postrider_core::{Address, Category, Domain, Outcome};
use postrider_store::{ClaimedEmail, NodeId, Suppression};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{Instrument as _, debug_span};

use super::lanes::Pushed;
use super::view::Hand;
use super::worker::attempt_without_connection;
use super::{HeldMessage, Job, Queue};
use crate::deliver::route::{Route, TlsRule};
use crate::policy::source::{NoSource, Source, SourceKey};
use crate::policy::suppression;

/// Domains of one e-mail that are looked up at once.
const LOOK_UPS_MAX: usize = 32;

/// Recipients whose domains are found within this time share transactions; those found later go on their own, so that one
/// dead name server does not hold up the rest.
const GROUPING_TIME: Duration = Duration::from_secs(2);

/// What a look-up found, for the deliveries with these indexes.
type Found = (Vec<usize>, Result<(Arc<Route>, Source), Outcome>);

/// Deliveries that share a transaction, by destination and source.
type Groups = HashMap<(Arc<str>, SourceKey), (Arc<Route>, Source, Vec<usize>)>;

/// Claimed deliveries of one e-mail that go nowhere yet.
#[derive(Debug)]
struct Unrouted {
    email: Arc<ClaimedEmail>,
    deliveries: Vec<usize>,
    raw: Option<HeldMessage>,
    node: NodeId,
}

impl Unrouted {
    /// The recipient of each delivery of the e-mail.
    fn recipients(&self) -> impl Iterator<Item = &Address> {
        self.email.deliveries.iter().map(|delivery| &delivery.recipient.address)
    }

    fn job(&self, deliveries: Vec<usize>, source: Source) -> Job {
        Job { email: self.email.clone(), deliveries, raw: self.raw.clone(), source, node: self.node }
    }
}

impl Queue {
    /// Finds the ways for a claimed e-mail and lines it up.
    pub(super) fn take_on(self: &Arc<Self>, email: ClaimedEmail, message: Option<HeldMessage>, node: NodeId) {
        let deliveries = (0..email.deliveries.len()).collect();
        let unrouted = Unrouted { email: Arc::new(email), deliveries, raw: message, node };
        let known = self.options.suppressions.known(unrouted.recipients());
        match known {
            Some(listed) => self.sift(unrouted, &listed),
            None => {
                let queue = self.clone();
                tokio::spawn(async move { queue.look_up_and_sift(unrouted).await });
            }
        }
    }

    async fn look_up_and_sift(self: Arc<Self>, unrouted: Unrouted) {
        let addresses: Vec<&Address> = unrouted.recipients().collect();
        let found = self.options.suppressions.find(&addresses).await;
        match found {
            Ok(listed) => self.sift(unrouted, &listed),
            Err(error) => {
                self.store_failed("the suppression list cannot be asked; deliveries are given back", &error);
                let all = unrouted.deliveries.clone();
                self.give_back(vec![unrouted.job(all, Source::default())]);
            }
        }
    }

    /// Fails what has come too late, and the deliveries to suppressed addresses, without a connection, and goes on with the others. `listed`: for each
    /// delivery why its recipient is suppressed.
    fn sift(self: &Arc<Self>, mut unrouted: Unrouted, listed: &[Option<Arc<Suppression>>]) {
        if let Some(at) = unrouted.email.instructions.expires_at.filter(|&at| at <= self.now()) {
            let reason = format!("its sender wanted it to be sent by {at} or not at all");
            let outcome = Outcome::Failed { category: Category::Expired, reply: None, reason };
            return self.settle_unrouted(unrouted.job(unrouted.deliveries.clone(), Source::default()), outcome);
        }
        let why = |index: usize| listed.get(index).and_then(Option::as_ref);
        let (suppressed, others): (Vec<usize>, Vec<usize>) =
            unrouted.deliveries.iter().partition(|&&index| why(index).is_some());
        if !suppressed.is_empty() {
            let job = unrouted.job(suppressed, Source::default());
            let attempts = job.deliveries.iter().filter_map(|&index| {
                let outcome = suppression::refusal(why(index)?);
                Some((index, attempt_without_connection(self, &job, index, outcome)))
            });
            let attempts = attempts.collect();
            self.settle(job, attempts, false);
        }
        if !others.is_empty() {
            unrouted.deliveries = others;
            self.take_up(unrouted);
        }
    }

    /// Finds the ways for a job anew: the decision about its source is too old.
    pub(super) fn reconsider(self: &Arc<Self>, job: Job) {
        self.sources.give_back(&job.source);
        let Job { email, deliveries, raw, node, .. } = job;
        self.take_up(Unrouted { email, deliveries, raw, node });
    }

    fn take_up(self: &Arc<Self>, unrouted: Unrouted) {
        let mut by_domain: Vec<(Domain, Vec<usize>)> = Vec::with_capacity(1);
        for &index in &unrouted.deliveries {
            let domain = unrouted.email.deliveries[index].recipient.address.domain();
            match by_domain.iter_mut().find(|(known, _)| *known == domain) {
                Some((_, indexes)) => indexes.push(index),
                None => by_domain.push((domain, vec![index])),
            }
        }
        // The common case costs no task: one domain whose route and source are known.
        let rule = TlsRule::of(&unrouted.email);
        if let [(domain, indexes)] = &mut by_domain[..]
            && let Some(route) = self.router.known(domain, rule)
            && let Some(source) = self.sources.known(&unrouted.email, domain)
        {
            let job = unrouted.job(std::mem::take(indexes), source);
            return self.line_up(route, job);
        }
        let queue = self.clone();
        tokio::spawn(async move { queue.find_routes(unrouted, by_domain).await });
    }

    async fn find_routes(self: Arc<Self>, unrouted: Unrouted, by_domain: Vec<(Domain, Vec<usize>)>) {
        let places = Arc::new(Semaphore::new(LOOK_UPS_MAX));
        let mut look_ups: JoinSet<Found> = JoinSet::new();
        for (domain, indexes) in by_domain {
            let (queue, places, email) = (self.clone(), places.clone(), unrouted.email.clone());
            look_ups.spawn(async move {
                let hand = queue.hands.new_hand();
                hand.take(&email, &indexes, Stage::Dns, queue.now());
                let _place = places.acquire().await;
                let found = queue.way(&email, &domain, &indexes, &hand).await;
                (indexes, found)
            });
        }
        let mut lost = unrouted.deliveries.clone();
        let mut groups = Groups::new();
        let mut patience = self.delivery.clock.sleep(GROUPING_TIME);
        let mut is_grouping = true;
        loop {
            let found = tokio::select! {
                biased;
                found = look_ups.join_next() => found,
                () = &mut patience, if is_grouping => {
                    is_grouping = false;
                    self.line_up_groups(&mut groups, &unrouted);
                    continue;
                }
            };
            // A look-up that failed in a fault of this program leaves its deliveries unrouted.
            let Some(Ok((indexes, found))) = found else {
                if found.is_none() {
                    break;
                } else {
                    continue;
                };
            };
            lost.retain(|index| !indexes.contains(index));
            match found {
                Ok((route, source)) => {
                    let group = groups.entry((route.key.clone(), source.key.clone()));
                    group.or_insert_with(|| (route, source, Vec::new())).2.extend(indexes);
                }
                Err(outcome) => self.settle_unrouted(unrouted.job(indexes, Source::default()), outcome),
            }
            if !is_grouping {
                self.line_up_groups(&mut groups, &unrouted);
            }
        }
        self.line_up_groups(&mut groups, &unrouted);
        if !lost.is_empty() {
            self.give_back(vec![unrouted.job(lost, Source::default())]);
        }
    }

    /// To where, and from where, deliveries to one domain go; else what becomes of them.
    async fn way(
        &self,
        email: &ClaimedEmail,
        domain: &Domain,
        indexes: &[usize],
        hand: &Hand,
    ) -> Result<(Arc<Route>, Source), Outcome> {
        let span = debug_span!("route", email = %email.id, %domain);
        let finding = self.router.find(domain, TlsRule::of(email)).instrument(span);
        let route = finding.await.map_err(|no_route| no_route.outcome())?;
        hand.move_to(Stage::SourceIp, self.now());
        let span = debug_span!("source-ip", email = %email.id, %domain);
        let source = self.sources.choose(email, domain, indexes).instrument(span).await.map_err(NoSource::outcome)?;
        Ok((route, source))
    }

    fn line_up_groups(self: &Arc<Self>, groups: &mut Groups, unrouted: &Unrouted) {
        for (_, (route, source, mut deliveries)) in groups.drain() {
            deliveries.sort_unstable();
            self.line_up(route, unrouted.job(deliveries, source));
        }
    }

    fn line_up(self: &Arc<Self>, route: Arc<Route>, mut job: Job) {
        let (pushed, recalled) = {
            let mut lanes = self.lanes();
            if lanes.node() != Some(job.node) {
                // Its claims are gone, with the node in whose name they were made.
                return;
            }
            if self.stopping.load(Ordering::Relaxed) {
                drop(lanes);
                return self.give_back(vec![job]);
            }
            let recalled = self.split_recalled(&mut job);
            let node = job.node;
            let pushed = (!job.deliveries.is_empty()).then(|| (node, lanes.push(route, job, self.now())));
            (pushed, recalled)
        };
        self.give_back(recalled.into_iter().collect());
        let Some(pushed) = pushed else { return };
        match pushed {
            (node, Pushed::Start(start)) => self.start_worker(start, node),
            (_, Pushed::Waits) => {}
            (_, Pushed::NotOurs(job)) => self.give_back(vec![job]),
        }
    }
}
