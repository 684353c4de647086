//! What all parts of the engine share: the connection, time limits, transactions, and what this process knows of its nodes.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use mongodb::bson::{doc, oid};
use mongodb::{Client, ClientSession, Collection, Database};
use postrider_core::Timestamp;
use postrider_store::{Membership, NodeId, StoreError};
use tokio::sync::Notify;

use crate::codes::timestamp;
use crate::counters::{Stripe, Stripes};
use crate::courtesy::Courtesy;
use crate::documents::{AttemptDocument, DeliveryDocument};
use crate::failure::{self, Failure, closed, store_error, timed_out};
use crate::files::Files;
use crate::guard::Claim;
use crate::nodes;
use crate::notices::Notices;
use crate::options::{LeaseClock, MongoOptions};
use crate::schema;
use crate::session::{Session, Sessions};
use crate::words;

type Result<T> = std::result::Result<T, StoreError>;

/// After so many conflicts several requests are tried in parts, to find the one that is in another's way.
const BATCH_CONFLICTS_MAX: u32 = 4;

/// The first pause before a transaction is tried again; each next one is twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(2);

/// A query that may find very much may take this many times as long as one command.
const SELECT_COMMANDS: u32 = 12;

/// How long a server may keep a transaction open whose commit is still on its way (transactionLifetimeLimitSeconds is 60), and
/// some.
const LATE_COMMIT_MAX: Duration = Duration::from_secs(75);

/// Between tries to give back what may have been claimed.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(1);

/// Entries of mailboxes that a transaction may change in the time for one command more.
const ENTRIES_OF_COMMAND: u64 = 2_000;

/// A transaction may take this many times as long as one command before it is given up.
const TRANSACTION_COMMANDS: u32 = 2;

pub(crate) struct Engine {
    pub(crate) client: Client,
    pub(crate) database: Database,
    pub(crate) options: MongoOptions,
    pub(crate) files: Files,
    pub(crate) notices: Notices,
    pub(crate) courtesy: Courtesy,
    pub(crate) sessions: Sessions,
    pub(crate) words: words::Index,
    stripes: Stripes,
    /// The nodes of this process; `None` for those that lost their registration.
    nodes: Mutex<HashMap<NodeId, Option<Registered>>>,
    doubts: Mutex<Vec<Doubt>>,
    doubted: Arc<Notify>,
    is_releasing: AtomicBool,
    is_closed: AtomicBool,
    pub(crate) claim_conflicts: AtomicU64,
}

/// A node that this process registered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registered {
    /// Counted from before the server was asked: its own count can only be later.
    pub(crate) holds_until: Instant,
    /// As it said last.
    pub(crate) keeps_to: u64,
    pub(crate) membership: Membership,
}

/// What is done in one transaction. It may be carried out several times before one of them is committed.
pub(crate) trait Work: Send {
    type Output: Send;

    fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> impl Future<Output = std::result::Result<Self::Output, Failure>> + Send;
}

impl Engine {
    pub(crate) fn new(client: Client, database: Database, options: MongoOptions) -> Arc<Self> {
        Arc::new(Self {
            files: Files::new(database.clone(), options.answer_timeout),
            notices: Notices::new(database.clone(), oid::ObjectId::new()),
            courtesy: Courtesy::default(),
            sessions: Sessions::default(),
            words: words::Index::default(),
            client,
            database,
            options,
            stripes: Stripes::default(),
            nodes: Mutex::default(),
            doubts: Mutex::default(),
            doubted: Arc::default(),
            is_releasing: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            claim_conflicts: AtomicU64::new(0),
        })
    }

    pub(crate) fn deliveries(&self) -> Collection<DeliveryDocument> {
        self.database.collection(schema::DELIVERIES)
    }

    pub(crate) fn attempts(&self) -> Collection<AttemptDocument> {
        self.database.collection(schema::ATTEMPTS)
    }

