//! The store on MongoDB: for any number of equal nodes on one replica set.
//!
//! A write is durable when a majority of the replica set has it in its journal. What must happen together is one
//! transaction; what waits is written together ([`writer`]). Claims hang on the leases of nodes ([`nodes`]), and what
//! nodes tell each other goes through [`notices`]. The documents and their indexes are described in docs/mongodb.md.

mod accept;
mod audit;
mod changes;
mod claim;
mod codes;
mod conditions;
mod connect;
mod counters;
mod courtesy;
mod directory;
mod documents;
mod email;
mod engine;
mod failure;
mod files;
mod found;
mod guard;
mod history;
mod list;
mod mailbox_notices;
mod mailboxes;
mod nodes;
mod notes;
mod notices;
mod options;
mod order;
mod outbox;
mod parts;
mod plan;
mod queue_domains;
mod record;
mod requests;
mod schema;
mod search;
mod session;
mod settle;
mod stats;
mod suppressions;
mod transfer;
mod users;
mod words;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use postrider_core::bounce::Feedback;
use postrider_core::submission::RequestKey;
use postrider_core::{ObjectId, Timestamp};
use postrider_store::*;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

pub use options::{CommandObserver, LeaseClock, MongoOptions};

use crate::claim::Walk;
use crate::codes::oid;
use crate::counters::number;
use crate::email::PreparedEmail;
use crate::engine::{Engine, lock};
use crate::failure::closed;
use crate::mailboxes::{PreparedAppend, removals};
use crate::schema::COUNTERS;
use crate::settle::PreparedSettle;
use crate::writer::Writer;

type Result<T> = std::result::Result<T, StoreError>;

/// Transactions with new e-mails at the same time: while one waits for its commit, the next is being written.
const ACCEPTING: usize = 2;

/// Transactions with settlements at the same time. More would be in each other's way where they are of one e-mail.
const SETTLING: usize = 1;

/// Transactions with what users put into their mailboxes at the same time.
const APPENDING: usize = 2;

/// Transactions with new mailboxes at the same time.
const CREATING: usize = 1;

/// Bringing a database to this version may take as long as so many commands that are not answered.
const MIGRATE_COMMANDS: u32 = 120;

/// How often files without an e-mail are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// Connects, brings the database to this version, and opens the store.
///
/// [`StoreError::Unavailable`] when the server cannot be reached or lacks what the engine needs: the text says what;
/// [`StoreError::Corrupt`] when a newer version wrote the database.
pub async fn open(options: MongoOptions) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(MongoStore::open(options).await?))
}

/// The store on MongoDB.
#[derive(Debug)]
pub struct MongoStore {
    pub(crate) engine: Arc<Engine>,
    accepts: Writer<PreparedEmail>,
    settles: Writer<PreparedSettle>,
    pub(crate) appends: Writer<PreparedAppend>,
    pub(crate) creates: Writer<NewMailbox>,
    walk: Arc<Walk>,
    /// What a node keeps up in the background.
    keepers: Mutex<Vec<AbortHandle>>,
    /// Whether this process's node is the first of all: that one sweeps and indexes.
    is_first: Arc<AtomicBool>,
}

impl MongoStore {
    /// As [`open`].
    pub async fn open(options: MongoOptions) -> Result<Self> {
        let (client, database) = connect::connect(&options).await?;
        // A new database has next to nothing to do; an old one may have indexes to build.
        let patience = options.answer_timeout * MIGRATE_COMMANDS;
        let engine = Engine::new(client, database.clone(), options);
        let migrate = async {
            if let Some(version) = schema::prepare(&database).await? {
                users::upgrade(&engine).await?;
                if (1..schema::WORDS_SINCE).contains(&version) {
                    words::upgrade(&engine).await?;
                }
                schema::note(&database).await?;
            }
            Ok(())
        };
        let migrated = tokio::time::timeout(patience, migrate).await;
        migrated.unwrap_or_else(|_| Err(failure::timed_out()))?;
        counters::fold(&engine).await;
        Ok(Self {
            accepts: Writer::start(&engine, ACCEPTING),
            settles: Writer::start(&engine, SETTLING),
            appends: Writer::start(&engine, APPENDING),
            creates: Writer::start(&engine, CREATING),
            walk: Arc::default(),
            keepers: Mutex::default(),
            is_first: Arc::default(),
            engine,
        })
    }

