//! Webhooks: applications are told what became of their mail.
//!
//! What is to be told is written with what it tells of: whoever accepts or settles asks here for the events, and hands them to
//! the store. [`Webhooks::run`] makes the calls, [`call`] one of them.

mod call;
mod event;
mod requested;
mod signature;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use postrider_config::Webhook;
use postrider_core::ports::WebhookTest;
use postrider_core::{Attempt, Clock, ControlError, Domain, Instructions, ObjectId, Timestamp};
use postrider_store::webhooks::{Endpoint, EndpointSettings, Subject, WebhookSecret};
use postrider_store::{
    CallAttempt, CallClaimRequest, CallNext, CallSettlement, ClaimedCall, ClaimedDelivery, ClaimedEmail, EndpointId,
    EventKind, NewCall, NewEmail, NewEvent, Next, OutboxSweep, Store, StoreError,
};
use tokio::sync::{Notify, watch};
use tracing::{Instrument as _, debug, debug_span, info, warn};
use url::Url;

use crate::http::HttpClient;
use crate::queue::Queue;
use crate::stats::Stats;
use call::{Called, Patience};
use requested::Requested;

/// Calls to one endpoint at the same time.
const CALLS_PER_ENDPOINT_MAX: usize = 32;

/// Calls of this node at the same time.
const CALLS_MAX: usize = 512;

/// How often endpoints are looked up, and calls that are due.
const LOOK: Duration = Duration::from_secs(1);

/// Whoever has taken calls and not settled them by then is taken for dead: so long after the time-out of a call.
const LOCK_MARGIN: Duration = Duration::from_secs(60);

/// How often what is old is forgotten, in what parts, and how old it gets.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
const SWEEP_COUNT: usize = 1_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
const EVENTS_KEPT_DAYS: u32 = 7;
const DELIVERED_KEPT_DAYS: u32 = 3;
const GIVEN_UP_KEPT_DAYS: u32 = 30;

/// Who is told what.
#[derive(Debug)]
pub(crate) struct Webhooks {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    http: HttpClient,
    /// For URLs that e-mails ask for.
    http_requested: HttpClient,
    patience: Patience,
    /// Those of the settings.
    fixed: Vec<Endpoint>,
    /// For URLs that e-mails ask for.
    requested: Requested,
    /// With which endpoint the next look begins.
    turn: AtomicUsize,
    /// All of them, as they were a moment ago.
    endpoints: RwLock<Arc<[Endpoint]>>,
    under_way: Mutex<HashMap<EndpointId, usize>>,
    news: Notify,
    stats: Arc<Stats>,
}

/// What is asked of the store at once.
#[derive(Debug, Default)]
struct Wanted {
    /// Endpoints, also those that get no more.
    looked_at: usize,
    counts: Vec<(EndpointId, usize)>,
}

impl Webhooks {
    pub(crate) fn new(
        settings: &Webhook,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        (http, http_requested): (HttpClient, HttpClient),
        stats: Arc<Stats>,
    ) -> Arc<Self> {
        let fixed = fixed_endpoints(settings);
        Arc::new(Self {
            store,
            clock,
            http,
            http_requested,
            patience: Patience { timeout: settings.timeout, retries: settings.retries },
            endpoints: RwLock::new(fixed.clone().into()),
            fixed,
            requested: Requested::new(settings.secret.as_ref()),
            turn: AtomicUsize::new(0),
            under_way: Mutex::default(),
            news: Notify::new(),
            stats,
        })
    }

    /// What is told of an e-mail that comes.
    pub(crate) fn accepted(&self, email: &NewEmail) -> Vec<NewEvent> {
        let is = |kind, applies| Some(kind).filter(|_| applies);
        let kinds =
            [is(EventKind::Accepted, !email.deliveries.is_empty()), is(EventKind::Received, !email.kept.is_empty())];
        let addresses = email.kept.iter().chain(email.deliveries.iter().map(|delivery| &delivery.recipient));
        let event = |kind| {
            let calls = self.calls(kind, &email.instructions, || {
                let recipients = addresses.clone().map(|recipient| recipient.address.domain());
                email.envelope.reverse_path.0.iter().map(|sender| sender.domain()).chain(recipients).collect()
            });
            let data = if calls.is_empty() { String::new() } else { event::came(email, kind == EventKind::Received) };
            NewEvent { id: ObjectId::new(email.created_at), kind, at: email.created_at, calls, data }
        };
        kinds.into_iter().flatten().map(event).collect()
    }

