//! Waiting for something to become true, with a limit in real time that only a failing test meets.

use std::time::{Duration, Instant};

/// How long, in real time, a test waits for what must happen.
pub const GUARD_SECONDS: u64 = 20;

const POLL_INTERVAL: Duration = Duration::from_millis(3);

/// Asks `condition` again and again until it gives something.
///
/// # Panics
///
/// When it has given nothing for [`GUARD_SECONDS`]; the panic names `what` was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    eventually_within(Duration::from_secs(GUARD_SECONDS), what, condition)
}

/// [`eventually`] with its own limit.
#[track_caller]
pub fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let started = Instant::now();
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            assert!(started.elapsed() < limit, "{caller}: waited {limit:?} in vain for {what}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Waits for something that comes by itself.
pub(crate) async fn guarded<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(GUARD_SECONDS), future).await {
        Ok(result) => result,
        Err(_) => panic!("waited {GUARD_SECONDS} s in vain for {what}"),
    }
}
