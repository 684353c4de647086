//! The machine's clock.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use postrider_core::{Clock, Timestamp};

/// The time of the machine, and tokio's timers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::system()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// What did not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// Waits for `future`, for at most `duration` on `clock`. The timer is made only if the future is not ready at once.
pub(crate) async fn timeout<F: Future>(clock: &dyn Clock, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = std::pin::pin!(future);
    let ready = std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    });
    if let Some(output) = ready.await {
        return Ok(output);
    }
    tokio::select! {
        output = &mut future => Ok(output),
        () = clock.sleep(duration) => Err(Elapsed),
    }
}
