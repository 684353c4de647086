//! What the API asks of rooms that it does not know, to administer this server: hashing passwords, making keys, asking DNS, and
//! the settings as they are. Whoever starts it brings this.

use std::fmt;

use async_trait::async_trait;
use postrider_core::{Address, Domain, Timestamp};
use postrider_store::dkim::{DkimError, DkimKeys};
use postrider_store::{ScramKeys, User};

use crate::view::{DkimKeyView, DnsRecordView, SettingsView};

/// Why it was not done; the text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdministrationError {
    #[error("{0}")]
    BadPassword(String),
    #[error(transparent)]
    Dkim(#[from] DkimError),
    /// For the log.
    #[error("{0}")]
    Failed(String),
}

type Result<T> = std::result::Result<T, AdministrationError>;

/// See the module. What takes processor time is done beside the threads that answer, a few at a time.
#[async_trait]
pub trait Administration: Send + Sync + fmt::Debug {
    /// The domains that are local by the settings.
    fn configured_domains(&self) -> &[Domain];

    /// Whether the suppression list has an effect.
    fn suppresses(&self) -> bool;

    /// A user with a password, kept nowhere yet.
    async fn new_user(&self, address: Address, password: String) -> Result<User>;

    /// What is kept of a password.
    async fn hash_password(&self, password: String) -> Result<(String, ScramKeys)>;

    /// The domain's DKIM keys, made now if it has none.
    async fn ensure_dkim_keys(&self, domain: &Domain) -> Result<DkimKeys>;

    /// Makes keys that follow those that sign now: once they are published, or from a time on in any case.
    async fn rotate_dkim_keys(&self, domain: &Domain, signs_from: Option<Timestamp>) -> Result<DkimKeys>;

    /// Keys as they stand, and whether DNS has their records. Those that were waiting for that sign from now on.
    async fn show_dkim_keys(&self, keys: DkimKeys) -> Result<Vec<DkimKeyView>>;

    /// Every DNS record that a domain needs, each compared with what DNS says.
    async fn dns_records(&self, domain: &Domain) -> Result<Vec<DnsRecordView>>;

    /// The settings as they are, secrets masked.
    fn settings(&self) -> SettingsView;
}
