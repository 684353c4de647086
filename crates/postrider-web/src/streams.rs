//! Answers without end: how they are written, how many there are, and whose.
//!
//! One who opens many must not keep all others out, so each has a share: a token, and where somebody comes without a token of their
//! own, the address.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use postrider_store::tokens::TokenId;

use crate::auth::Caller;
use crate::problem::Problem;

/// Of this process at the same time, and of them for one token or address.
pub(crate) const STREAMS_MAX: usize = 200;
pub(crate) const STREAMS_PER_CALLER_MAX: usize = 50;

/// So that a connection that has died is found out, and one that is quiet is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// When a refused client is to come again.
const RETRY_SECONDS: u16 = 30;

/// What somebody follows, as far as it was told.
pub(crate) trait Followed: Send + 'static {
    /// Waits for the next event; `None`: whoever follows may do so no more. It is asked for only when the client has taken what was sent
    /// before, so a slow one has no more than one event here.
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send;
}

/// Server-sent events (WHATWG HTML, section 9.2) until the client goes, or may follow no more.
pub(crate) fn tell<F: Followed>(followed: F) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold(followed, |mut followed| async move {
        let event = followed.next().await?;
        Some((Ok(event), followed))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Whose a share is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Follower {
    Token(TokenId),
    /// Without a token of their own: with `API_TOKEN`, or on this machine. `None` where the address is not known.
    Address(Option<IpAddr>),
}

/// The streams that are open.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<HashMap<Follower, usize>>,
}

/// One stream; it is open for as long as this is there.
#[derive(Debug)]
pub(crate) struct Place {
    streams: Arc<Streams>,
    follower: Follower,
}

impl Streams {
    /// Opens one.
    pub(crate) fn take(self: &Arc<Self>, caller: &Caller) -> Result<Place, Problem> {
        self.take_for(caller.0.follower())
    }

    fn take_for(self: &Arc<Self>, follower: Follower) -> Result<Place, Problem> {
        let mut open = self.lock();
        if open.values().sum::<usize>() >= STREAMS_MAX {
            let detail = format!("{STREAMS_MAX} clients follow something here already. Try again later.");
            return Err(Problem::unavailable(detail, RETRY_SECONDS));
        }
        let own = open.get(&follower).copied().unwrap_or_default();
        if own >= STREAMS_PER_CALLER_MAX {
            let whose = match follower {
                Follower::Token(_) => "token",
                Follower::Address(_) => "address",
            };
            let detail = format!(
                "This {whose} follows {STREAMS_PER_CALLER_MAX} streams already, as many as one may. Close some, or use a token of its \
                 own for each program."
            );
            return Err(Problem::too_many_requests(detail, RETRY_SECONDS));
        }
        open.insert(follower, own + 1);
        drop(open);
        Ok(Place { streams: self.clone(), follower })
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Follower, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        if let Some(own) = open.get_mut(&self.follower) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.follower);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Follower {
        Follower::Address(Some(IpAddr::from([192, 0, 2, last])))
    }

    #[test]
    fn each_has_a_share_and_all_have_a_limit() {
        let streams = Arc::new(Streams::default());
        let mut places = Vec::new();
        for n in 0..4 {
            places.extend((0..STREAMS_PER_CALLER_MAX).map(|_| streams.take_for(address(n)).unwrap()));
            let refused = streams.take_for(address(n)).unwrap_err();
            assert_eq!(format!("{refused:?}").contains("This address follows 50"), n < 3, "{refused:?}");
        }
        assert_eq!((streams.open(), places.len()), (STREAMS_MAX, STREAMS_MAX));
        assert!(format!("{:?}", streams.take_for(address(9))).contains("200 clients"));
        drop(places.pop());
        let again = streams.take_for(address(9)).unwrap();
        drop((again, places));
        assert!(streams.lock().is_empty());
    }
}
