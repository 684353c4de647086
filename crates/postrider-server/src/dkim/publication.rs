//! Whether keys are published, and what waits for that.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::{Clock, Domain, ResolveError, Resolver};
use postrider_store::Store;
use postrider_store::dkim::{self, DkimKeys, DkimPair};
use tokio::sync::watch::Receiver;
use tracing::{debug, info};

/// How often DNS is asked for keys that do not sign yet.
const LOOK: Duration = Duration::from_secs(600);

/// What DNS says of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    Published,
    /// There is a record of that name, with something else in it.
    Wrong(String),
    Missing,
    /// DNS did not answer.
    Unknown(String),
}

/// What DNS says of a pair's records, in their order.
pub async fn published(resolver: &dyn Resolver, domain: &Domain, pair: &DkimPair) -> [Publication; 2] {
    let [ed25519, rsa] = pair.records(domain);
    let (ed25519, rsa) = tokio::join!(
        of_record(resolver, &ed25519.0, &pair.ed25519.public_key),
        of_record(resolver, &rsa.0, &pair.rsa.public_key)
    );
    [ed25519, rsa]
}

async fn of_record(resolver: &dyn Resolver, name: &str, public_key: &str) -> Publication {
    match resolver.texts(name).await {
        Ok(texts) if texts.iter().any(|text| key_of(text).as_deref() == Some(public_key)) => Publication::Published,
        Ok(texts) => Publication::Wrong(texts.into_iter().next().unwrap_or_default()),
        Err(ResolveError::NoSuchDomain | ResolveError::NoRecords) => Publication::Missing,
        Err(ResolveError::Temporary(error)) => Publication::Unknown(error),
    }
}

/// The public key in a record, white space aside (RFC 6376 section 3.6.1).
fn key_of(record: &str) -> Option<String> {
    let tag = record.split(';').find_map(|tag| tag.trim_start().strip_prefix('p'))?;
    let value = tag.trim_start().strip_prefix('=')?;
    Some(value.chars().filter(|c| !c.is_ascii_whitespace()).collect())
}

/// Lets keys sign once they are published, until the server shuts down. Each node looks; the first that finds them tells all.
pub(crate) async fn watch(
    store: Arc<dyn Store>,
    resolver: Arc<dyn Resolver>,
    clock: Arc<dyn Clock>,
    mut draining: Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = clock.sleep(LOOK) => {}
            _ = draining.wait_for(|&draining| draining) => return,
        }
        match DkimKeys::all(store.as_ref()).await {
            Ok(all) => {
                for keys in all {
                    activate_published(store.as_ref(), resolver.as_ref(), clock.as_ref(), keys).await;
                }
            }
            Err(error) => debug!(%error, "the DKIM keys cannot be looked at"),
        }
    }
}

async fn activate_published(store: &dyn Store, resolver: &dyn Resolver, clock: &dyn Clock, mut keys: DkimKeys) {
    let Some(waiting) = keys.waiting(clock.now()) else { return };
    let publications = published(resolver, &keys.domain, waiting).await;
    if publications.iter().any(|publication| *publication != Publication::Published) {
        return;
    }
    match dkim::activate(store, &mut keys, clock.now()).await {
        Ok(()) => info!(domain = %keys.domain, "the new DKIM keys are published, and sign from now on"),
        Err(error) => debug!(domain = %keys.domain, %error, "the new DKIM keys do not sign yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_records() {
        assert_eq!(key_of("v=DKIM1; k=rsa; p=AB CD\t==").as_deref(), Some("ABCD=="));
        assert_eq!(key_of("p = x;").as_deref(), Some("x"));
        assert_eq!(key_of("v=DKIM1; p=").as_deref(), Some(""));
        assert_eq!(key_of("v=spf1 -all"), None);
    }
}
