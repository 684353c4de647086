//! Source addresses by an HTTP service: what it answered is kept, and where it gives no usable address, mail leaves by an old
//! answer, by `FALLBACK_IP`, or as the system likes. It never waits longer than a decision is worth.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_config::IpSelection;
use postrider_core::source::{IpSelectionStats, IpSelectionTest, is_of_one_host};
use postrider_core::{Clock, Resolver, SourceDecision, SourceOrigin, SourceQuestion, Timestamp};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info, warn};
use url::Url;

use super::breaker::{Breaker, Permit};
use super::cache::{Answer, Cache, Key};
use super::local::Rejections;
use super::reverse::ReverseNames;
use super::service::{Failure, Said, Service};
use super::stats::Counts;
use super::{DECISION, Source, SourceKey, local};
use crate::http::HttpClient;

/// Requests under way.
const REQUESTS_MAX: usize = 64;

/// Before the first further question, and twice as long before each next one, with as much again of jitter.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// A question that had no usable answer is not asked again for so long.
const FAILURE_HOLDS: Duration = Duration::from_secs(5);
/// Such failures kept; past it all are forgotten.
const FAILURES_MAX: usize = 10_000;

/// Why nobody is asked.
const LEFT_ALONE: &str = "the service has failed too often and is not asked for now";

#[derive(Debug)]
pub(super) struct Selection {
    service: Service,
    clock: Arc<dyn Clock>,
    names: ReverseNames,
    retries: u32,
    cache_time: Duration,
    fallback: Option<IpAddr>,
    places: Semaphore,
    state: Mutex<State>,
    /// Whether the service is left alone: whoever waits for it stops waiting.
    is_left_alone: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    cache: Cache,
    breaker: Breaker,
    counts: Counts,
    /// Questions under way; all who want the same answer wait for the same.
    asking: HashMap<Key, watch::Receiver<Option<Asked>>>,
    failed: HashMap<Key, (Arc<str>, Timestamp)>,
    rejected: Rejections,
}

type Asked = Result<Answer, Arc<str>>;

/// What is known without waiting.
enum Look {
    Found(Answer),
    /// Why nobody is asked now.
    NotNow(Arc<str>),
    Ask(watch::Receiver<Option<Asked>>),
}

impl Selection {
    pub(super) fn new(
        options: &IpSelection,
        url: Url,
        http: HttpClient,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        Self {
            service: Service::new(http, url, options.timeout, clock.clone()),
            names: ReverseNames::new(clock.clone(), resolver),
            clock,
            retries: options.retries,
            cache_time: options.cache,
            fallback: options.fallback,
            places: Semaphore::new(REQUESTS_MAX),
            state: Mutex::default(),
            is_left_alone: watch::Sender::new(false),
        }
    }

    /// The source by an answer that holds.
    pub(super) fn known(&self, key: &Key) -> Option<Source> {
        let now = self.clock.now();
        let mut state = self.state();
        let answer = state.held(key, now)?;
        state.counts.hits += 1;
        drop(state);
        Some(self.by_answer(answer, SourceOrigin::Cache, now, None))
    }

    /// The source of deliveries, asked for if need be.
    pub(super) async fn choose(self: &Arc<Self>, key: Key, question: SourceQuestion) -> Source {
        let started_at = self.clock.now();
        let asked = match self.look(&key, question) {
            Look::Found(answer) => return self.by_answer(answer, SourceOrigin::Cache, started_at, None),
            Look::NotNow(reason) => Err(reason),
            Look::Ask(mut asking) => {
                let mut is_left_alone = self.is_left_alone.subscribe();
                tokio::select! {
                    biased;
                    answered = asking.wait_for(Option::is_some) => match answered {
                        Ok(asked) => asked.clone().unwrap_or_else(|| Err("there is no answer".into())),
                        Err(_) => Err("internal error: the question was lost".into()),
                    },
                    _ = is_left_alone.wait_for(|is_left_alone| *is_left_alone) => Err(LEFT_ALONE.into()),
                }
            }
        };
        match asked {
            Ok(answer) => self.by_answer(answer, SourceOrigin::Api, started_at, None),
            Err(reason) => self.without_answer(&key, &reason, started_at).await,
        }
    }

