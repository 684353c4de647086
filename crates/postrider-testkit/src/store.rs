//! A store that fails when the test says so, and that can pretend to be shared with other nodes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use postrider_core::bounce::Feedback;
use postrider_core::history::Step;
use postrider_core::mailbox::{MailboxName, UidSet};
use postrider_core::submission::RequestKey;
use postrider_core::{Address, Domain, ObjectId, Timestamp};
use postrider_store::*;
use tokio::sync::{broadcast, watch};

use crate::nodes::Nodes;

mod outbox;
mod requests;

type Result<T> = std::result::Result<T, StoreError>;

/// The switches of a store's faults.
#[derive(Debug, Clone, Default)]
pub struct StoreFaults {
    fails: Arc<AtomicBool>,
    /// Calls that succeed yet, where `fails` is set.
    calls_left: Arc<AtomicUsize>,
    hides_deltas: Arc<AtomicBool>,
    hangs: Arc<watch::Sender<bool>>,
    waiting: Arc<AtomicUsize>,
    forgets_node: Arc<AtomicBool>,
    claims: Arc<AtomicUsize>,
    releases: Arc<AtomicUsize>,
    membership: Arc<Mutex<Option<Membership>>>,
    is_shared: bool,
    pub(crate) nodes: Option<Arc<Nodes>>,
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

    /// A store that the servers of several sites send from; see [`Site::beside`](crate::Site::beside).
    pub fn of_nodes() -> Self {
        Self { is_shared: true, nodes: Some(Arc::default()), ..Self::default() }
    }

    /// The same store, as another node sees it: with faults of its own.
    pub fn for_another_node(&self) -> Self {
        Self { is_shared: self.is_shared, nodes: self.nodes.clone(), ..Self::default() }
    }

    /// How often deliveries were given back untried.
    pub fn releases(&self) -> usize {
        self.releases.load(Ordering::SeqCst)
    }

    pub(crate) fn without_nodes(&self) -> Self {
        Self { nodes: None, ..self.clone() }
    }

    /// From now on the store does not answer, or does: also what it was asked meanwhile.
    pub fn set_hanging(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }

    /// How many calls wait because the store does not answer.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// The store says once that the node which renews its lease is not registered any more.
    pub fn forget_node(&self) {
        self.forgets_node.store(true, Ordering::SeqCst);
    }

    /// Whether it is still to say so.
    pub fn is_to_forget_node(&self) -> bool {
        self.forgets_node.load(Ordering::SeqCst)
    }

