//! Administration as the API and the command line share it: what takes passwords, keys and DNS, which the API does not know.

pub mod dkim;
pub mod dns;

use std::sync::Arc;

use async_trait::async_trait;
use postrider_config::{Effective, Loaded, Settings};
use postrider_core::{Address, Clock, Domain, Resolver, Timestamp};
use postrider_server::users::{self, PasswordError};
use postrider_store::dkim::DkimKeys;
use postrider_store::{ScramKeys, Store, User};
use postrider_web::view::{DkimKeyView, DnsRecordView, SettingView, SettingsView};
use postrider_web::{Administration, AdministrationError};
use tokio::sync::Semaphore;

type Result<T> = std::result::Result<T, AdministrationError>;

/// Passwords hashed and keys made at once, for the API: each takes a core for a while.
const HEAVY_MAX: usize = 2;

/// [`Administration`] of a running server.
#[derive(Debug)]
pub(crate) struct Office {
    store: Arc<dyn Store>,
    resolver: Arc<dyn Resolver>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    shown: SettingsView,
    heavy: Arc<Semaphore>,
}

impl Office {
    pub(crate) fn new(
        settings: Settings,
        shown: SettingsView,
        store: Arc<dyn Store>,
        resolver: Arc<dyn Resolver>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, resolver, clock, settings, shown, heavy: Arc::new(Semaphore::new(HEAVY_MAX)) }
    }

    /// Does what takes processor time on a thread of its own. What is given up here goes on there to its end, and counts until then.
    async fn heavy<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let permit = self.heavy.clone().acquire_owned().await.map_err(failed)?;
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(failed)?
    }
}

#[async_trait]
impl Administration for Office {
    fn configured_domains(&self) -> &[Domain] {
        &self.settings.allowed_domains
    }

    fn suppresses(&self) -> bool {
        self.settings.suppression_enabled
    }

    async fn new_user(&self, address: Address, password: String) -> Result<User> {
        users::check_chosen(&password).map_err(refused)?;
        let now = self.clock.now();
        self.heavy(move || users::new_user(address, &password, now).map_err(refused)).await
    }

    async fn hash_password(&self, password: String) -> Result<(String, ScramKeys)> {
        users::check_chosen(&password).map_err(refused)?;
        self.heavy(move || users::hash(&password).map_err(refused)).await
    }

    async fn ensure_dkim_keys(&self, domain: &Domain) -> Result<DkimKeys> {
        match DkimKeys::find(self.store.as_ref(), domain).await.map_err(postrider_store::dkim::DkimError::from)? {
            Some(keys) => Ok(keys),
            None => self.rotate_dkim_keys(domain, None).await,
        }
    }

    async fn rotate_dkim_keys(&self, domain: &Domain, signs_from: Option<Timestamp>) -> Result<DkimKeys> {
        let pairs = self.heavy(dkim::generate).await?;
        let store = self.store.as_ref();
        let added =
            postrider_store::dkim::add_pair(store, domain, signs_from, self.clock.now(), |stem| pairs.under(stem));
        Ok(added.await?)
    }

    async fn show_dkim_keys(&self, mut keys: DkimKeys) -> Result<Vec<DkimKeyView>> {
        let now = self.clock.now();
        dkim::activate_published(self.store.as_ref(), self.resolver.as_ref(), &mut keys, now).await?;
        let mut shown = Vec::new();
        for (state, pair) in keys.pairs(now) {
            let publications = postrider_server::dkim::published(self.resolver.as_ref(), &keys.domain, pair).await;
            shown.extend(dkim::views(&keys.domain, state, pair, &publications));
        }
        Ok(shown)
    }

    async fn dns_records(&self, domain: &Domain) -> Result<Vec<DnsRecordView>> {
        let keys = DkimKeys::find(self.store.as_ref(), domain).await.map_err(postrider_store::dkim::DkimError::from)?;
        let now = self.clock.now();
        Ok(dns::records(&self.resolver, &self.settings, domain, keys.as_ref(), now).await)
    }

    fn settings(&self) -> SettingsView {
        self.shown.clone()
    }
}

/// The settings as they may be shown.
pub fn settings_view(loaded: &Loaded) -> SettingsView {
    let view = |setting: &Effective| SettingView {
        name: setting.name.to_owned(),
        value: setting.value.clone(),
        origin: setting.origin.to_string(),
        doc: setting.doc.to_owned(),
    };
    SettingsView { settings: loaded.effective.iter().map(view).collect(), warnings: loaded.warnings.clone() }
}

fn refused(error: PasswordError) -> AdministrationError {
    match error {
        PasswordError::Hashing(_) => AdministrationError::Failed(error.to_string()),
        PasswordError::Empty | PasswordError::TooShort | PasswordError::TooLong | PasswordError::ControlCharacters => {
            AdministrationError::BadPassword(error.to_string())
        }
    }
}

fn failed(error: impl std::fmt::Display) -> AdministrationError {
    AdministrationError::Failed(error.to_string())
}
