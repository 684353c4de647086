//! Who gets an address's mail, remembered, so that a stream of mail does not ask the store about each recipient.
//!
//! What is remembered is forgotten when the store tells of a change: at once where this process made it, within a second
//! where another did.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_core::{Address, Clock, Domain, Timestamp};
use postrider_store::directory::{self, Reached};
use postrider_store::{Change, Store, StoreError};

use crate::hearing::Hearing;
use crate::outage::in_time;

/// Addresses remembered that somebody has, and as many that nobody has. Apart, so that who guesses at names does not push
/// out those that get mail.
const ADDRESSES_MAX: usize = 100_000;

/// After the store failed to answer, the domains that were known last serve for so long before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Whose mail is kept here, and for whom.
#[derive(Debug)]
pub(crate) struct Recipients {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// How long the store may take to look something up.
    store_timeout: Duration,
    /// Local by the settings.
    configured: Vec<Domain>,
    memory: Mutex<Memory>,
}

/// Where the mail of an address goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Home {
    /// To the users, each once; none if nobody here has the address.
    Here(Arc<[Reached]>),
    Elsewhere,
}

#[derive(Debug)]
struct Memory {
    changes: Hearing,
    /// How often all was forgotten.
    generation: u64,
    /// Of the directory, all of them; `None` until they are asked for.
    domains: Option<Arc<HashSet<Domain>>>,
    /// As they were known last, for while the store is out of reach: it takes no mail then anyway.
    last_domains: Option<Arc<HashSet<Domain>>>,
    /// When the store last failed to answer, until it does.
    failed_at: Option<Timestamp>,
    known: HashMap<String, Arc<[Reached]>>,
    unknown: HashSet<String>,
}

impl Recipients {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        store_timeout: Duration,
        configured: Vec<Domain>,
    ) -> Self {
        let memory = Memory {
            changes: Hearing::new(store.as_ref(), Change::Directory),
            generation: 0,
            domains: None,
            last_domains: None,
            failed_at: None,
            known: HashMap::new(),
            unknown: HashSet::new(),
        };
        Self { store, clock, store_timeout, configured, memory: Mutex::new(memory) }
    }

    /// Looks up now what every recipient's fate hangs on. Where the store cannot say, it is asked again when it matters.
    pub(crate) async fn warm_up(&self) {
        let _ = self.domains().await;
    }

    /// Where mail to this address goes.
    pub(crate) async fn home(&self, address: &Address) -> Result<Home, StoreError> {
        if !self.is_local(&address.domain()).await? {
            return Ok(Home::Elsewhere);
        }
        let key = directory::lookup_key(address);
        let generation = {
            let memory = self.memory();
            if let Some(known) = memory.known.get(&key) {
                return Ok(Home::Here(known.clone()));
            }
            if memory.unknown.contains(&key) {
                return Ok(Home::Here(Arc::default()));
            }
            memory.generation
        };
        self.look_up(address, key, generation).await
    }

    /// As [`Self::home`], for where an unknown address is refused: that is for good, and does not go by a memory that may
    /// be a second old.
    pub(crate) async fn home_for_certain(&self, address: &Address) -> Result<Home, StoreError> {
        let home = self.home(address).await?;
        if home != Home::Here(Arc::default()) {
            return Ok(home);
        }
        let generation = self.memory().generation;
        self.look_up(address, directory::lookup_key(address), generation).await
    }

    /// The domain that is named first: of the settings, or else of the directory.
    pub(crate) async fn first_domain(&self) -> Result<Option<Domain>, StoreError> {
        if let Some(first) = self.configured.first() {
            return Ok(Some(first.clone()));
        }
        Ok(self.domains().await?.iter().min().cloned())
    }

    async fn is_local(&self, domain: &Domain) -> Result<bool, StoreError> {
        Ok(self.configured.contains(domain) || self.domains().await?.contains(domain))
    }

    async fn look_up(&self, address: &Address, key: String, generation: u64) -> Result<Home, StoreError> {
        let resolving = directory::resolve(self.store.as_ref(), address);
        let resolved = in_time(self.clock.as_ref(), self.store_timeout, resolving).await;
        let mut memory = self.memory();
        memory.failed_at = resolved.is_err().then(|| self.clock.now());
        let reached: Arc<[Reached]> = resolved?.into();
        // What has changed since may have changed this.
        if memory.generation == generation {
            memory.remember(key, &reached);
        }
        Ok(Home::Here(reached))
    }

    async fn domains(&self) -> Result<Arc<HashSet<Domain>>, StoreError> {
        let generation = {
            let memory = self.memory();
            if let Some(domains) = &memory.domains {
                return Ok(domains.clone());
            }
            let is_out = memory.failed_at.is_some_and(|at| self.clock.now().since(at) < ASK_AGAIN);
            if let Some(last) = memory.last_domains.as_ref().filter(|_| is_out) {
                return Ok(last.clone());
            }
            memory.generation
        };
        let listed = in_time(self.clock.as_ref(), self.store_timeout, self.store.domains()).await;
        let mut memory = self.memory();
        memory.failed_at = listed.is_err().then(|| self.clock.now());
        let listed = match (listed, &memory.last_domains) {
            (Ok(listed), _) => listed,
            (Err(_), Some(last)) => return Ok(last.clone()),
            (Err(error), None) => return Err(error),
        };
        let domains: Arc<HashSet<Domain>> = Arc::new(listed.into_iter().map(|domain| domain.name).collect());
        memory.last_domains = Some(domains.clone());
        if memory.generation == generation {
            memory.domains = Some(domains.clone());
        }
        Ok(domains)
    }

    /// What is remembered, after hearing what has changed up to now.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.changes.has_changed() {
            memory.forget();
        }
        memory
    }
}

impl Memory {
    fn forget(&mut self) {
        self.generation += 1;
        self.domains = None;
        self.known.clear();
        self.unknown.clear();
    }

    fn remember(&mut self, key: String, reached: &Arc<[Reached]>) {
        if reached.is_empty() {
            if self.unknown.len() >= ADDRESSES_MAX {
                self.unknown.clear();
            }
            self.unknown.insert(key);
        } else {
            self.unknown.remove(&key);
            if self.known.len() >= ADDRESSES_MAX {
                self.known.clear();
            }
            self.known.insert(key, reached.clone());
        }
    }
}
