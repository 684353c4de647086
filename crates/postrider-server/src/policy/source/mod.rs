//! From which of this host's addresses mail leaves: asked of an HTTP service ([`selection`]), by a list of them ([`pool`]), or
//! left to the system.

mod breaker;
mod cache;
mod local;
mod pool;
mod requested;
mod reverse;
mod selection;
mod service;
mod stats;
mod warm_up;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_config::Settings;
use postrider_core::source::{IpSelectionStats, IpSelectionTest, is_of_one_host};
use postrider_core::{
    Attempt, Category, Clock, Domain, Outcome, Resolver, SourceDecision, SourceOrigin, SourceQuestion, Timestamp,
};
use postrider_store::{ClaimedEmail, Store};

use crate::http::HttpClient;
use pool::Pool;
use requested::Requested;
use selection::Selection;
use stats::Uses;

/// A decision counts for mail that waits in line for so long, at least; what waits longer is decided anew.
const DECISION: Duration = Duration::from_secs(60);

/// From where, and as whom, a connection is made: connections that share it can stand in for each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct SourceKey {
    /// `None`: the system chooses.
    pub(crate) ip: Option<IpAddr>,
    /// The name for EHLO; `None`: `MAIL_HOSTNAME`.
    pub(crate) ehlo: Option<Arc<str>>,
}

/// The source of some deliveries.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) key: SourceKey,
    /// `None`: nobody was to choose.
    decision: Option<SourceDecision>,
    /// What has not begun then is decided anew.
    pub(crate) holds_until: Timestamp,
}

impl Default for Source {
    fn default() -> Self {
        Self { key: SourceKey::default(), decision: None, holds_until: Timestamp::from_millis(i64::MAX) }
    }
}

impl Source {
    #[cfg(test)]
    pub(crate) fn at(ip: IpAddr) -> Self {
        Self { key: SourceKey { ip: Some(ip), ehlo: None }, ..Self::default() }
    }

    /// Writes into an attempt that was made with this source how it was chosen, and whether it was used.
    pub(crate) fn describe(&self, attempt: &mut Attempt) {
        let Some(mut decision) = self.decision.clone() else { return };
        match (decision.ip, attempt.source_ip) {
            (None, used) => decision.ip = used,
            (Some(chosen), Some(used)) if chosen != used => {
                let family = if chosen.is_ipv4() { "IPv4" } else { "IPv6" };
                decision.error =
                    Some(format!("{chosen} was chosen, but no host of the destination has an {family} address"));
                decision.ip = Some(used);
                decision.origin = SourceOrigin::Default;
            }
            _ => {}
        }
        attempt.ip_selection = Some(decision);
    }
}

/// Chooses sources.
#[derive(Debug)]
pub(crate) struct Sources {
    clock: Arc<dyn Clock>,
    chooser: Chooser,
    requested: Requested,
    uses: Uses,
}

#[derive(Debug)]
enum Chooser {
    System,
    Service(Arc<Selection>),
    Pool(Box<Pool>),
}

/// Mail may leave from nowhere now. The text says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoSource(String);

impl NoSource {
    /// What becomes of a delivery without a source.
    pub(crate) fn outcome(self) -> Outcome {
        Outcome::Deferred { category: Category::Policy, reply: None, reason: self.0 }
    }
}

impl Sources {
    pub(crate) fn new(
        settings: &Settings,
        http: HttpClient,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        let options = &settings.ip_selection;
        let requested = Requested::new(clock.clone(), resolver.clone());
        let chooser = match options.url.clone().filter(|_| options.enabled) {
            Some(url) => Chooser::Service(Arc::new(Selection::new(options, url, http, clock.clone(), resolver))),
            None if settings.source_ips.is_empty() => Chooser::System,
            None => {
                let (sources, warm_ups) = (&settings.source_ips, &settings.source_ip_warm_up);
                Chooser::Pool(Box::new(Pool::new(sources, warm_ups, &store, clock.clone(), resolver)))
            }
        };
        Self { clock, chooser, requested, uses: Uses::default() }
    }

