//! Reports to recipient domains of how well the way to them was protected (TLS-RPT, RFC 8460): one for each domain that asks for
//! them and each UTC day.
//!
//! Deliveries count in memory ([`Ledger`]). Each minute what was counted goes into notes in the store, added up over all nodes; when the
//! day is over, one node claims the note, sends the report and takes the note away.

mod record;
mod send;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_config::{DeliveryMode, Settings};
use postrider_core::{Address, Clock, Domain, ResolveError, Resolver, Timestamp};
use postrider_store::{Note, StoreError};
use tracing::{debug, info, warn};

use crate::clock::timeout;
use crate::generations::Generations;
use crate::http::HttpClient;
use crate::smtp::Context;
use record::{DAY_MILLIS, DayOfDomain, day_of};
pub(crate) use record::{Failure, ReportedPolicy, ResultType};
use send::Destination;

/// Domains counted between two visits to the store; of more nothing is told.
const DOMAINS_MAX: usize = 20_000;

const FLUSH: Duration = Duration::from_secs(60);

/// Nodes have so long to hand in what they counted of a day.
const GRACE: Duration = Duration::from_secs(600);

/// A node that claimed a report has so long to send it. What could not be sent then, is tried again.
const CLAIM_HOLDS: Duration = Duration::from_secs(3600);

/// A report that could not be sent for so long after its day is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2 * 24 * 3600);

/// How long it is known whether a domain wants reports.
const RECORD_HOLDS: Duration = Duration::from_secs(3600);

/// How long that DNS could not say it.
const UNKNOWN_HOLDS: Duration = Duration::from_secs(300);

const RECORD_PATIENCE: Duration = Duration::from_secs(5);

/// How often a part is handed in while others change the same note.
const TRIES_MAX: usize = 50;

const PREFIX: &str = "tls-report/";

/// DNS does not say now where a domain wants its reports.
#[derive(Debug, Clone, Copy)]
struct Unknown;

type Known = Result<Vec<Destination>, Unknown>;

/// What this process counted since it last told the store.
#[derive(Debug)]
pub(crate) struct Ledger {
    clock: Arc<dyn Clock>,
    days: Mutex<HashMap<(i64, Domain), DayOfDomain>>,
}

impl Ledger {
    /// One where reports are sent: not where all mail goes one way, for there is no domain to tell.
    pub(crate) fn of(settings: &Settings, clock: &Arc<dyn Clock>) -> Option<Arc<Self>> {
        let is_told = settings.tls_reports_enabled && settings.delivery_mode == DeliveryMode::Mx;
        is_told.then(|| Arc::new(Self { clock: clock.clone(), days: Mutex::default() }))
    }

    /// Counts one session for a domain, under a policy.
    pub(crate) fn note(&self, domain: &Domain, policy: &ReportedPolicy, failure: Option<Failure>) {
        let key = (day_of(self.clock.now()), domain.clone());
        let mut days = self.days();
        if days.len() < DOMAINS_MAX || days.contains_key(&key) {
            days.entry(key).or_default().add(policy, failure, 1);
        }
    }

    fn days(&self) -> MutexGuard<'_, HashMap<(i64, Domain), DayOfDomain>> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what is counted, and sends reports.
#[derive(Debug)]
pub(crate) struct Reporter {
    ledger: Arc<Ledger>,
    context: Arc<Context>,
    resolver: Arc<dyn Resolver>,
    http: HttpClient,
    /// `None` where this host's name makes no address.
    from: Option<Address>,
    /// Where domains want their reports, and until when that is known.
    destinations: Mutex<Generations<Domain, (Known, Timestamp)>>,
}

impl Reporter {
    /// Begins to work, until the server shuts down.
    pub(crate) fn start(
        settings: &Settings,
        ledger: Arc<Ledger>,
        context: Arc<Context>,
        (resolver, http): (Arc<dyn Resolver>, HttpClient),
    ) -> Arc<Self> {
        let postmaster = || Address::parse(&format!("postmaster@{}", context.hostname)).ok();
        let from = settings.tls_report_from.clone().or_else(postmaster);
        let destinations = Mutex::new(Generations::new(DOMAINS_MAX));
        let reporter = Arc::new(Self { ledger, context, resolver, http, from, destinations });
        tokio::spawn(reporter.clone().run());
        reporter
    }

    async fn run(self: Arc<Self>) {
        let mut draining = self.context.draining.clone();
        loop {
            tokio::select! {
                () = self.context.clock.sleep(FLUSH) => {}
                _ = draining.wait_for(|&draining| draining) => return,
            }
            self.flush().await;
            if let Err(error) = self.send_due().await {
                debug!(%error, "TLS reports cannot be looked at now");
            }
        }
    }

    /// Hands in what was counted of domains that want to know. What the store does not take is counted on.
    pub(crate) async fn flush(&self) {
        let days = std::mem::take(&mut *self.ledger.days());
        for ((day, domain), part) in days {
            match self.destinations_of(&domain).await {
                Ok(destinations) if destinations.is_empty() => continue,
                Ok(_) => {}
                Err(Unknown) => {
                    let given_up_at = Timestamp::from_millis((day + 1) * DAY_MILLIS) + GIVEN_UP_AFTER;
                    if self.context.clock.now() < given_up_at {
                        self.ledger.days().entry((day, domain)).or_default().merge(&part);
                    }
                    continue;
                }
            }
            if let Err(error) = self.hand_in(day, &domain, &part).await {
                debug!(%domain, %error, "what is to be reported of TLS could not be kept yet");
                self.ledger.days().entry((day, domain)).or_default().merge(&part);
            }
        }
    }

