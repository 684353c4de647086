//! Forgetting what is older than the settings want it kept: the audit log. Every node does it; what another has done is nothing to do.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::Clock;
use postrider_store::Store;
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_secs(3600);

/// Entries that are forgotten in one transaction.
const ENTRIES_AT_ONCE: usize = 1_000;

/// Forgets entries of the audit log that are older than so many days, until the task is aborted.
pub(crate) fn keep_audit(store: Arc<dyn Store>, clock: Arc<dyn Clock>, days: u32) -> JoinHandle<()> {
    let age = Duration::from_secs(u64::from(days) * 24 * 3600);
    tokio::spawn(async move {
        loop {
            forget(store.as_ref(), clock.as_ref(), age).await;
            clock.sleep(EVERY).await;
        }
    })
}

async fn forget(store: &dyn Store, clock: &dyn Clock, age: Duration) {
    loop {
        match store.sweep_audit(clock.now() - age, ENTRIES_AT_ONCE).await {
            Ok(forgotten) if forgotten >= ENTRIES_AT_ONCE as u64 => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "old entries of the audit log could not be forgotten; they are tried again in an hour");
                return;
            }
        }
    }
}
