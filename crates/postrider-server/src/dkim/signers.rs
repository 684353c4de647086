//! Who signs what: the keys of the domains that mail is from, remembered, so that signing asks the store nothing.
//!
//! What is remembered is looked at again after a few seconds, and forgotten when the directory changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_config::DkimAlgorithm;
use postrider_core::trace::HeaderScan;
use postrider_core::{Clock, Domain, Timestamp, dkim};
use postrider_store::dkim::DkimKeys;
use postrider_store::{Change, Store, StoreError};
use tracing::{error, warn};

use super::Signer;
use crate::hearing::Hearing;
use crate::outage::in_time;

/// After this long the store is asked whether a domain has other keys by now, or the next pair is to sign.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Domains remembered, with keys or without.
const DOMAINS_MAX: usize = 100_000;

/// How many labels a domain may have more than the one above it that has keys.
const LABELS_UP_MAX: usize = 8;

/// The signers of all domains.
#[derive(Debug)]
pub(crate) struct Signers {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// How long the store may take to look something up.
    store_timeout: Duration,
    algorithms: Vec<DkimAlgorithm>,
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    changes: Hearing,
    known: HashMap<Domain, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    looked_at: Timestamp,
    /// Of the keys, and the selector of those that sign.
    made_of: Option<(u64, String)>,
    /// `None`: the domain has no keys.
    signer: Option<Arc<Signer>>,
}

impl Signers {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        store_timeout: Duration,
        algorithms: Vec<DkimAlgorithm>,
    ) -> Self {
        let memory = Memory { changes: Hearing::new(store.as_ref(), Change::Directory), known: HashMap::new() };
        Self { store, clock, store_timeout, algorithms, memory: Mutex::new(memory) }
    }

    /// Who signs a message: its author's domain, or the nearest one above it that has keys (RFC 7489 section 3.1.1: it
    /// counts as the author's). `None` where nobody does, or the author is in doubt.
    pub(crate) async fn of_message(&self, message: &[u8], scan: HeaderScan) -> Result<Option<Arc<Signer>>, StoreError> {
        if self.algorithms.is_empty() || scan.from_fields != 1 {
            return Ok(None);
        }
        match message.get(scan.from_at..).and_then(dkim::author_domain) {
            Some(author) => self.of_domain(&author).await,
            None => Ok(None),
        }
    }

    /// As [`Self::of_message`], of a known author.
    pub(crate) async fn of_domain(&self, author: &Domain) -> Result<Option<Arc<Signer>>, StoreError> {
        if self.algorithms.is_empty() || author.literal().is_some() {
            return Ok(None);
        }
        let mut name = author.as_str();
        for _ in 0..LABELS_UP_MAX {
            let Ok(domain) = Domain::parse(name) else { break };
            if let Some(signer) = self.own(&domain).await? {
                return Ok(Some(signer));
            }
            match name.split_once('.') {
                Some((_, above)) if above.contains('.') => name = above,
                _ => break,
            }
        }
        Ok(None)
    }

    /// Who signs what this host writes itself. Nobody where the store cannot say: news does not wait for that.
    pub(crate) async fn of_host(&self, hostname: &str) -> Option<Arc<Signer>> {
        let signer = self.of_domain(&Domain::parse(hostname).ok()?).await;
        signer.inspect_err(|error| warn!(%error, "a notification goes out unsigned")).ok().flatten()
    }

    /// Who signs for this domain with its own keys.
    async fn own(&self, domain: &Domain) -> Result<Option<Arc<Signer>>, StoreError> {
        let now = self.clock.now();
        let known = {
            let mut memory = self.memory();
            let known = memory.known.get_mut(domain);
            if let Some(known) = known.as_deref().filter(|known| now.since(known.looked_at) < LOOK_AGAIN) {
                return Ok(known.signer.clone());
            }
            // Others go on with what is known while this one looks.
            known.map(|known| {
                known.looked_at = now;
                known.clone()
            })
        };
        let finding = DkimKeys::find(self.store.as_ref(), domain);
        let keys = match (in_time(self.clock.as_ref(), self.store_timeout, finding).await, &known) {
            (Ok(keys), _) => keys,
            (Err(_), Some(known)) => return Ok(known.signer.clone()),
            (Err(error), None) => return Err(error),
        };
        let known = self.judge(domain, keys, known, now);
        let signer = known.signer.clone();
        let mut memory = self.memory();
        if memory.known.len() >= DOMAINS_MAX {
            memory.known.clear();
        }
        memory.known.insert(domain.clone(), known);
        Ok(signer)
    }

    /// What is to be known of a domain, by its keys and what was known before.
    fn judge(&self, domain: &Domain, keys: Option<DkimKeys>, known: Option<Known>, now: Timestamp) -> Known {
        let signing = keys.as_ref().and_then(|keys| Some((keys.version(), keys.signing(now)?)));
        let Some((version, pair)) = signing else { return Known { looked_at: now, made_of: None, signer: None } };
        let made_of = Some((version, pair.ed25519.selector.clone()));
        if let Some(known) = known.filter(|known| known.made_of == made_of) {
            return Known { looked_at: now, ..known };
        }
        let signer = Signer::new(domain, pair, &self.algorithms)
            .inspect_err(|error| error!(%domain, error, "mail of a domain is not signed"));
        Known { looked_at: now, made_of, signer: signer.ok().map(Arc::new) }
    }

    /// What is remembered, after hearing what has changed up to now.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.changes.has_changed() {
            memory.known.clear();
        }
        memory
    }
}
