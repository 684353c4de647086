//! The mailboxes that sessions of this process have open: one shared state of each, kept up to date by what the store tells.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use postrider_core::{Clock, Timestamp};
use postrider_store::{FlagsOperation, FlagsStored, MailboxChange, MailboxId, Modseq, Store, StoreError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex as AsyncMutex, broadcast, watch};
use tracing::debug;

use super::snapshot::Snapshot;

/// Mailboxes that nobody has open any more and whose state is kept all the same, for those who come back.
const WARM_MAILBOXES_MAX: usize = 64;

/// Entries of these together; larger mailboxes are not kept.
const WARM_ENTRIES_MAX: usize = 500_000;

/// Changes that wait for a session which listens to all of them; then it looks everywhere.
const CHANGES_KEPT: usize = 256;

/// After this time a mailbox whose changes could not be read is tried again, until they can: its idlers wait for them.
const REFRESH_RETRY: Duration = Duration::from_secs(1);

/// All mailboxes that are open.
#[derive(Debug)]
pub(crate) struct Registry {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    open: Mutex<Open>,
    /// What the store tells, after the mailbox's shared state has followed.
    changes: broadcast::Sender<MailboxChange>,
}

#[derive(Debug, Default)]
struct Open {
    mailboxes: HashMap<MailboxId, Weak<SharedMailbox>>,
    warm: VecDeque<Arc<SharedMailbox>>,
}

/// One mailbox as this process knows it.
#[derive(Debug)]
pub(crate) struct SharedMailbox {
    pub(crate) id: MailboxId,
    store: Arc<dyn Store>,
    /// `None`: the mailbox is gone.
    current: watch::Sender<Option<Arc<Snapshot>>>,
    /// Held while the state is brought up to date, so that it only goes forward.
    refreshing: AsyncMutex<()>,
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { store, clock, open: Mutex::default(), changes: broadcast::Sender::new(CHANGES_KEPT) })
    }

    /// What happens in all mailboxes.
    pub(crate) fn changes(&self) -> broadcast::Receiver<MailboxChange> {
        self.changes.subscribe()
    }

    /// A mailbox as it is now; `None` if it is gone.
    pub(crate) async fn open(&self, mailbox: MailboxId) -> Result<Option<Arc<SharedMailbox>>, StoreError> {
        if let Some(shared) = self.find(mailbox) {
            shared.refresh().await?;
            return Ok(shared.snapshot().is_some().then_some(shared));
        }
        let Some(opened) = self.store.open_mailbox(mailbox).await? else { return Ok(None) };
        let shared = Arc::new(SharedMailbox {
            id: mailbox,
            store: self.store.clone(),
            current: watch::Sender::new(Some(Arc::new(Snapshot::new(opened)))),
            refreshing: AsyncMutex::default(),
        });
        let shared = self.enter(shared);
        // What was told between reading and entering was told to nobody here.
        shared.refresh().await?;
        Ok(Some(shared))
    }

    /// Follows what the store tells, until it is closed.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut changes = self.store.mailbox_changes();
        let mut behind = Behind::default();
        loop {
            let mut heard = Vec::new();
            let change = tokio::select! {
                change = changes.recv() => change,
                () = behind.wait(self.clock.as_ref()) => {
                    for shared in behind.take(self.clock.now()) {
                        behind.refresh(shared).await;
                    }
                    continue;
                }
            };
            match change {
                Ok(change) => heard.push(change),
                Err(RecvError::Lagged(_)) => heard.push(MailboxChange::Anything),
                Err(RecvError::Closed) => return,
            }
            // What waits already is looked at together.
            while let Ok(change) = changes.try_recv() {
                if !heard.contains(&change) {
                    heard.push(change);
                }
            }
            for change in heard {
                self.hear(change, &mut behind).await;
            }
        }
    }

    async fn hear(&self, change: MailboxChange, behind: &mut Behind) {
        match change {
            MailboxChange::Messages { mailbox, .. } => {
                if let Some(shared) = self.find(mailbox) {
                    behind.refresh(shared).await;
                }
            }
            MailboxChange::Anything => {
                let all: Vec<_> = self.lock().mailboxes.values().filter_map(Weak::upgrade).collect();
                for shared in all {
                    behind.refresh(shared).await;
                }
            }
            MailboxChange::Mailboxes { .. } => {}
        }
        // Nobody may be listening.
        let _ = self.changes.send(change);
    }

    fn find(&self, mailbox: MailboxId) -> Option<Arc<SharedMailbox>> {
        self.lock().mailboxes.get(&mailbox).and_then(Weak::upgrade)
    }

    /// Adds a mailbox, unless somebody else has added it meanwhile.
    fn enter(&self, shared: Arc<SharedMailbox>) -> Arc<SharedMailbox> {
        let mut open = self.lock();
        if let Some(known) = open.mailboxes.get(&shared.id).and_then(Weak::upgrade) {
            return known;
        }
        if open.mailboxes.len() >= 2 * WARM_MAILBOXES_MAX && open.mailboxes.len().is_power_of_two() {
            open.mailboxes.retain(|_, shared| shared.strong_count() > 0);
        }
        open.mailboxes.insert(shared.id, Arc::downgrade(&shared));
        shared
    }

    /// A session has left a mailbox: its state is kept for a while.
    pub(crate) fn left(&self, shared: Arc<SharedMailbox>) {
        let mut open = self.lock();
        open.warm.retain(|warm| warm.id != shared.id && warm.snapshot().is_some());
        open.warm.push_back(shared);
        let entries = |open: &Open| open.warm.iter().map(|warm| warm.entries()).sum::<usize>();
        while open.warm.len() > WARM_MAILBOXES_MAX || entries(&open) > WARM_ENTRIES_MAX {
            open.warm.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedMailbox {
    /// The latest state; `None` once the mailbox is gone.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current.borrow().clone()
    }

    /// Tells of each new state.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.current.subscribe()
    }

    /// Looks into the store for what has happened since the latest state.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let _refreshing = self.refreshing.lock().await;
        let Some(known) = self.snapshot() else { return Ok(()) };
        let next = match self.store.mailbox_delta(self.id, known.modseq()).await? {
            None => None,
            Some(delta) if !delta.is_complete => {
                self.store.open_mailbox(self.id).await?.map(|open| Arc::new(Snapshot::new(open)))
            }
            Some(delta) if delta.record == *known.record => return Ok(()),
            Some(delta) => Some(Arc::new(known.after(delta))),
        };
        self.current.send_replace(next);
        Ok(())
    }

    /// As [`SharedMailbox::refresh`], after a change that this process has just made. Where what came of it cannot be read the
    /// change is made all the same, and must not be answered as one that failed: it is told once it can be read, as
    /// [`Registry::follow`] sees to. Whether the state has it.
    pub(crate) async fn changed_here(&self) -> bool {
        let refreshed = self.refresh().await;
        if let Err(error) = &refreshed {
            debug!(mailbox = %self.id, %error, "a mailbox's own changes could not be read");
        }
        refreshed.is_ok()
    }

    /// As [`SharedMailbox::changed_here`], after a change of flags, without reading what is known already.
    pub(crate) async fn flags_stored(&self, operation: FlagsOperation, stored: &FlagsStored) -> bool {
        {
            let _refreshing = self.refreshing.lock().await;
            let next = self.snapshot().and_then(|known| known.after_flags(operation, stored));
            if let Some(next) = next {
                self.current.send_replace(Some(Arc::new(next)));
                return true;
            }
        }
        self.modseq() >= stored.modseq || self.changed_here().await
    }

    fn modseq(&self) -> Modseq {
        self.current.borrow().as_ref().map_or(Modseq::MAX, |snapshot| snapshot.modseq())
    }

    fn entries(&self) -> usize {
        self.current.borrow().as_ref().map_or(0, |snapshot| snapshot.len())
    }
}

