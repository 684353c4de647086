//! The store on MongoDB: for any number of equal nodes on one replica set.
//!
//! A write is durable when a majority of the replica set has it in its journal. What must happen together is one
//! transaction; what waits is written together ([`writer`]). Claims hang on the leases of nodes ([`nodes`]), and what
//! nodes tell each other goes through [`notices`]. The documents and their indexes are described in docs/mongodb.md.

mod accept;
mod changes;
mod claim;
mod codes;
mod connect;
mod counters;
mod documents;
mod email;
mod engine;
mod failure;
mod files;
mod guard;
mod list;
mod nodes;
mod notices;
mod options;
mod order;
mod parts;
mod plan;
mod record;
mod schema;
mod search;
mod settle;
mod stats;
mod transfer;
mod users;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use mongodb::bson::{Document, doc};
use postrider_core::mailbox::{MailboxName, UidSet};
use postrider_core::{Address, Domain, ObjectId, Timestamp};
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
use crate::schema::COUNTERS;
use crate::settle::PreparedSettle;
use crate::writer::Writer;

type Result<T> = std::result::Result<T, StoreError>;

/// Transactions with new e-mails at the same time: while one waits for its commit, the next is being written.
const ACCEPTING: usize = 2;

/// Transactions with settlements at the same time. More would be in each other's way where they are of one e-mail.
const SETTLING: usize = 1;

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
    engine: Arc<Engine>,
    accepts: Writer<PreparedEmail>,
    settles: Writer<PreparedSettle>,
    walk: Arc<Walk>,
    sweeper: Mutex<Option<AbortHandle>>,
    /// Whether this process's node is the first of all: that one sweeps.
    is_first: Arc<AtomicBool>,
}

impl MongoStore {
    /// As [`open`].
    pub async fn open(options: MongoOptions) -> Result<Self> {
        let (client, database) = connect::connect(&options).await?;
        // A new database has next to nothing to do; an old one may have indexes to build.
        let migrated =
            tokio::time::timeout(options.answer_timeout * MIGRATE_COMMANDS, schema::migrate(&database)).await;
        migrated.unwrap_or_else(|_| Err(failure::timed_out()))?;
        let engine = Engine::new(client, database, options);
        counters::fold(&engine).await;
        Ok(Self {
            accepts: Writer::start(&engine, ACCEPTING),
            settles: Writer::start(&engine, SETTLING),
            walk: Arc::default(),
            sweeper: Mutex::default(),
            is_first: Arc::default(),
            engine,
        })
    }

    /// Removes contents that no e-mail names and that are older than a day. Returns how many. A node does this by itself
    /// every hour.
    pub async fn sweep(&self) -> Result<u64> {
        self.engine.files.sweep().await
    }

    /// How many deliveries this process wanted to claim that another node took first, since it was opened.
    pub fn claim_conflicts(&self) -> u64 {
        self.engine.claim_conflicts.load(Ordering::Relaxed)
    }

    fn check_open(&self) -> Result<()> {
        if self.engine.is_closed() { Err(closed()) } else { Ok(()) }
    }

    /// Whoever renews is a node, and nodes keep the house.
    fn start_sweeper(&self) {
        let mut sweeper = lock(&self.sweeper);
        if sweeper.is_some() || self.engine.is_closed() {
            return;
        }
        let (files, is_first) = (self.engine.files.clone(), self.is_first.clone());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                if is_first.load(Ordering::Relaxed)
                    && let Err(error) = files.sweep().await
                {
                    tracing::warn!(%error, "files without an e-mail could not be looked for");
                }
            }
        });
        *sweeper = Some(task.abort_handle());
    }
}

impl Drop for MongoStore {
    fn drop(&mut self) {
        if let Some(sweeper) = lock(&self.sweeper).take() {
            sweeper.abort();
        }
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
        Ok(StoreHealth { engine: "mongodb", size_bytes, latency })
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        let options = &self.engine.options;
        self.engine.notices.hear(options.answer_timeout, options.polls_for_changes)
    }

    fn mailbox_changes(&self) -> broadcast::Receiver<MailboxChange> {
        broadcast::Sender::new(1).subscribe()
    }

    async fn close(&self) -> Result<()> {
        self.accepts.stop().await;
        self.settles.stop().await;
        self.engine.notices.flush(self.engine.options.answer_timeout).await;
        self.engine.set_closed();
        if let Some(sweeper) = lock(&self.sweeper).take() {
            sweeper.abort();
        }
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
        self.accepts.write(email).await?.take();
        Ok(Accepted::default())
    }