    pub(crate) fn collection<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        self.database.collection(name)
    }

    /// Runs something that only reads, or changes one document, within the time for an answer.
    pub(crate) async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if self.is_closed() {
            return Err(closed());
        }
        tokio::time::timeout(self.options.answer_timeout, call).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// As [`Engine::call`], for a query that may find very much.
    pub(crate) async fn select<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if self.is_closed() {
            return Err(closed());
        }
        let timeout = self.options.answer_timeout * SELECT_COMMANDS;
        tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable("the search takes too long; restrict it, by time for instance".into()))
        })
    }

    /// As [`Engine::call`], for one command of the driver's.
    pub(crate) async fn command<T>(
        &self,
        command: impl IntoFuture<Output = std::result::Result<T, mongodb::error::Error>>,
    ) -> Result<T> {
        self.call(async { command.await.map_err(|error| store_error(&error)) }).await
    }

    /// Runs `work` in a transaction until it is committed, durable on a majority, or cannot be. After an error other than
    /// [`Failure::Refused`] nobody may know whether it was committed.
    pub(crate) async fn transaction<W: Work>(&self, work: &mut W) -> std::result::Result<W::Output, Failure> {
        self.transaction_of(1, work).await
    }

    /// As [`Engine::transaction`], with the work of so many requests. If others are in the way of several together, that is
    /// found out soon: [`Failure::Conflict`].
    pub(crate) async fn transaction_of<W: Work>(
        &self,
        requests: usize,
        work: &mut W,
    ) -> std::result::Result<W::Output, Failure> {
        self.transaction_within(TRANSACTION_COMMANDS, requests, work).await
    }

    /// As [`Engine::transaction`], where it is about so many entries of mailboxes.
    pub(crate) async fn transaction_for<W: Work>(
        &self,
        entries: u64,
        work: &mut W,
    ) -> std::result::Result<W::Output, Failure> {
        let more = u32::try_from(entries / ENTRIES_OF_COMMAND).unwrap_or(u32::MAX);
        self.transaction_within(TRANSACTION_COMMANDS + more.min(SELECT_COMMANDS), 1, work).await
    }

    async fn transaction_within<W: Work>(
        &self,
        commands: u32,
        requests: usize,
        work: &mut W,
    ) -> std::result::Result<W::Output, Failure> {
        if self.is_closed() {
            return Err(Failure::Server(closed()));
        }
        let timeout = self.options.answer_timeout * commands;
        // What ended the last try, and whether another is under way, of which nobody may know what becomes of it.
        let (mut last, mut is_trying, mut conflicts) = (None, true, 0);
        let tries = async {
            let mut session = Session::start(self).await?;
            let mut pause = RETRY_FIRST;
            loop {
                is_trying = true;
                let failure = match self.try_transaction(&mut session, work).await {
                    Err(failure @ (Failure::Conflict(_) | Failure::Transient(_))) => failure,
                    ended => return ended,
                };
                conflicts += u32::from(matches!(failure, Failure::Conflict(_)));
                if requests > 1 && conflicts >= BATCH_CONFLICTS_MAX {
                    return Err(failure);
                }
                tracing::debug!(?failure, "a transaction is tried again");
                (last, is_trying) = (Some(failure), false);
                // Not all that were in each other's way come back at the same moment.
                tokio::time::sleep(pause.mul_f64(0.5 + jitter())).await;
                pause = (pause * 2).min(Duration::from_millis(200));
            }
        };
        match tokio::time::timeout(timeout, tries).await {
            Ok(ended) => ended,
            Err(_) => match last {
                Some(Failure::Conflict(error)) if !is_trying => Err(Failure::Conflict(error)),
                Some(failure) => Err(Failure::Server(failure.into_error())),
                None => Err(Failure::Server(timed_out())),
            },
        }
    }

    /// As [`Engine::transaction`], once: [`Failure::Conflict`] if another transaction is in the way.
    pub(crate) async fn transaction_once<W: Work>(&self, work: &mut W) -> std::result::Result<W::Output, Failure> {
        let tried = async {
            let mut session = Session::start(self).await?;
            self.try_transaction(&mut session, work).await
        };
        tokio::time::timeout(self.options.answer_timeout, tried)
            .await
            .unwrap_or_else(|_| Err(Failure::Server(timed_out())))
    }

    async fn try_transaction<W: Work>(
        &self,
        opened: &mut Session,
        work: &mut W,
    ) -> std::result::Result<W::Output, Failure> {
        let session = opened.open();
        session.start_transaction().await?;
        let stripe = self.stripes.take();
        let output = match work.run(self, session, stripe).await {
            Ok(output) => output,
            Err(failure) => {
                let _ = session.abort_transaction().await;
                if matches!(failure, Failure::Conflict(_)) {
                    self.stripes.give_back(stripe);
                }
                if matches!(failure, Failure::Conflict(_) | Failure::Refused(_)) {
                    opened.close();
                }
                return Err(failure);
            }
        };
        loop {
            match session.commit_transaction().await {
                Ok(()) => break,
                Err(error) if failure::is_commit_unknown(&error) => tokio::time::sleep(RETRY_FIRST * 10).await,
                // The server may know nothing of the transaction because it is committed already, and the answer was lost:
                // the driver asks twice by itself. Carried out again, it would find its own work.
                Err(_) if stripe.is_committed(self).await.map_err(Failure::Server)? => break,
                Err(error) => return Err(error.into()),
            }
        }
        opened.close();
        self.stripes.give_back(stripe);
        Ok(output)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn set_closed(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.notices.stop();
    }

    pub(crate) fn note_registered(&self, node: NodeId, registered: Registered) {
        lock(&self.nodes).insert(node, Some(registered));
    }

    pub(crate) fn note_left(&self, node: NodeId) {
        lock(&self.nodes).remove(&node);
    }

    pub(crate) fn note_lost(&self, node: NodeId) {
        lock(&self.nodes).insert(node, None);
    }

    pub(crate) fn registered(&self, node: NodeId) -> Option<Registered> {
        lock(&self.nodes).get(&node).copied().flatten()
    }

    /// The nodes of this process that are registered.
    pub(crate) fn own_nodes(&self) -> Vec<NodeId> {
        lock(&self.nodes).iter().filter_map(|(node, registered)| registered.map(|_| *node)).collect()
    }

    pub(crate) fn has_lost(&self, node: NodeId) -> bool {
        lock(&self.nodes).get(&node).is_some_and(Option::is_none)
    }

    /// Whether a node may be given claims, as far as this process knows: another's word for it would be another round trip.
    pub(crate) fn may_hold(&self, node: NodeId) -> bool {
        self.registered(node).is_some_and(|registered| {
            self.options.lease_clock == LeaseClock::Callers || Instant::now() < registered.holds_until
        })
    }

    /// Gives back a claim that may have been made without its taker's knowing: as soon as the server answers, and again for
    /// as long as what was sent to it before may still come into effect.
    pub(crate) fn doubt(self: &Arc<Self>, claim: Claim) {
        let mut doubts = lock(&self.doubts);
        doubts.push(Doubt { claim, answered: None });
        if doubts.len() == 1
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(give_back_doubts(Arc::downgrade(self), self.doubted.clone()));
        }
        self.doubted.notify_one();
    }

    /// The server's time.
    pub(crate) async fn server_time(&self) -> Result<Timestamp> {
        let hello = self.command(self.database.run_command(doc! { "hello": 1 })).await?;
        hello.get_datetime("localTime").copied().map(timestamp).map_err(failure::corrupt)
    }

    /// Whether nobody gives back what strangers own yet: then the caller does, and tells when it has.
    pub(crate) fn begin_release(&self) -> bool {
        !self.is_releasing.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_release(&self) {
        self.is_releasing.store(false, Ordering::Release);
    }
}

