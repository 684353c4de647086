//! A store that fails when the test says so, and that can pretend to be shared with other nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use postrider_core::{Address, ObjectId, Timestamp};
use postrider_store::{
    Change, ClaimRequest, Claimed, Directory, EmailDetail, EmailFilter, EmailPage, Emails, Membership, NewEmail,
    NodeId, NodeRecord, Order, Ordered, Queue, QueueStats, RawMessage, Renewal, ScramKeys, Selection, Settle, Store,
    StoreError, StoreHealth, StoredEmail, Transfer, User,
};
use tokio::sync::broadcast;

type Result<T> = std::result::Result<T, StoreError>;

/// The switches of a store's faults.
#[derive(Debug, Clone, Default)]
pub struct StoreFaults {
    fails: Arc<AtomicBool>,
    /// Calls that succeed yet, where `fails` is set.
    calls_left: Arc<AtomicUsize>,
    is_shared: bool,
}

impl StoreFaults {
    /// A store that works, until told otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that other nodes could send from too.
    pub fn of_shared_store() -> Self {
        Self { is_shared: true, ..Self::default() }
    }

    /// From now on the store answers that it is unavailable, or does not.
    pub fn set_failing(&self, fails: bool) {
        self.calls_left.store(0, Ordering::SeqCst);
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// As [`StoreFaults::set_failing`], after so many more calls.
    pub fn fail_after(&self, calls: usize) {
        self.calls_left.store(calls, Ordering::SeqCst);
        self.fails.store(true, Ordering::SeqCst);
    }

    /// The store with these faults in front of it.
    pub fn between(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(FaultyStore { store, faults: self.clone() })
    }
}

#[derive(Debug)]
struct FaultyStore {
    store: Arc<dyn Store>,
    faults: StoreFaults,
}

impl FaultyStore {
    fn working(&self) -> Result<&dyn Store> {
        let left = &self.faults.calls_left;
        let is_spared = || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if self.faults.fails.load(Ordering::SeqCst) && !is_spared() {
            return Err(StoreError::Unavailable("the test says so".into()));
        }
        Ok(self.store.as_ref())
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn health(&self) -> Result<StoreHealth> {
        self.working()?.health().await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.store.changes()
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

#[async_trait]
impl Transfer for FaultyStore {
    async fn export(&self, after: Option<ObjectId>, count: usize) -> Result<Vec<StoredEmail>> {
        self.working()?.export(after, count).await
    }

    async fn import(&self, emails: Vec<StoredEmail>) -> Result<usize> {
        self.working()?.import(emails).await
    }
}

#[async_trait]
impl Emails for FaultyStore {
    async fn accept(&self, email: NewEmail) -> Result<()> {
        self.working()?.accept(email).await
    }

    async fn list(&self, filter: &EmailFilter, page: u64, limit: u64) -> Result<EmailPage> {
        self.working()?.list(filter, page, limit).await
    }

    async fn email(&self, id: ObjectId) -> Result<Option<EmailDetail>> {
        self.working()?.email(id).await
    }

    async fn raw(&self, id: ObjectId) -> Result<Option<RawMessage>> {
        self.working()?.raw(id).await
    }

    async fn delete(&self, id: ObjectId) -> Result<bool> {
        self.working()?.delete(id).await
    }
}

#[async_trait]
impl Queue for FaultyStore {
    fn is_exclusive(&self) -> bool {
        !self.faults.is_shared && self.store.is_exclusive()
    }

    async fn renew(&self, renewal: Renewal) -> Result<Option<Membership>> {
        self.working()?.renew(renewal).await
    }

    async fn nodes(&self, now: Timestamp) -> Result<Vec<NodeRecord>> {
        self.working()?.nodes(now).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed> {
        self.working()?.claim(request).await
    }

    async fn settle(&self, node: NodeId, settle: Settle) -> Result<usize> {
        self.working()?.settle(node, settle).await
    }

    async fn release(&self, node: NodeId, deliveries: Vec<postrider_store::DeliveryId>) -> Result<()> {
        self.working()?.release(node, deliveries).await
    }

    async fn leave(&self, node: NodeId) -> Result<()> {
        self.working()?.leave(node).await
    }

    async fn order(&self, selection: Selection, order: Order, now: Timestamp) -> Result<Ordered> {
        self.working()?.order(selection, order, now).await
    }

    async fn queue_stats(&self, now: Timestamp) -> Result<QueueStats> {
        self.working()?.queue_stats(now).await
    }
}

#[async_trait]
impl Directory for FaultyStore {
    async fn add_user(&self, user: User) -> Result<()> {
        self.working()?.add_user(user).await
    }

    async fn user(&self, address: &Address) -> Result<Option<User>> {
        self.working()?.user(address).await
    }

    async fn users(&self) -> Result<Vec<User>> {
        self.working()?.users().await
    }

    async fn set_password(
        &self,
        address: &Address,
        password_hash: String,
        scram: ScramKeys,
        now: Timestamp,
    ) -> Result<bool> {
        self.working()?.set_password(address, password_hash, scram, now).await
    }

    async fn remove_user(&self, address: &Address) -> Result<bool> {
        self.working()?.remove_user(address).await
    }
}