    async fn list(&self, filter: &EmailFilter, page: u64, limit: u64) -> Result<EmailPage> {
        list::list(&self.engine, filter, page, limit).await
    }

    async fn email(&self, id: ObjectId) -> Result<Option<EmailDetail>> {
        record::detail(&self.engine, id).await
    }

    async fn raw(&self, id: ObjectId) -> Result<Option<RawMessage>> {
        record::raw(&self.engine, id).await
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
        self.start_sweeper();
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

    async fn queue_stats(&self, now: Timestamp) -> Result<QueueStats> {
        stats::queue_stats(&self.engine, now).await
    }
}

#[async_trait]
impl Mailboxes for MongoStore {
    async fn mailboxes(&self, _: UserId) -> Result<Vec<MailboxRecord>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn mailbox(&self, _: UserId, _: &MailboxName) -> Result<Option<MailboxRecord>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn create_mailbox(&self, _: NewMailbox) -> Result<MailboxRecord> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn delete_mailbox(&self, _: MailboxId) -> Result<bool> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn rename_mailbox(&self, _: RenameMailbox) -> Result<()> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn subscriptions(&self, _: UserId) -> Result<Vec<MailboxName>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn subscribe(&self, _: UserId, _: &MailboxName, _: bool) -> Result<()> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn open_mailbox(&self, _: MailboxId) -> Result<Option<OpenMailbox>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn mailbox_delta(&self, _: MailboxId, _: Modseq) -> Result<Option<MailboxDelta>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn take_recent(&self, _: MailboxId) -> Result<u32> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn append(&self, _: Append) -> Result<Appended> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn copy_messages(&self, _: CopyMessages) -> Result<Copied> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn store_flags(&self, _: StoreFlags) -> Result<FlagsStored> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn expunge(&self, _: MailboxId, _: Option<UidSet>) -> Result<Expunged> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn digests(&self, _: &[ObjectId]) -> Result<Vec<Option<Bytes>>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn messages(&self, _: &[ObjectId]) -> Result<Vec<Option<Bytes>>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn metadata(&self, _: UserId, _: Option<MailboxId>) -> Result<Vec<MetadataEntry>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn set_metadata(&self, _: UserId, _: Option<MailboxId>, _: Vec<(String, Option<Bytes>)>) -> Result<()> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn usage(&self, _: UserId) -> Result<Usage> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
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

    async fn export_mailboxes(&self, _: UserId) -> Result<StoredMailboxes> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn import_mailboxes(&self, _: UserId, _: StoredMailboxes) -> Result<()> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn export_entries(&self, _: MailboxId, _: u32, _: usize) -> Result<Vec<Entry>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn import_entries(&self, _: MailboxId, _: Vec<Entry>) -> Result<usize> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }
}

#[async_trait]
impl Directory for MongoStore {
    async fn add_user(&self, user: User) -> Result<()> {
        users::add(&self.engine, &user).await
    }

    async fn user(&self, address: &Address) -> Result<Option<User>> {
        users::find(&self.engine, address).await
    }

    async fn users(&self) -> Result<Vec<User>> {
        users::all(&self.engine).await
    }

    async fn set_password(
        &self,
        address: &Address,
        password_hash: String,
        scram: ScramKeys,
        now: Timestamp,
    ) -> Result<bool> {
        users::set_password(&self.engine, address, password_hash, &scram, now).await
    }

    async fn remove_user(&self, address: &Address) -> Result<bool> {
        users::remove(&self.engine, address).await
    }

    async fn set_quota(&self, _: &Address, _: Quota, _: Timestamp) -> Result<bool> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn add_domain(&self, _: DomainRecord) -> Result<()> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn domain(&self, _: &Domain) -> Result<Option<DomainRecord>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn domains(&self) -> Result<Vec<DomainRecord>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn set_catch_all(&self, _: &Domain, _: Option<Address>, _: Timestamp) -> Result<bool> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn remove_domain(&self, _: &Domain) -> Result<bool> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn add_alias(&self, _: AliasRecord) -> Result<()> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn set_alias_targets(&self, _: &Address, _: Vec<Address>, _: Timestamp) -> Result<bool> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn alias(&self, _: &Address) -> Result<Option<AliasRecord>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn aliases(&self) -> Result<Vec<AliasRecord>> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }

    async fn remove_alias(&self, _: &Address) -> Result<bool> {
        Err(StoreError::Unavailable("mailboxes are not built yet".into()))
    }
}
