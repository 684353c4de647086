//! The user that `postrider dev` makes, so that there is a mailbox to read from the start.
//!
//! The store may become one that serves: the password is random and known to nobody but who may read `DATA_DIR`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use postrider_config::Settings;
use postrider_core::{Address, Timestamp};
use postrider_server::{tls, users};
use postrider_store::{DomainRecord, Store, StoreError, directory};
use ring::rand::{SecureRandom as _, SystemRandom};

/// At a domain that is nobody's in the world (RFC 2606 section 2), so that no other mail becomes local with it.
pub(super) const ADDRESS: &str = "demo@postrider.test";

/// Letters and digits that are not mistaken for one another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const PASSWORD_CHARS: usize = 12;

/// A user to try a mail program with.
#[derive(Debug)]
pub(super) struct DemoUser {
    pub(super) address: Address,
    pub(super) password: String,
}

/// Makes the user where it is missing. The error says what was in the way; nothing else hangs on it.
pub(super) async fn ensure(store: &dyn Store, settings: &Settings) -> Result<DemoUser, String> {
    let now = Timestamp::system();
    let address = Address::parse(ADDRESS).map_err(|error| error.to_string())?;
    let file = password_file(settings);
    let (password, is_new) = match known_password(&file)? {
        Some(password) => (password, false),
        None => (new_password()?, true),
    };
    let failed = |error: StoreError| error.to_string();
    let domain = address.domain();
    if !directory::is_local(store, &settings.allowed_domains, &domain).await.map_err(failed)? {
        let record = DomainRecord { name: domain, catch_all: None, created_at: now, updated_at: now };
        unless_there(store.add_domain(record).await)?;
    }
    let is_there = store.user(&address).await.map_err(failed)?.is_some();
    if is_new || !is_there {
        let user = users::new_user(address.clone(), &password, now).map_err(|error| error.to_string())?;
        if is_there {
            store.set_password(&address, user.password_hash, user.scram, now).await.map_err(failed)?;
        } else {
            unless_there(store.add_user(user).await)?;
        }
    }
    if is_new {
        let written = tls::write_private(&file, format!("{password}\n").as_bytes());
        written.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(DemoUser { address, password })
}

fn password_file(settings: &Settings) -> PathBuf {
    settings.data_dir.join("demo-password")
}

fn known_password(file: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|password| !password.is_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

fn new_password() -> Result<String, String> {
    let mut bytes = [0; PASSWORD_CHARS];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(bytes.iter().map(|&byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect())
}

/// Another process may have been faster.
fn unless_there(done: Result<(), StoreError>) -> Result<(), String> {
    match done {
        Ok(()) | Err(StoreError::Exists(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