    /// Removes contents that no e-mail names and that are older than a day, and the messages of mailboxes that are gone.
    /// Returns how many contents and mailboxes. A node does this by itself every hour.
    pub async fn sweep(&self) -> Result<u64> {
        Ok(self.engine.files.sweep().await? + removals::sweep(&self.engine).await?)
    }

    /// How many deliveries this process wanted to claim that another node took first, since it was opened.
    pub fn claim_conflicts(&self) -> u64 {
        self.engine.claim_conflicts.load(Ordering::Relaxed)
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.engine.is_closed() { Err(closed()) } else { Ok(()) }
    }

    /// Whoever renews is a node, and nodes keep the house.
    fn start_keepers(&self) {
        let mut keepers = lock(&self.keepers);
        if !keepers.is_empty() || self.engine.is_closed() {
            return;
        }
        let (engine, is_first) = (Arc::downgrade(&self.engine), self.is_first.clone());
        let sweeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(engine) = engine.upgrade() else { return };
                if !is_first.load(Ordering::Relaxed) {
                    continue;
                }
                if let Err(error) = engine.files.sweep().await {
                    tracing::warn!(%error, "files without an e-mail could not be looked for");
                }
                if let Err(error) = removals::sweep(&engine).await {
                    tracing::warn!(%error, "the messages of mailboxes that are gone could not be removed");
                }
            }
        });
        let indexer = tokio::spawn(words::keep(Arc::downgrade(&self.engine), self.is_first.clone()));
        keepers.extend([sweeper.abort_handle(), indexer.abort_handle()]);
    }

    fn stop_keepers(&self) {
        lock(&self.keepers).drain(..).for_each(|keeper| keeper.abort());
    }
}

impl Drop for MongoStore {
    fn drop(&mut self) {
        self.stop_keepers();
        // What was handed to the writers is still written.
    }
}

#[async_trait]
impl Store for MongoStore {
    async fn health(&self) -> Result<StoreHealth> {
        let started = Instant::now();
        let stats = self.engine.command(self.engine.database.run_command(doc! { "dbStats": 1 })).await?;
        let latency = started.elapsed();
        let counters = self.engine.collection::<Document>(COUNTERS);
        let write = counters.update_one(doc! { "_id": "health" }, doc! { "$inc": { "writes": 1_i64 } }).upsert(true);
        self.engine.command(write).await?;
        let size_bytes = u64::try_from(number(&stats, "storageSize") + number(&stats, "indexSize")).ok();
        Ok(StoreHealth { engine: "mongodb", size_bytes, free_bytes: None, latency })
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        let options = &self.engine.options;
        self.engine.notices.hear(options.answer_timeout, options.polls_for_changes)
    }

    fn mailbox_changes(&self) -> broadcast::Receiver<MailboxChange> {
        let options = &self.engine.options;
        self.engine.notices.hear_mailboxes(options.answer_timeout, options.polls_for_changes)
    }

    async fn close(&self) -> Result<()> {
        self.accepts.stop().await;
        self.settles.stop().await;
        self.appends.stop().await;
        self.creates.stop().await;
        self.engine.notices.flush(self.engine.options.answer_timeout).await;
        self.engine.set_closed();
        self.stop_keepers();
        Ok(())
    }
}

#[async_trait]
impl Emails for MongoStore {
    async fn accept(&self, email: NewEmail) -> Result<Accepted> {
        self.check_open()?;
        let email = email::prepare(email, |node| self.engine.may_hold(node)).await?;
        // If the e-mail is not written after all, a sweep finds them.
        self.engine.files.put(oid(email.id), &email.files).await?;
        Ok(self.accepts.write(email).await?.take().unwrap_or_default())
    }

    async fn find(&self, request: ListRequest) -> Result<EmailPage> {
        list::find(&self.engine, &request).await
    }

    async fn email(&self, id: ObjectId) -> Result<Option<EmailDetail>> {
        record::detail(&self.engine, id).await
    }

    async fn raw(&self, id: ObjectId) -> Result<Option<RawMessage>> {
        record::raw(&self.engine, id).await
    }

