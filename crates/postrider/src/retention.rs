//! Forgetting what is older than it is to be kept: the audit log, as the settings want it, and the history. Every node does it; what
//! another has done is nothing to do.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::Clock;
use postrider_store::{HISTORY_KEPT, Store};
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_secs(3600);

/// Entries, and parts, that are forgotten in one transaction.
const COUNT_AT_ONCE: usize = 1_000;

/// Forgets entries of the audit log that are older than so many days, and history, until the task is aborted. Without days
/// entries stay for good.
pub(crate) fn keep(store: Arc<dyn Store>, clock: Arc<dyn Clock>, audit_days: Option<u32>) -> JoinHandle<()> {
    let audit_age = audit_days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600));
    tokio::spawn(async move {
        loop {
            if let Some(age) = audit_age {
                forget_audit(store.as_ref(), clock.as_ref(), age).await;
            }
            forget_history(store.as_ref(), clock.as_ref()).await;
            clock.sleep(EVERY).await;
        }
    })
}

async fn forget_audit(store: &dyn Store, clock: &dyn Clock, age: Duration) {
    loop {
        match store.sweep_audit(clock.now() - age, COUNT_AT_ONCE).await {
            Ok(forgotten) if forgotten >= COUNT_AT_ONCE as u64 => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "old entries of the audit log could not be forgotten; they are tried again in an hour");
                return;
            }
        }
    }
}

async fn forget_history(store: &dyn Store, clock: &dyn Clock) {
    loop {
        match store.sweep_history(clock.now() - HISTORY_KEPT, COUNT_AT_ONCE).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "old history could not be forgotten; it is tried again in an hour");
                return;
            }
        }
    }
}
