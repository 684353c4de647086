//! URLs that e-mails ask to be called: besides the endpoints, for what becomes of these e-mails.
//!
//! There may be as many of them as there are e-mails. So that one that is dead delays few others, they share a number of endpoints,
//! by the host that they lead to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_config::Secret;
use postrider_core::{ObjectId, Timestamp};
use postrider_store::EndpointId;
use postrider_store::webhooks::{Endpoint, EndpointSettings, WebhookSecret};
use ring::digest::{SHA256, digest};
use url::Url;

use super::signature;

/// Endpoints that they share.
const SHARED: u8 = 16;

/// What the ids of these begin with: no other endpoint has such a one.
const ID_PREFIX: [u8; 11] = *b"\0\0\0\0request";

/// Whether other nodes left calls, or calls are to be tried again, is looked up so often.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Requested {
    endpoints: Vec<Endpoint>,
    secret: Option<WebhookSecret>,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    looked_at: Option<Timestamp>,
    /// Until then calls may be due at any moment.
    busy_until: Option<Timestamp>,
}

impl Requested {
    /// Calls are signed with what follows from `secret`.
    pub(super) fn new(secret: Option<&Secret>) -> Self {
        let endpoint = |number| {
            let settings = EndpointSettings {
                url: String::new(),
                description: String::new(),
                kinds: Vec::new(),
                domains: Vec::new(),
                tags: Vec::new(),
                is_paused: false,
            };
            Endpoint::new(id(number), settings, None, Timestamp::default())
        };
        let secret = secret.map(|secret| WebhookSecret(secret.0.clone()));
        Self { endpoints: (0..SHARED).map(endpoint).collect(), secret, times: Mutex::default() }
    }

    /// Calls to such URLs were written, or got.
    pub(super) fn note_calls(&self, now: Timestamp) {
        self.times().busy_until = Some(now + LOOK);
    }

    /// Whether calls may be due: there were some a moment ago, or it is time to look. Where nobody asks for URLs, the store is
    /// seldom asked for them.
    pub(super) fn is_to_be_looked_for(&self, now: Timestamp) -> bool {
        let mut times = self.times();
        let is_busy = times.busy_until.is_some_and(|until| now <= until);
        let is_time = times.looked_at.is_none_or(|at| now.since(at) >= LOOK);
        if is_busy || is_time {
            times.looked_at = Some(now);
        }
        is_busy || is_time
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// By what calls to a URL are signed; `None`: they are not.
    pub(super) fn secret_of(&self, url: &str) -> Option<WebhookSecret> {
        self.secret.as_ref().map(|secret| signature::of_origin(secret, &origin(url)))
    }

    /// The endpoint of a URL, which is the same for all that lead to one host and port, on every node.
    pub(super) fn endpoint_of(&self, url: &str) -> EndpointId {
        let first = digest(&SHA256, origin(url).as_bytes()).as_ref().first().copied().unwrap_or(0);
        id(first % SHARED)
    }
}

/// Scheme, host and port (RFC 6454 section 6.2).
fn origin(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

fn id(number: u8) -> EndpointId {
    let mut bytes = [number; 12];
    bytes[..ID_PREFIX.len()].copy_from_slice(&ID_PREFIX);
    ObjectId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn urls_of_one_host_share_an_endpoint_that_is_there() {
        let requested = Requested::new(None);
        let one = requested.endpoint_of("https://app.example/a?x=1");
        assert_eq!(one, requested.endpoint_of("https://APP.example:443/b"));
        let ids: BTreeSet<EndpointId> = requested.endpoints().iter().map(|endpoint| endpoint.id).collect();
        let used = (0..200).map(|n| requested.endpoint_of(&format!("http://host{n}.example/"))).collect();
        assert!(ids.contains(&one));
        assert_eq!(ids, used);
    }

    #[test]
    fn where_nobody_asks_the_store_is_seldom_asked() {
        let requested = Requested::new(None);
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let looks: Vec<bool> = (0..7).map(|second| requested.is_to_be_looked_for(at(second))).collect();
        assert_eq!(looks, [true, false, false, false, false, true, false]);
        requested.note_calls(at(7));
        assert!((7..=12).all(|second| requested.is_to_be_looked_for(at(second))));
        assert!(!requested.is_to_be_looked_for(at(13)));
    }
}