/// A claim that may have been made, and since when the server has answered again.
#[derive(Debug)]
struct Doubt {
    claim: Claim,
    answered: Option<Instant>,
}

/// Gives back all doubtful claims again and again, until none is doubtful any more.
async fn give_back_doubts(engine: Weak<Engine>, doubted: Arc<Notify>) {
    loop {
        let Some(engine) = engine.upgrade().filter(|engine| !engine.is_closed()) else { return };
        let claims: Vec<Claim> = lock(&engine.doubts).iter().map(|doubt| doubt.claim.clone()).collect();
        let is_answered = nodes::give_back(&engine, &claims).await.is_ok();
        {
            let mut doubts = lock(&engine.doubts);
            if is_answered {
                // The list only grows at its end.
                for doubt in doubts.iter_mut().take(claims.len()) {
                    doubt.answered.get_or_insert_with(Instant::now);
                }
            }
            doubts.retain(|doubt| doubt.answered.is_none_or(|answered| answered.elapsed() < LATE_COMMIT_MAX));
            if doubts.is_empty() {
                return;
            }
        }
        drop(engine);
        // A new one is most probably certain, and need not wait.
        let _ = tokio::time::timeout(GIVE_BACK_EVERY, doubted.notified()).await;
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A lock that outlives a panic of its holder: nothing guarded here can be left half-changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number from 0 to 1, different each time.
fn jitter() -> f64 {
    let bytes = oid::ObjectId::new().bytes();
    // The counter at the end, spread over the byte.
    f64::from(bytes[11].wrapping_mul(167)) / 255.0
}