    /// What is told of an attempt that ended.
    pub(crate) fn settled(
        &self,
        email: &ClaimedEmail,
        delivery: &ClaimedDelivery,
        attempt: &Attempt,
        next: Next,
    ) -> NewEvent {
        let kind = match next {
            Next::Sent => EventKind::Delivered,
            Next::Retry { .. } => EventKind::Deferred,
            Next::Failed => EventKind::Failed,
        };
        let calls = self.calls(kind, &email.instructions, || {
            let sender = email.envelope.reverse_path.0.iter().map(|sender| sender.domain());
            sender.chain([delivery.recipient.address.domain()]).collect()
        });
        let data = if calls.is_empty() { String::new() } else { event::ended(email, delivery, attempt, next) };
        let at = attempt.started_at + attempt.duration;
        NewEvent { id: ObjectId::new(at), kind, at, calls, data }
    }

    /// Calls an endpoint with a sample.
    pub(crate) async fn test(&self, endpoint: EndpointId) -> Result<WebhookTest, ControlError> {
        let found = Endpoint::find(self.store.as_ref(), endpoint).await;
        let endpoint = match found.map_err(|error| ControlError(error.to_string()))? {
            Some(endpoint) => endpoint,
            None => return Err(ControlError("there is no such endpoint any more".to_owned())),
        };
        let now = self.clock.now();
        let sample = ClaimedCall {
            id: ObjectId::new(now),
            endpoint: endpoint.id,
            event: ObjectId::new(now),
            kind: endpoint.settings.kinds.first().copied().unwrap_or(EventKind::Delivered),
            at: now,
            email: ObjectId::default(),
            url: None,
            data: event::sample(now),
            tries: 0,
        };
        let (attempt, next) =
            call::make(&self.http, self.clock.as_ref(), &self.called(&endpoint, &sample), &sample, self.patience).await;
        let delivered = next == CallNext::Delivered;
        let CallAttempt { status, error, body, duration_ms, .. } = attempt;
        Ok(WebhookTest { delivered, status, error, body, duration_ms })
    }

    /// Where a call goes, and by what it is signed now.
    fn called(&self, endpoint: &Endpoint, call: &ClaimedCall) -> Called {
        match &call.url {
            Some(url) => Called { url: url.clone(), secrets: self.requested.secret_of(url).into_iter().collect() },
            None => {
                let secrets = endpoint.secrets(self.clock.now()).cloned().collect();
                Called { url: endpoint.settings.url.clone(), secrets }
            }
        }
    }

    /// By what calls to a URL that e-mails ask for are signed; `None`: they are not.
    pub(crate) fn secret_of(&self, url: &str) -> Option<WebhookSecret> {
        self.requested.secret_of(url)
    }

    /// Events were written.
    pub(crate) fn kick(&self) {
        self.news.notify_one();
    }

    fn calls(
        &self,
        kind: EventKind,
        instructions: &Instructions,
        domains: impl FnOnce() -> Vec<Domain>,
    ) -> Vec<NewCall> {
        let endpoints = self.endpoints();
        let new = |endpoint, url| NewCall { id: ObjectId::new(self.clock.now()), endpoint, url };
        let mut calls = Vec::new();
        if let Some(url) = &instructions.webhook_url {
            calls.push(new(self.requested.endpoint_of(url), Some(url.clone())));
            self.requested.note_calls(self.clock.now());
        }
        if !endpoints.is_empty() {
            let domains = domains();
            let subject = Subject { kind, domains: &domains, tags: &instructions.tags };
            let wanting = endpoints.iter().filter(|endpoint| endpoint.wants(&subject));
            calls.extend(wanting.map(|endpoint| new(endpoint.id, None)));
        }
        calls
    }

