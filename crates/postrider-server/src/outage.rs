//! A store that cannot be reached: told once when it goes and once when it is back, whoever notices, and the queue waits.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_core::{Clock, Timestamp};
use postrider_store::StoreError;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::clock::timeout;

/// Whether the store can be reached, as far as this process knows.
#[derive(Debug)]
pub(crate) struct Outage {
    began_at: Mutex<Option<Timestamp>>,
    is_on: watch::Sender<bool>,
}

impl Outage {
    pub(crate) fn new() -> Self {
        Self { began_at: Mutex::new(None), is_on: watch::Sender::new(false) }
    }

    /// The store answered a call with an error. `what` was not done, in words for the log.
    pub(crate) fn note(&self, what: &'static str, error: &StoreError, now: Timestamp) {
        if !matches!(error, StoreError::Unavailable(_)) {
            return warn!(%error, "{what}");
        }
        debug!(%error, "{what}");
        let mut began_at = self.began_at();
        if began_at.is_none() {
            *began_at = Some(now);
            self.is_on.send_replace(true);
            error!(%error, "the store is out of reach: mail is put off, the queue waits");
        }
    }

    /// The store has written something. `true` if it was out of reach before.
    pub(crate) fn end(&self, now: Timestamp) -> bool {
        let mut began_at = self.began_at();
        let Some(began_at) = began_at.take() else { return false };
        self.is_on.send_replace(false);
        info!(seconds = now.since(began_at).as_secs(), "the store is back: all goes on");
        true
    }

    pub(crate) fn is_on(&self) -> bool {
        *self.is_on.borrow()
    }

    /// Waits until the store can be reached.
    pub(crate) async fn over(&self) {
        if self.is_on() {
            let _ = self.is_on.subscribe().wait_for(|is_on| !is_on).await;
        }
    }

    fn began_at(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.began_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for an answer of the store, but not for ever.
pub(crate) async fn in_time<T>(
    clock: &dyn Clock,
    patience: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(clock, patience, call).await.unwrap_or_else(|_| Err(too_slow()))
}

/// The store has not answered in time.
pub(crate) fn too_slow() -> StoreError {
    StoreError::Unavailable("it does not answer in time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[tokio::test]
    async fn an_outage_begins_with_the_first_who_meets_it_and_ends_once() {
        let outage = Outage::new();
        for error in [StoreError::Overloaded, StoreError::Full(String::new()), StoreError::Corrupt(String::new())] {
            outage.note("nothing", &error, NOW);
            assert!(!outage.is_on(), "{error}: the store can be reached");
        }
        assert!(!outage.end(NOW), "there was none");
        for seconds in 0..3 {
            outage.note("nothing", &too_slow(), NOW + Duration::from_secs(seconds));
            assert!(outage.is_on());
            assert_eq!(*outage.began_at(), Some(NOW));
        }
        let mut waiting = std::pin::pin!(outage.over());
        assert!(
            std::future::poll_fn(|context| std::task::Poll::Ready(waiting.as_mut().poll(context).is_pending())).await
        );
        assert!(outage.end(NOW + Duration::from_secs(9)));
        assert!(!outage.end(NOW + Duration::from_secs(9)));
        waiting.await;
    }
}