/// Mailboxes whose changes could not be read yet.
#[derive(Debug, Default)]
struct Behind {
    mailboxes: HashMap<MailboxId, Weak<SharedMailbox>>,
    tried_at: Timestamp,
}

impl Behind {
    async fn refresh(&mut self, shared: Arc<SharedMailbox>) {
        match shared.refresh().await {
            Ok(()) => drop(self.mailboxes.remove(&shared.id)),
            Err(error) => {
                debug!(mailbox = %shared.id, %error, "a mailbox's changes could not be read");
                self.mailboxes.insert(shared.id, Arc::downgrade(&shared));
            }
        }
    }

    /// Waits until it is time to try again; for ever if there is nothing to try.
    async fn wait(&self, clock: &dyn Clock) {
        if self.mailboxes.is_empty() {
            std::future::pending::<()>().await;
        }
        clock.sleep(REFRESH_RETRY.saturating_sub(clock.now().since(self.tried_at))).await;
    }

    /// Those that somebody still has open.
    fn take(&mut self, now: Timestamp) -> Vec<Arc<SharedMailbox>> {
        self.tried_at = now;
        std::mem::take(&mut self.mailboxes).into_values().filter_map(|shared| shared.upgrade()).collect()
    }
}

#[cfg(test)]
mod tests {
    use postrider_store::Mailboxes;

    use super::super::selected_tests::World;
    use super::*;
    use crate::clock::SystemClock;

    /// Idlers wait for what came while the store was out of reach.
    #[tokio::test]
    async fn what_could_not_be_read_is_tried_again_as_long_as_somebody_waits() {
        let world = World::new().await;
        let (one, two) = (world.mailbox().await, world.mailbox().await);
        let registry = Registry::new(world.store.clone(), Arc::new(SystemClock));
        let one = registry.open(one).await.unwrap().unwrap();
        let two = registry.open(two).await.unwrap().unwrap();
        let mut behind = Behind::default();
        behind.refresh(one.clone()).await;
        assert!(behind.mailboxes.is_empty());
        world.store.close().await.unwrap();
        for shared in [&one, &two] {
            registry.hear(MailboxChange::Messages { user: world.user, mailbox: shared.id }, &mut behind).await;
        }
        assert_eq!(behind.mailboxes.len(), 2);
        drop(two);
        let (now, again) = (Timestamp::from_millis(1_000), behind.take(Timestamp::from_millis(1_000)));
        assert_eq!(again.iter().map(|shared| shared.id).collect::<Vec<_>>(), [one.id]);
        for shared in again {
            behind.refresh(shared).await;
        }
        assert_eq!((behind.mailboxes.len(), behind.tried_at), (1, now));
        assert!(one.snapshot().is_some(), "what cannot be read is not gone");
    }

    #[tokio::test]
    async fn a_mailbox_is_shared_and_kept_warm() {
        let world = World::new().await;
        let id = world.mailbox().await;
        let registry = Registry::new(world.store.clone(), Arc::new(SystemClock));
        let one = registry.open(id).await.unwrap().unwrap();
        let two = registry.open(id).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        drop(two);
        registry.left(one);
        assert!(registry.find(id).is_some());
        assert!(world.store.delete_mailbox(id).await.unwrap());
        assert!(registry.open(id).await.unwrap().is_none());
        assert!(registry.find(id).is_some_and(|shared| shared.snapshot().is_none()));
    }
}
