//! Forgetting requests that came with a key, when they are no longer to be known by it.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::Clock;
use postrider_store::{REQUEST_KEPT, Store};
use tokio::sync::watch;
use tracing::debug;

/// How often, and in what parts.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
const SWEEP_COUNT: usize = 1_000;

/// Sweeps until the server shuts down. What several nodes sweep at once is swept once.
pub(crate) async fn sweep(store: Arc<dyn Store>, clock: Arc<dyn Clock>, mut draining: watch::Receiver<bool>) {
    loop {
        loop {
            match store.sweep_requests(clock.now() - REQUEST_KEPT, SWEEP_COUNT).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    debug!(%error, "old requests could not be forgotten");
                    break;
                }
            }
        }
        tokio::select! {
            () = clock.sleep(SWEEP_EVERY) => {}
            _ = draining.wait_for(|&draining| draining) => return,
        }
    }
}