    /// The source of an e-mail's deliveries to one domain, if it can be told without waiting.
    pub(crate) fn known(&self, email: &ClaimedEmail, domain: &Domain) -> Option<Source> {
        if let Some(ip) = email.instructions.source_ip {
            return self.requested.known(ip);
        }
        match &self.chooser {
            Chooser::System => Some(Source::default()),
            Chooser::Service(selection) => selection.known(&key(email, domain)),
            Chooser::Pool(pool) => pool.known(domain),
        }
    }

    /// The source of the deliveries of an e-mail with these indexes, all to one domain.
    pub(crate) async fn choose(
        &self,
        email: &ClaimedEmail,
        domain: &Domain,
        indexes: &[usize],
    ) -> Result<Source, NoSource> {
        let Some(ip) = email.instructions.source_ip else { return self.choose_any(email, domain, indexes).await };
        match self.requested.choose(ip).await {
            Ok(source) => Ok(source),
            Err(gone) => Ok(gone.stand_in(self.choose_any(email, domain, indexes).await?)),
        }
    }

    /// The source of deliveries that asks for none.
    async fn choose_any(&self, email: &ClaimedEmail, domain: &Domain, indexes: &[usize]) -> Result<Source, NoSource> {
        let selection = match &self.chooser {
            Chooser::System => return Ok(Source::default()),
            Chooser::Pool(pool) => return pool.choose(domain).await,
            Chooser::Service(selection) => selection,
        };
        let delivery = indexes.first().and_then(|&index| email.deliveries.get(index));
        let Some(delivery) = delivery else { return Ok(Source::default()) };
        let question = SourceQuestion {
            email_id: Some(email.id),
            subject: email.subject.clone(),
            size: Some(email.size),
            attempt: delivery.attempts + 1,
            ..SourceQuestion::new(&email.envelope.reverse_path, &delivery.recipient.address)
        };
        Ok(selection.choose(key(email, domain), question).await)
    }

    /// The system does not let connections come from this address, whatever it said before.
    pub(crate) fn reject(&self, ip: IpAddr) {
        self.requested.reject(ip);
        match &self.chooser {
            Chooser::System => {}
            Chooser::Service(selection) => selection.reject(ip),
            Chooser::Pool(pool) => pool.reject(ip),
        }
    }

    /// A message that was to leave so did not: nobody was connected to, or it is decided anew.
    pub(crate) fn give_back(&self, source: &Source) {
        let is_requested = source.decision.as_ref().is_some_and(|decision| decision.origin == SourceOrigin::Request);
        if let Chooser::Pool(pool) = &self.chooser
            && !is_requested
        {
            pool.give_back(source);
        }
    }

    /// Whether mail can leave from an address.
    pub(crate) fn can_leave_from(&self, ip: IpAddr) -> bool {
        is_of_one_host(ip) && local::can_bind(ip)
    }

    /// Counts attempts.
    pub(crate) fn note_use(&self, ip: IpAddr, attempts: usize) {
        self.uses.note(ip, attempts as u64, self.clock.now());
    }

    pub(crate) fn stats(&self) -> IpSelectionStats {
        let mut stats = match &self.chooser {
            Chooser::System => IpSelectionStats::default(),
            Chooser::Service(selection) => selection.stats(),
            Chooser::Pool(pool) => IpSelectionStats { warm_ups: pool.warm_ups(), ..IpSelectionStats::default() },
        };
        stats.addresses = self.uses.list();
        stats.candidates = local::candidates();
        stats
    }

    /// Forgets all answers; how many there were.
    pub(crate) fn clear_cache(&self) -> usize {
        self.service().map_or(0, |selection| selection.clear_cache())
    }

    /// Asks the service once. `None` where there is none.
    pub(crate) async fn test(&self, question: SourceQuestion) -> Option<IpSelectionTest> {
        Some(self.service()?.test(question).await)
    }

    fn service(&self) -> Option<&Selection> {
        match &self.chooser {
            Chooser::Service(selection) => Some(selection),
            Chooser::System | Chooser::Pool(_) => None,
        }
    }
}

fn key(email: &ClaimedEmail, domain: &Domain) -> cache::Key {
    (email.envelope.reverse_path.0.as_ref().map(|address| address.domain()), domain.clone())
}
