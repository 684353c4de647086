//! The ports to what takes passwords, keys, DNS and settings, and to the log, with nobody behind them.

use postrider_core::{Address, Domain, LogFilter, LogPage, LogTail, Timestamp};
use postrider_store::dkim::DkimKeys;
use postrider_store::{ScramKeys, User};
use postrider_web::view::{DkimKeyView, DnsRecordView, SettingsView};
use postrider_web::{Administration, AdministrationError};

/// Nobody who could hash passwords or make keys: what asks for that is tested with a whole server.
#[derive(Debug)]
pub(crate) struct NoOffice;

#[derive(Debug)]
pub(crate) struct NoLog;

impl LogTail for NoLog {
    fn records(&self, _: Option<u64>, _: &LogFilter, _: usize) -> LogPage {
        LogPage::default()
    }
}

fn nobody<T>() -> Result<T, AdministrationError> {
    Err(AdministrationError::Failed("nobody is there".to_owned()))
}

#[async_trait::async_trait]
impl Administration for NoOffice {
    fn configured_domains(&self) -> &[Domain] {
        &[]
    }

    fn suppresses(&self) -> bool {
        true
    }

    async fn new_user(&self, _: Address, _: String) -> Result<User, AdministrationError> {
        nobody()
    }

    async fn hash_password(&self, _: String) -> Result<(String, ScramKeys), AdministrationError> {
        nobody()
    }

    async fn ensure_dkim_keys(&self, _: &Domain) -> Result<DkimKeys, AdministrationError> {
        nobody()
    }

    async fn rotate_dkim_keys(&self, _: &Domain, _: Option<Timestamp>) -> Result<DkimKeys, AdministrationError> {
        nobody()
    }

    async fn show_dkim_keys(&self, _: DkimKeys) -> Result<Vec<DkimKeyView>, AdministrationError> {
        nobody()
    }

    async fn dns_records(&self, _: &Domain) -> Result<Vec<DnsRecordView>, AdministrationError> {
        nobody()
    }

    fn settings(&self) -> SettingsView {
        SettingsView::default()
    }
}