    async fn hand_in(&self, day: i64, domain: &Domain, part: &DayOfDomain) -> Result<(), StoreError> {
        let key = format!("{PREFIX}{day}/{domain}");
        for _ in 0..TRIES_MAX {
            let note = self.context.store.note(&key).await?;
            let version = note.as_ref().map_or(0, |note| note.version);
            let mut whole = note.as_ref().and_then(read).unwrap_or_default();
            whole.merge(part);
            if self.context.store.put_note(&key, serde_json::to_string(&whole).unwrap_or_default(), version).await? {
                return Ok(());
            }
        }
        Err(StoreError::Overloaded)
    }

    /// Sends the reports of days that are over, those that no other node is sending.
    async fn send_due(&self) -> Result<(), StoreError> {
        let now = self.context.clock.now();
        for note in self.context.store.notes(PREFIX).await? {
            let Some((day, domain)) = day_and_domain(&note.key) else { continue };
            let due_at = Timestamp::from_millis((day + 1) * DAY_MILLIS) + GRACE + self.delay(day, &domain);
            if now < due_at {
                continue;
            }
            let Some(mut whole) = read(&note) else {
                self.context.store.remove_note(&note.key).await?;
                continue;
            };
            if whole.claimed_at.is_some_and(|at| now < at + CLAIM_HOLDS) {
                continue;
            }
            whole.claimed_at = Some(now);
            let value = serde_json::to_string(&whole).unwrap_or_default();
            if !self.context.store.put_note(&note.key, value, note.version).await? {
                continue;
            }
            let mut is_done = self.send(&mut whole, day, &domain).await;
            if !is_done && now >= due_at + GIVEN_UP_AFTER {
                warn!(%domain, "a TLS report could not be sent, and is given up");
                is_done = true;
            }
            if is_done {
                self.context.store.remove_note(&note.key).await?;
            } else {
                // Where it has been sent already, it is not sent again.
                let value = serde_json::to_string(&whole).unwrap_or_default();
                self.context.store.put_note(&note.key, value, note.version + 1).await?;
            }
        }
        Ok(())
    }

    /// RFC 8460 section 4.1: all the world's reports are not to come at midnight.
    fn delay(&self, day: i64, domain: &Domain) -> Duration {
        let mut hasher = DefaultHasher::new();
        (day, domain.as_str(), &self.context.hostname).hash(&mut hasher);
        self.context.limits.tls_report_spread.mul_f64((hasher.finish() % 1000) as f64 / 1000.0)
    }

    /// Where a domain wants its reports; nowhere, as a rule.
    async fn destinations_of(&self, domain: &Domain) -> Known {
        let now = self.context.clock.now();
        if let Some((known, until)) = self.known().get(domain).cloned()
            && now < until
        {
            return known;
        }
        let name = format!("_smtp._tls.{domain}");
        let asking = timeout(self.context.clock.as_ref(), RECORD_PATIENCE, self.resolver.texts(&name)).await;
        let (found, holds) = match asking {
            Ok(Ok(records)) => (Ok(send::destinations(&records)), RECORD_HOLDS),
            Ok(Err(ResolveError::NoSuchDomain | ResolveError::NoRecords)) => (Ok(Vec::new()), RECORD_HOLDS),
            // What was counted is kept until DNS answers.
            Ok(Err(ResolveError::Temporary(_))) | Err(_) => (Err(Unknown), UNKNOWN_HOLDS),
        };
        self.known().insert(domain.clone(), (found.clone(), now + holds));
        found
    }

    fn known(&self) -> MutexGuard<'_, Generations<Domain, (Known, Timestamp)>> {
        self.destinations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a report to all who have not got it; `true` where nobody is left.
    async fn send(&self, whole: &mut DayOfDomain, day: i64, domain: &Domain) -> bool {
        let Ok(destinations) = self.destinations_of(domain).await else { return false };
        let mut is_done = true;
        for destination in &destinations {
            let name = destination.to_string();
            if whole.sent_to.contains(&name) {
                continue;
            }
            match self.send_to(whole, day, domain, destination).await {
                Ok(()) => {
                    info!(%domain, to = name, "a TLS report was sent");
                    whole.sent_to.push(name);
                }
                Err(reason) => {
                    warn!(%domain, to = name, reason, "a TLS report could not be sent yet");
                    is_done = false;
                }
            }
        }
        is_done
    }
}

fn read(note: &Note) -> Option<DayOfDomain> {
    serde_json::from_str(&note.value).inspect_err(|error| warn!(key = note.key, %error, "a note cannot be read")).ok()
}

fn day_and_domain(key: &str) -> Option<(i64, Domain)> {
    let (day, domain) = key.strip_prefix(PREFIX)?.split_once('/')?;
    Some((day.parse().ok()?, Domain::parse(domain).ok()?))
}
