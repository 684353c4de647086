//! Several nodes on one SQLite store: what that engine does not know of them, because in earnest there is only one.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider_core::Timestamp;
use postrider_store::sqlite::SqliteOptions;
use postrider_store::{Change, Membership, NodeId, Renewal, SqliteStore, Store, StoreError};
use tokio::sync::{OnceCell, broadcast};

/// Changes that wait for a slow listener.
const CHANGES_KEPT: usize = 64;

/// The nodes that share a store.
#[derive(Debug)]
pub(crate) struct Nodes {
    store: OnceCell<Arc<SqliteStore>>,
    registry: Mutex<Registry>,
    changes: broadcast::Sender<Change>,
}

#[derive(Debug, Default)]
struct Registry {
    nodes: BTreeMap<NodeId, Registered>,
    /// Whoever was registered at any time.
    known: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Registered {
    lease_until: Timestamp,
    keeps_to: u64,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { store: OnceCell::new(), registry: Mutex::default(), changes: broadcast::Sender::new(CHANGES_KEPT) }
    }
}

impl Nodes {
    /// The store of all of them, opened by the first.
    pub(crate) async fn store(&self, data_dir: &Path) -> Result<Arc<dyn Store>, StoreError> {
        let opening = async || {
            // Made by a process that is alone, then used as one beside others.
            SqliteStore::open(SqliteOptions::new(data_dir))?.close().await?;
            let store = Arc::new(SqliteStore::open_shared(SqliteOptions::new(data_dir))?);
            let (mut heard, changes) = (store.changes(), self.changes.clone());
            tokio::spawn(async move {
                while let Ok(change) = heard.recv().await {
                    // Nobody may be listening.
                    let _ = changes.send(change);
                }
            });
            Ok::<_, StoreError>(store)
        };
        Ok(self.store.get_or_try_init(opening).await?.clone())
    }

    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// As [`postrider_store::Queue::renew`] has it.
    pub(crate) async fn renew(&self, store: &dyn Store, renewal: Renewal) -> Result<Option<Membership>, StoreError> {
        let Some((membership, is_news)) = self.registry().renew(&renewal) else { return Ok(None) };
        store.renew(renewal).await?;
        if is_news {
            let _ = self.changes.send(Change::Nodes);
        }
        Ok(Some(membership))
    }

    pub(crate) fn leave(&self, node: NodeId) {
        if self.registry().nodes.remove(&node).is_some() {
            let _ = self.changes.send(Change::Nodes);
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// The membership of the node that renews, and whether something has changed for the others. `None`: it was registered
    /// once and is not any more.
    fn renew(&mut self, renewal: &Renewal) -> Option<(Membership, bool)> {
        let Renewal { node, now, lease, keeps_to, .. } = *renewal;
        let count = self.nodes.len();
        self.nodes.retain(|_, registered| registered.lease_until > now);
        let has_lost_some = self.nodes.len() != count;
        if !self.known.insert(node) && !self.nodes.contains_key(&node) {
            return None;
        }
        let before = self.nodes.insert(node, Registered { lease_until: now + lease, keeps_to });
        let is_news = has_lost_some || before.is_none_or(|before| before.keeps_to != keeps_to);
        Some((self.membership(node), is_news))
    }

    fn membership(&self, node: NodeId) -> Membership {
        let mut hasher = DefaultHasher::new();
        self.nodes.keys().for_each(|id| id.as_bytes().hash(&mut hasher));
        let fingerprint = hasher.finish();
        Membership {
            nodes: self.nodes.len() as u32,
            position: self.nodes.keys().take_while(|&&id| id != node).count() as u32,
            fingerprint,
            is_agreed: self.nodes.values().all(|registered| registered.keeps_to == fingerprint),
        }
    }
}