    /// What the store said last of the nodes, when this one renewed its lease.
    pub fn membership(&self) -> Option<Membership> {
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the store was asked for due deliveries.
    pub fn claims(&self) -> usize {
        self.claims.load(Ordering::SeqCst)
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

    /// From now on what has changed in mailboxes can be made but not read, or can be read again.
    pub fn set_hiding_deltas(&self, hides: bool) {
        self.hides_deltas.store(hides, Ordering::SeqCst);
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
    async fn working(&self) -> Result<&dyn Store> {
        // The switch lives as long as this store does, so that the wait can only end by answering.
        let mut hangs = self.faults.hangs.subscribe();
        if *hangs.borrow() {
            self.faults.waiting.fetch_add(1, Ordering::SeqCst);
            let _ = hangs.wait_for(|hangs| !hangs).await;
            self.faults.waiting.fetch_sub(1, Ordering::SeqCst);
        }
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
        self.working().await?.health().await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        match &self.faults.nodes {
            Some(nodes) => nodes.changes(),
            None => self.store.changes(),
        }
    }

    fn mailbox_changes(&self) -> broadcast::Receiver<MailboxChange> {
        self.store.mailbox_changes()
    }

    async fn close(&self) -> Result<()> {
        // The others go on.
        if self.faults.nodes.is_some() { Ok(()) } else { self.store.close().await }
    }
}

#[async_trait]
impl Transfer for FaultyStore {
    async fn export(&self, after: Option<ObjectId>, count: usize) -> Result<Vec<StoredEmail>> {
        self.working().await?.export(after, count).await
    }

    async fn import(&self, emails: Vec<StoredEmail>) -> Result<usize> {
        self.working().await?.import(emails).await
    }

    async fn export_calls(&self, after: Option<CallId>, count: usize) -> Result<Vec<CallRecord>> {
        self.working().await?.export_calls(after, count).await
    }

    async fn import_calls(&self, calls: Vec<CallRecord>) -> Result<usize> {
        self.working().await?.import_calls(calls).await
    }

    async fn export_requests(&self, after: Option<(RequestKey, u32)>, count: usize) -> Result<Vec<RequestRecord>> {
        self.working().await?.export_requests(after, count).await
    }

    async fn import_requests(&self, requests: Vec<RequestRecord>) -> Result<usize> {
        self.working().await?.import_requests(requests).await
    }

    async fn export_mailboxes(&self, user: UserId) -> Result<StoredMailboxes> {
        self.working().await?.export_mailboxes(user).await
    }

    async fn import_mailboxes(&self, user: UserId, mailboxes: StoredMailboxes) -> Result<()> {
        self.working().await?.import_mailboxes(user, mailboxes).await
    }

    async fn export_entries(&self, mailbox: MailboxId, after: u32, count: usize) -> Result<Vec<Entry>> {
        self.working().await?.export_entries(mailbox, after, count).await
    }

    async fn import_entries(&self, mailbox: MailboxId, entries: Vec<Entry>) -> Result<usize> {
        self.working().await?.import_entries(mailbox, entries).await
    }
}

#[async_trait]
impl Mailboxes for FaultyStore {
    async fn mailboxes(&self, user: UserId) -> Result<Vec<MailboxRecord>> {
        self.working().await?.mailboxes(user).await
    }

    async fn mailbox(&self, user: UserId, name: &MailboxName) -> Result<Option<MailboxRecord>> {
        self.working().await?.mailbox(user, name).await
    }

    async fn create_mailbox(&self, new: NewMailbox) -> Result<MailboxRecord> {
        self.working().await?.create_mailbox(new).await
    }

    async fn delete_mailbox(&self, mailbox: MailboxId) -> Result<bool> {
        self.working().await?.delete_mailbox(mailbox).await
    }

    async fn rename_mailbox(&self, rename: RenameMailbox) -> Result<()> {
        self.working().await?.rename_mailbox(rename).await
    }

    async fn subscriptions(&self, user: UserId) -> Result<Vec<MailboxName>> {
        self.working().await?.subscriptions(user).await
    }

    async fn subscribe(&self, user: UserId, name: &MailboxName, is_subscribed: bool) -> Result<()> {
        self.working().await?.subscribe(user, name, is_subscribed).await
    }

    async fn open_mailbox(&self, mailbox: MailboxId) -> Result<Option<OpenMailbox>> {
        self.working().await?.open_mailbox(mailbox).await
    }

    async fn mailbox_delta(&self, mailbox: MailboxId, since: Modseq) -> Result<Option<MailboxDelta>> {
        if self.faults.hides_deltas.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the test says so".into()));
        }
        self.working().await?.mailbox_delta(mailbox, since).await
    }

    async fn take_recent(&self, mailbox: MailboxId) -> Result<u32> {
        self.working().await?.take_recent(mailbox).await
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        self.working().await?.append(append).await
    }

    async fn copy_messages(&self, copy: CopyMessages) -> Result<Copied> {
        self.working().await?.copy_messages(copy).await
    }

    async fn store_flags(&self, store: StoreFlags) -> Result<FlagsStored> {
        self.working().await?.store_flags(store).await
    }

    async fn expunge(&self, mailbox: MailboxId, uids: Option<UidSet>) -> Result<Expunged> {
        self.working().await?.expunge(mailbox, uids).await
    }

    async fn digests(&self, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>> {
        self.working().await?.digests(emails).await
    }

    async fn messages(&self, emails: &[ObjectId]) -> Result<Vec<Option<Bytes>>> {
        self.working().await?.messages(emails).await
    }

    async fn metadata(&self, user: UserId, mailbox: Option<MailboxId>) -> Result<Vec<MetadataEntry>> {
        self.working().await?.metadata(user, mailbox).await
    }

    async fn set_metadata(
        &self,
        user: UserId,
        mailbox: Option<MailboxId>,
        entries: Vec<(String, Option<Bytes>)>,
    ) -> Result<()> {
        self.working().await?.set_metadata(user, mailbox, entries).await
    }

    async fn usage(&self, user: UserId) -> Result<Usage> {
        self.working().await?.usage(user).await
    }
}

#[async_trait]
impl Emails for FaultyStore {
    async fn accept(&self, email: NewEmail) -> Result<Accepted> {
        self.working().await?.accept(email).await
    }

    async fn find(&self, request: ListRequest) -> Result<EmailPage> {
        self.working().await?.find(request).await
    }

    async fn email(&self, id: ObjectId) -> Result<Option<EmailDetail>> {
        self.working().await?.email(id).await
    }

    async fn raw(&self, id: ObjectId) -> Result<Option<RawMessage>> {
        self.working().await?.raw(id).await
    }

    async fn note_feedback(&self, email: ObjectId, feedback: Vec<(u32, Feedback)>) -> Result<usize> {
        self.working().await?.note_feedback(email, feedback).await
    }

    async fn delete(&self, id: ObjectId) -> Result<bool> {
        self.working().await?.delete(id).await
    }
}

#[async_trait]
impl Queue for FaultyStore {
    fn is_exclusive(&self) -> bool {
        !self.faults.is_shared && self.store.is_exclusive()
    }

    async fn renew(&self, renewal: Renewal) -> Result<Option<Membership>> {
        let store = self.working().await?;
        if self.faults.forgets_node.swap(false, Ordering::SeqCst) {
            self.leave(renewal.node).await?;
            return Ok(None);
        }
        let membership = match &self.faults.nodes {
            Some(nodes) => nodes.renew(store, renewal).await?,
            None => store.renew(renewal).await?,
        };
        *self.faults.membership.lock().unwrap_or_else(PoisonError::into_inner) = membership;
        Ok(membership)
    }

    async fn nodes(&self, now: Timestamp) -> Result<Vec<NodeRecord>> {
        self.working().await?.nodes(now).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed> {
        self.faults.claims.fetch_add(1, Ordering::SeqCst);
        self.working().await?.claim(request).await
    }

    async fn settle(&self, node: NodeId, settle: Settle) -> Result<usize> {
        self.working().await?.settle(node, settle).await
    }

    async fn release(&self, node: NodeId, deliveries: Vec<postrider_store::DeliveryId>) -> Result<()> {
        self.faults.releases.fetch_add(1, Ordering::SeqCst);
        self.working().await?.release(node, deliveries).await
    }

    async fn leave(&self, node: NodeId) -> Result<()> {
        let store = self.working().await?;
        if let Some(nodes) = &self.faults.nodes {
            nodes.leave(node);
        }
        store.leave(node).await
    }

    async fn order(&self, selection: Selection, order: Order, now: Timestamp) -> Result<Ordered> {
        self.working().await?.order(selection, order, now).await
    }

    async fn recalled(&self, node: NodeId) -> Result<Vec<postrider_store::DeliveryId>> {
        self.working().await?.recalled(node).await
    }

    async fn queue_stats(&self, now: Timestamp) -> Result<QueueStats> {
        self.working().await?.queue_stats(now).await
    }

    async fn queue_domains(&self, filter: &QueueDomainFilter, page: u64, limit: u64) -> Result<QueueDomainPage> {
        self.working().await?.queue_domains(filter, page, limit).await
    }
}

#[async_trait]
impl Suppressions for FaultyStore {
    async fn suppress(&self, suppressions: Vec<Suppression>) -> Result<usize> {
        self.working().await?.suppress(suppressions).await
    }

    async fn suppressed(&self, addresses: &[Address]) -> Result<Vec<Option<Suppression>>> {
        self.working().await?.suppressed(addresses).await
    }

    async fn suppressions(&self, filter: &SuppressionFilter, page: u64, limit: u64) -> Result<SuppressionPage> {
        self.working().await?.suppressions(filter, page, limit).await
    }

    async fn unsuppress(&self, address: &Address) -> Result<bool> {
        self.working().await?.unsuppress(address).await
    }
}

#[async_trait]
impl AuditLog for FaultyStore {
    async fn audit(&self, entries: Vec<AuditEntry>) -> Result<usize> {
        self.working().await?.audit(entries).await
    }

    async fn conclude_audit(&self, id: AuditId, conclusion: AuditConclusion) -> Result<bool> {
        self.working().await?.conclude_audit(id, conclusion).await
    }

    async fn audit_entries(&self, filter: &AuditFilter, page: u64, limit: u64) -> Result<AuditPage> {
        self.working().await?.audit_entries(filter, page, limit).await
    }

    async fn sweep_audit(&self, before: Timestamp, count: usize) -> Result<u64> {
        self.working().await?.sweep_audit(before, count).await
    }
}

/// What is kept by and by: it uses up none of the calls that a test counts, and is not seen to wait.
#[async_trait]
impl History for FaultyStore {
    async fn put_history(&self, traffic: Vec<TrafficPart>, addresses: Vec<AddressPart>) -> Result<()> {
        if self.faults.fails.load(Ordering::SeqCst) || *self.faults.hangs.borrow() {
            return Err(StoreError::Unavailable("the test says so".into()));
        }
        self.store.put_history(traffic, addresses).await
    }

    async fn history(&self, step: Step, from: Timestamp, to: Timestamp) -> Result<Vec<TrafficSpan>> {
        self.working().await?.history(step, from, to).await
    }

    async fn address_history(&self, from: Timestamp, to: Timestamp) -> Result<Vec<AddressHistory>> {
        self.working().await?.address_history(from, to).await
    }

    async fn sweep_history(&self, before: Timestamp, count: usize) -> Result<u64> {
        self.store.sweep_history(before, count).await
    }
}

#[async_trait]
impl Notes for FaultyStore {
    async fn note(&self, key: &str) -> Result<Option<Note>> {
        self.working().await?.note(key).await
    }

    async fn notes(&self, prefix: &str) -> Result<Vec<Note>> {
        self.working().await?.notes(prefix).await
    }

    async fn put_note(&self, key: &str, value: String, version: u64) -> Result<bool> {
        self.working().await?.put_note(key, value, version).await
    }

    async fn remove_note(&self, key: &str) -> Result<bool> {
        self.working().await?.remove_note(key).await
    }
}

#[async_trait]
impl Directory for FaultyStore {
    async fn add_user(&self, user: User) -> Result<()> {
        self.working().await?.add_user(user).await
    }

    async fn user(&self, address: &Address) -> Result<Option<User>> {
        self.working().await?.user(address).await
    }

    async fn users(&self) -> Result<Vec<User>> {
        self.working().await?.users().await
    }

    async fn set_password(
        &self,
        address: &Address,
        password_hash: String,
        scram: ScramKeys,
        now: Timestamp,
    ) -> Result<bool> {
        self.working().await?.set_password(address, password_hash, scram, now).await
    }

    async fn remove_user(&self, address: &Address) -> Result<bool> {
        self.working().await?.remove_user(address).await
    }

    async fn set_quota(&self, address: &Address, quota: Quota, now: Timestamp) -> Result<bool> {
        self.working().await?.set_quota(address, quota, now).await
    }

    async fn set_enabled(&self, address: &Address, is_enabled: bool, now: Timestamp) -> Result<bool> {
        self.working().await?.set_enabled(address, is_enabled, now).await
    }

    async fn add_domain(&self, domain: DomainRecord) -> Result<()> {
        self.working().await?.add_domain(domain).await
    }

    async fn domain(&self, name: &Domain) -> Result<Option<DomainRecord>> {
        self.working().await?.domain(name).await
    }

    async fn domains(&self) -> Result<Vec<DomainRecord>> {
        self.working().await?.domains().await
    }

    async fn set_catch_all(&self, name: &Domain, catch_all: Option<Address>, now: Timestamp) -> Result<bool> {
        self.working().await?.set_catch_all(name, catch_all, now).await
    }

    async fn remove_domain(&self, name: &Domain) -> Result<bool> {
        self.working().await?.remove_domain(name).await
    }

    async fn add_alias(&self, alias: AliasRecord) -> Result<()> {
        self.working().await?.add_alias(alias).await
    }

    async fn set_alias_targets(&self, address: &Address, targets: Vec<Address>, now: Timestamp) -> Result<bool> {
        self.working().await?.set_alias_targets(address, targets, now).await
    }

    async fn alias(&self, address: &Address) -> Result<Option<AliasRecord>> {
        self.working().await?.alias(address).await
    }

    async fn aliases(&self) -> Result<Vec<AliasRecord>> {
        self.working().await?.aliases().await
    }

    async fn remove_alias(&self, address: &Address) -> Result<bool> {
        self.working().await?.remove_alias(address).await
    }
}