    fn look(self: &Arc<Self>, key: &Key, question: SourceQuestion) -> Look {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some(answer) = state.held(key, now) {
            state.counts.hits += 1;
            return Look::Found(answer);
        }
        state.counts.misses += 1;
        if let Some((reason, _)) = state.failed.get(key).filter(|(_, until)| now < *until) {
            return Look::NotNow(reason.clone());
        }
        if let Some(asking) = state.asking.get(key) {
            return Look::Ask(asking.clone());
        }
        let permit = state.breaker.permit(now);
        if permit == Permit::No {
            return Look::NotNow(LEFT_ALONE.into());
        }
        let (asked, asking) = watch::channel(None);
        state.asking.insert(key.clone(), asking.clone());
        drop(state);
        let selection = self.clone();
        let key = key.clone();
        // On a task of its own: who asked may be gone before the answer comes, and others wait for it too.
        tokio::spawn(async move {
            let mut under_way = UnderWay { selection: &selection, key: &key, asked };
            let retries = if permit == Permit::Probe { 0 } else { selection.retries };
            let answer = selection.ask(&key, question, retries).await;
            under_way.end(answer);
        });
        if permit == Permit::Probe { Look::NotNow(LEFT_ALONE.into()) } else { Look::Ask(asking) }
    }

    /// Asks, again where that may help.
    async fn ask(&self, key: &Key, question: SourceQuestion, retries: u32) -> Asked {
        let Ok(_place) = self.places.acquire().await else { return Err("the server is shutting down".into()) };
        let mut back_off = BACK_OFF_FIRST;
        let mut tries_left = retries;
        loop {
            let failure = match self.ask_once(key, &question).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let is_hopeless = !failure.may_pass || self.state().breaker.is_open();
            debug!(reason = failure.reason, tries_left, "the source-IP service gave no usable answer");
            if tries_left == 0 || is_hopeless {
                return Err(failure.reason.into());
            }
            tries_left -= 1;
            self.clock.sleep(back_off.mul_f64(1.0 + crate::random_fraction())).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    async fn ask_once(&self, key: &Key, question: &SourceQuestion) -> Result<Answer, Failure> {
        let (said, exchange) = self.service.ask(question).await;
        let now = self.clock.now();
        {
            let mut state = self.state();
            state.counts.requests += 1;
            match &said {
                Err(failure) if failure.is_outage => {
                    state.counts.errors += 1;
                    if state.breaker.failed(now) {
                        warn!(reason = failure.reason, "the source-IP service fails: it is left alone for a while");
                        self.is_left_alone.send_replace(true);
                    }
                }
                answered => {
                    state.counts.errors += u64::from(answered.is_err());
                    state.counts.note_latency(exchange.latency_ms);
                    if state.breaker.is_open() {
                        info!("the source-IP service answers again");
                        self.is_left_alone.send_replace(false);
                    }
                    state.breaker.succeeded();
                }
            }
        }
        let answer = self.usable(said?).await.inspect_err(|_| self.state().counts.errors += 1)?;
        // Also one that holds for no time: it is of use when the next question has no answer.
        self.state().cache.insert(key.clone(), answer.clone());
        Ok(answer)
    }

    /// What was said as an answer, if this host has the address.
    async fn usable(&self, said: Said) -> Result<Answer, Failure> {
        let Said { ip, ttl, ehlo, flaw } = said;
        if !is_of_one_host(ip) || !local::can_bind(ip) {
            let reason = format!("the service chose {ip}, which is no address of this host");
            return Err(Failure { reason, is_outage: false, may_pass: true });
        }
        let ehlo = match ehlo {
            Some(name) => Some(name.into()),
            None => self.names.of(ip).await,
        };
        let holds_until = self.clock.now() + ttl.unwrap_or(self.cache_time);
        // The address was free again just now.
        self.state().rejected.remove(ip);
        Ok(Answer { ip, ehlo, holds_until, flaw: flaw.map(Into::into) })
    }

    /// By what mail leaves while the service gives no usable answer.
    async fn without_answer(&self, key: &Key, reason: &str, started_at: Timestamp) -> Source {
        let now = self.clock.now();
        let stale = {
            let mut state = self.state();
            let answer = state.cache.get(key, now).cloned();
            answer.filter(|answer| !state.rejected.has(answer.ip, now)).filter(|answer| local::can_bind(answer.ip))
        };
        if let Some(answer) = stale {
            self.state().counts.stale += 1;
            return self.by_answer(answer, SourceOrigin::Stale, started_at, Some(reason));
        }
        if let Some(ip) = self.fallback {
            if !self.state().rejected.has(ip, now) && local::can_bind(ip) {
                self.state().counts.fallbacks += 1;
                let ehlo = self.names.of(ip).await;
                let key = SourceKey { ip: Some(ip), ehlo };
                return self.source(key, SourceOrigin::Fallback, started_at, Some(reason.to_owned()), now);
            }
            warn!(%ip, "FALLBACK_IP is no address of this host: the system chooses");
        }
        self.state().counts.defaults += 1;
        self.source(SourceKey::default(), SourceOrigin::Default, started_at, Some(reason.to_owned()), now)
    }

    fn by_answer(&self, answer: Answer, origin: SourceOrigin, started_at: Timestamp, reason: Option<&str>) -> Source {
        let Answer { ip, ehlo, holds_until, flaw } = answer;
        let error = reason.or(flaw.as_deref()).map(str::to_owned);
        self.source(SourceKey { ip: Some(ip), ehlo }, origin, started_at, error, holds_until)
    }

    fn source(
        &self,
        key: SourceKey,
        origin: SourceOrigin,
        started_at: Timestamp,
        error: Option<String>,
        holds_until: Timestamp,
    ) -> Source {
        let now = self.clock.now();
        let decision = SourceDecision { ip: key.ip, origin, latency: now.since(started_at), error };
        Source { key, decision: Some(decision), holds_until: holds_until.max(now + DECISION) }
    }

    pub(super) fn reject(&self, ip: IpAddr) {
        self.state().rejected.add(ip, self.clock.now());
    }

    pub(super) fn stats(&self) -> IpSelectionStats {
        let now = self.clock.now();
        let state = self.state();
        let Counts { hits, misses, requests, errors, stale, fallbacks, defaults, .. } = state.counts;
        IpSelectionStats {
            enabled: true,
            breaker: state.breaker.stats(now),
            entries: state.cache.len() as u64,
            hits,
            misses,
            requests,
            errors,
            stale,
            fallbacks,
            defaults,
            latency_ms: state.counts.latencies(),
            ..IpSelectionStats::default()
        }
    }

    pub(super) fn clear_cache(&self) -> usize {
        let mut state = self.state();
        state.failed.clear();
        state.rejected.clear();
        state.cache.clear()
    }

    pub(super) async fn test(&self, question: SourceQuestion) -> IpSelectionTest {
        let (said, exchange) = self.service.ask(&question).await;
        let usable = match said {
            Ok(said) => self.usable(said).await,
            Err(failure) => Err(failure),
        };
        let latency = Duration::from_millis(exchange.latency_ms);
        let (ip, origin, ehlo, error) = match usable {
            Ok(answer) => (Some(answer.ip), SourceOrigin::Api, answer.ehlo, answer.flaw.map(|flaw| flaw.to_string())),
            Err(failure) => {
                let fallback = self.fallback.filter(|ip| local::can_bind(*ip));
                let origin = if fallback.is_some() { SourceOrigin::Fallback } else { SourceOrigin::Default };
                (fallback, origin, None, Some(failure.reason))
            }
        };
        debug!(latency_ms = exchange.latency_ms, "the source-IP service was asked by request");
        IpSelectionTest {
            decision: SourceDecision { ip, origin, latency, error },
            ehlo: ehlo.map(|name| name.to_string()),
            exchange,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts and maps: nothing in there is left half-changed by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// An answer that holds and can be used.
    fn held(&mut self, key: &Key, now: Timestamp) -> Option<Answer> {
        let answer = self.cache.get(key, now).filter(|answer| now < answer.holds_until)?.clone();
        (!self.rejected.has(answer.ip, now)).then_some(answer)
    }
}

/// A question under way. However it ends, whoever waits hears of it.
struct UnderWay<'a> {
    selection: &'a Selection,
    key: &'a Key,
    asked: watch::Sender<Option<Asked>>,
}

impl UnderWay<'_> {
    fn end(&mut self, asked: Asked) {
        let mut state = self.selection.state();
        if let Err(reason) = &asked {
            if state.failed.len() >= FAILURES_MAX {
                state.failed.clear();
            }
            let until = self.selection.clock.now() + FAILURE_HOLDS;
            state.failed.insert(self.key.clone(), (reason.clone(), until));
        } else {
            state.failed.remove(self.key);
        }
        drop(state);
        self.asked.send_replace(Some(asked));
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.selection.state().asking.remove(self.key);
    }
}
