//! Hearing that something in the store has changed, for whoever remembers what it said.

use postrider_store::{Change, Store};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

/// Listens to the store's changes of one kind.
#[derive(Debug)]
pub(crate) struct Hearing {
    changes: Receiver<Change>,
    about: Change,
}

impl Hearing {
    pub(crate) fn new(store: &dyn Store, about: Change) -> Self {
        Self { changes: store.changes(), about }
    }

    /// Whether there was such a change since the last time, or there may have been.
    pub(crate) fn has_changed(&mut self) -> bool {
        let mut has_changed = false;
        loop {
            match self.changes.try_recv() {
                Ok(change) => has_changed |= change == self.about,
                Err(TryRecvError::Lagged(_)) => has_changed = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return has_changed,
            }
        }
    }
}