    async fn note_feedback(&self, email: ObjectId, feedback: Vec<(u32, Feedback)>) -> Result<usize> {
        record::note_feedback(&self.engine, email, feedback).await
    }

    async fn delete(&self, id: ObjectId) -> Result<bool> {
        accept::delete(&self.engine, id).await
    }
}

#[async_trait]
impl Queue for MongoStore {
    async fn renew(&self, renewal: Renewal) -> Result<Option<Membership>> {
        let membership = nodes::renew(&self.engine, renewal).await?;
        self.is_first.store(membership.is_some_and(|membership| membership.position == 0), Ordering::Relaxed);
        self.start_keepers();
        Ok(membership)
    }

    async fn nodes(&self, now: Timestamp) -> Result<Vec<NodeRecord>> {
        nodes::list(&self.engine, now).await
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed> {
        // In a task of its own, which goes on to its end and gives the claims back if nobody waits for them any more.
        let (engine, walk) = (self.engine.clone(), self.walk.clone());
        let claim = tokio::spawn(async move { claim::claim(&engine, &walk, request).await });
        let claimed = claim.await.map_err(|error| StoreError::Unavailable(format!("internal error: {error}")))?;
        Ok(claimed?.take().unwrap_or_default())
    }

    async fn settle(&self, node: NodeId, settle: Settle) -> Result<usize> {
        self.check_open()?;
        let settle = settle::prepare(&self.engine, node, settle).await?;
        Ok(self.settles.write(settle).await?.take().unwrap_or_default())
    }

    async fn release(&self, node: NodeId, deliveries: Vec<DeliveryId>) -> Result<()> {
        nodes::release(&self.engine, node, &deliveries).await
    }

    async fn leave(&self, node: NodeId) -> Result<()> {
        nodes::leave(&self.engine, node).await
    }

    async fn order(&self, selection: Selection, order: Order, now: Timestamp) -> Result<Ordered> {
        order::order(&self.engine, &selection, order, now).await
    }

    async fn recalled(&self, node: NodeId) -> Result<Vec<DeliveryId>> {
        order::recalled(&self.engine, node).await
    }

    async fn queue_stats(&self, now: Timestamp) -> Result<QueueStats> {
        stats::queue_stats(&self.engine, now).await
    }

    async fn queue_domains(&self, filter: &QueueDomainFilter, page: u64, limit: u64) -> Result<QueueDomainPage> {
        queue_domains::page(&self.engine, filter, page, limit).await
    }
}

#[async_trait]
impl Transfer for MongoStore {
    async fn export(&self, after: Option<ObjectId>, count: usize) -> Result<Vec<StoredEmail>> {
        transfer::export(&self.engine, after, count).await
    }

    async fn import(&self, emails: Vec<StoredEmail>) -> Result<usize> {
        transfer::import(&self.engine, emails).await
    }

    async fn export_calls(&self, after: Option<CallId>, count: usize) -> Result<Vec<CallRecord>> {
        outbox::export(&self.engine, after, count).await
    }

    async fn import_calls(&self, calls: Vec<CallRecord>) -> Result<usize> {
        outbox::import(&self.engine, calls).await
    }

    async fn export_requests(&self, after: Option<(RequestKey, u32)>, count: usize) -> Result<Vec<RequestRecord>> {
        requests::export(&self.engine, after, count).await
    }

    async fn import_requests(&self, records: Vec<RequestRecord>) -> Result<usize> {
        requests::import(&self.engine, records).await
    }

    async fn export_mailboxes(&self, user: UserId) -> Result<StoredMailboxes> {
        mailboxes::export(&self.engine, user).await
    }

    async fn import_mailboxes(&self, user: UserId, stored: StoredMailboxes) -> Result<()> {
        mailboxes::import(&self.engine, user, stored).await
    }

    async fn export_entries(&self, mailbox: MailboxId, after: u32, count: usize) -> Result<Vec<Entry>> {
        mailboxes::export_entries(&self.engine, mailbox, after, count).await
    }

    async fn import_entries(&self, mailbox: MailboxId, entries: Vec<Entry>) -> Result<usize> {
        mailboxes::import_entries(&self.engine, mailbox, entries).await
    }
}