    fn endpoints(&self) -> Arc<[Endpoint]> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes calls until the server shuts down. What is under way then is made anew by whoever comes next.
    pub(crate) async fn run(self: Arc<Self>, queue: Arc<Queue>, mut draining: watch::Receiver<bool>) {
        let mut swept_at: Option<Timestamp> = None;
        let mut looked_at: Option<Timestamp> = None;
        loop {
            // Not at each event: those that are changed here are looked up at once.
            let now = self.clock.now();
            if looked_at.is_none_or(|at| now.since(at) >= LOOK) {
                looked_at = Some(now);
                if let Err(error) = self.look_up_endpoints().await {
                    queue.store_failed("the webhook endpoints cannot be looked up", &error);
                }
            }
            match self.make_due_calls(&queue).await {
                Ok(()) => {}
                Err(error) => queue.store_failed("the webhooks that are due cannot be looked up", &error),
            }
            let now = self.clock.now();
            if swept_at.is_none_or(|at| now.since(at) >= SWEEP_EVERY) {
                swept_at = Some(now);
                self.sweep(now).await;
            }
            tokio::select! {
                () = self.clock.sleep(LOOK) => {}
                () = self.news.notified() => {}
                _ = draining.wait_for(|&draining| draining) => return,
            }
        }
    }

    /// Learns who is called. Before that, nobody of those that were added by API is.
    pub(crate) async fn look_up_endpoints(&self) -> Result<(), StoreError> {
        let kept = Endpoint::all(self.store.as_ref()).await?;
        let all: Arc<[Endpoint]> = self.fixed.iter().cloned().chain(kept).collect();
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(())
    }

    async fn make_due_calls(self: &Arc<Self>, queue: &Arc<Queue>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut endpoints = self.endpoints().to_vec();
        if self.requested.is_to_be_looked_for(now) {
            endpoints.extend_from_slice(self.requested.endpoints());
        }
        endpoints.retain(|endpoint| !endpoint.settings.is_paused);
        if endpoints.is_empty() {
            return Ok(());
        }
        // Where there are more calls than are made at the same time, those whose turn did not come go first next time.
        let turn = self.turn.load(Ordering::Relaxed) % endpoints.len();
        endpoints.rotate_left(turn);
        let lock = self.patience.timeout + LOCK_MARGIN;
        let mut asked = 0;
        while let Some(wanted) = self.wanted(&endpoints[asked..]) {
            asked += wanted.looked_at;
            if wanted.counts.is_empty() {
                continue;
            }
            let request = CallClaimRequest { now, lock, endpoints: wanted.counts };
            for call in self.store.claim_calls(request).await? {
                if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.id == call.endpoint) {
                    if call.url.is_some() {
                        self.requested.note_calls(now);
                    }
                    self.start(endpoint.clone(), call, queue);
                }
            }
        }
        let turn = if asked < endpoints.len() { turn + asked } else { turn };
        self.turn.store(turn, Ordering::Relaxed);
        Ok(())
    }

    fn start(self: &Arc<Self>, endpoint: Endpoint, call: ClaimedCall, queue: &Arc<Queue>) {
        *self.under_way().entry(endpoint.id).or_default() += 1;
        let (webhooks, queue) = (self.clone(), queue.clone());
        let span =
            debug_span!("webhook", email = %call.email, webhook.event = %call.event, webhook.endpoint = %endpoint.id);
        let make = async move {
            webhooks.make(&endpoint, call, &queue).await;
            webhooks.forget(endpoint.id);
            webhooks.kick();
        };
        tokio::spawn(make.instrument(span));
    }

    /// How many more calls each of the first of these endpoints may get now; `None` where there are none, or no more calls are made
    /// at the same time.
    fn wanted(&self, endpoints: &[Endpoint]) -> Option<Wanted> {
        let under_way = self.under_way();
        let mut room = CALLS_MAX.saturating_sub(under_way.values().sum());
        let mut wanted = Wanted::default();
        for endpoint in endpoints {
            if room == 0 {
                break;
            }
            wanted.looked_at += 1;
            let busy = under_way.get(&endpoint.id).copied().unwrap_or(0);
            let count = CALLS_PER_ENDPOINT_MAX.saturating_sub(busy).min(room);
            room -= count;
            if count > 0 {
                wanted.counts.push((endpoint.id, count));
            }
        }
        (wanted.looked_at > 0).then_some(wanted)
    }

    async fn make(&self, endpoint: &Endpoint, call: ClaimedCall, queue: &Queue) {
        let http = if call.url.is_some() { &self.http_requested } else { &self.http };
        let (attempt, next) =
            call::make(http, self.clock.as_ref(), &self.called(endpoint, &call), &call, self.patience).await;
        self.stats.called(next, Duration::from_millis(attempt.duration_ms));
        let (status, error) = (attempt.status, attempt.error.as_deref().unwrap_or_default());
        match next {
            CallNext::Delivered => debug!(webhook.event = %call.event, ?status, "told by webhook"),
            CallNext::Retry { at } => {
                info!(webhook.event = %call.event, webhook.endpoint = %endpoint.id, ?status, error, retry_at = %at,
                    "a webhook failed");
            }
            CallNext::GivenUp => {
                warn!(webhook.event = %call.event, webhook.endpoint = %endpoint.id, ?status, error,
                    "a webhook was given up; it stays listed and can be replayed");
            }
        }
        // Told is told: the store is asked to note it until the lock is over, and then the call is made once more.
        let until = self.clock.now() + LOCK_MARGIN;
        loop {
            let settlement = CallSettlement { id: call.id, attempt: attempt.clone(), next };
            match self.store.settle_calls(vec![settlement]).await {
                Ok(_) => return,
                Err(error) => queue.store_failed("what came of a webhook could not be noted", &error),
            }
            if self.clock.now() >= until {
                return;
            }
            self.clock.sleep(LOOK).await;
        }
    }

    fn forget(&self, endpoint: EndpointId) {
        let mut under_way = self.under_way();
        if let Some(count) = under_way.get_mut(&endpoint) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&endpoint);
            }
        }
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, HashMap<EndpointId, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sweep(&self, now: Timestamp) {
        let sweep = OutboxSweep {
            events_before: now - DAY * EVENTS_KEPT_DAYS,
            delivered_before: now - DAY * DELIVERED_KEPT_DAYS,
            given_up_before: now - DAY * GIVEN_UP_KEPT_DAYS,
            count: SWEEP_COUNT,
        };
        loop {
            match self.store.sweep_outbox(sweep).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => return debug!(%error, "old events could not be forgotten"),
            }
        }
    }
}

/// The endpoints of the settings. Their ids are their names: what waits for one is still for it after a restart.
fn fixed_endpoints(settings: &Webhook) -> Vec<Endpoint> {
    if !settings.enabled {
        return Vec::new();
    }
    let endpoint = |url: &Option<Url>, name: [u8; 12], kinds: &[EventKind]| {
        let settings_of = EndpointSettings {
            url: url.as_ref()?.to_string(),
            description: String::new(),
            kinds: kinds.to_vec(),
            domains: Vec::new(),
            tags: Vec::new(),
            is_paused: false,
        };
        let secret = settings.secret.as_ref().map(|secret| WebhookSecret(secret.0.clone()));
        Some(Endpoint::new(ObjectId::from_bytes(name), settings_of, secret, Timestamp::default()))
    };
    let endpoints = [
        endpoint(&settings.success_url, *b"\0\0\0\0success\0", &[EventKind::Delivered]),
        endpoint(&settings.failure_url, *b"\0\0\0\0failure\0", &[EventKind::Failed, EventKind::Deferred]),
        endpoint(&settings.received_url, *b"\0\0\0\0received", &[EventKind::Received]),
    ];
    endpoints.into_iter().flatten().collect()
}
