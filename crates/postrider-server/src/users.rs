//! Passwords: how they are kept, and how guessing them is slowed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use postrider_core::{Address, Clock, Timestamp};
use postrider_store::{ScramKeys, Store, StoreError, User};
use tokio::sync::Semaphore;

/// Why a password cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("the password is empty")]
    Empty,
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    #[error("the password has control characters")]
    ControlCharacters,
    #[error("the password cannot be hashed: {0}")]
    Hashing(String),
}

/// A longer one gains nothing and costs time to hash.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// A user with a new password.
pub fn new_user(address: Address, password: &str, now: Timestamp) -> Result<User, PasswordError> {
    let (password_hash, scram) = hash(password)?;
    // The domain in lower case, the local part as it was given.
    let address = Address::parse(&format!("{}@{}", address.local_part(), address.domain())).unwrap_or(address);
    Ok(User { address, password_hash, scram, created_at: now, updated_at: now })
}

/// The argon2id hash of a password in PHC form, and its SCRAM-SHA-256 keys, with a new salt each. Takes tens of
/// milliseconds of processor time.
pub fn hash(password: &str) -> Result<(String, ScramKeys), PasswordError> {
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::TooLong);
    }
    if password.chars().any(char::is_control) {
        return Err(PasswordError::ControlCharacters);
    }
    let hash = argon2id_hash(password)?;
    let keys = postrider_wire::sasl::ScramKeys::generate(password)
        .map_err(|error| PasswordError::Hashing(error.to_string()))?;
    let scram = ScramKeys {
        salt: keys.salt,
        iterations: keys.iterations,
        stored_key: keys.stored_key,
        server_key: keys.server_key,
    };
    Ok((hash, scram))
}

/// Whether the password is the one that was hashed. An unreadable hash matches nothing.
pub fn matches(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| argon2id().verify_password(password.as_bytes(), &hash).is_ok())
}

fn argon2id_hash(password: &str) -> Result<String, PasswordError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| PasswordError::Hashing(error.to_string()))?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| PasswordError::Hashing(error.to_string()))?;
    let hash = argon2id().hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(|error| PasswordError::Hashing(error.to_string()))?.to_string())
}

/// 19 MiB, 2 passes, 1 lane: the first choice of OWASP's password storage guide.
fn argon2id() -> Argon2<'static> {
    let params = Params::new(19_456, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Checks log-ins, and slows those that fail.
#[derive(Debug)]
pub(crate) struct Logins {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Passwords hashed at once: each takes a core and 19 MiB.
    hashing: Semaphore,
    failures: Mutex<HashMap<Suspect, Failures>>,
}

/// Whose failures are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Suspect {
    Address(IpAddr),
    Account(String),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_at: Timestamp,
}

/// The first failure is answered after this; each further one doubles it.
const DELAY_FIRST: Duration = Duration::from_secs(1);
const DELAY_MAX: Duration = Duration::from_secs(30);
/// Failures are forgotten after this time without another.
const MEMORY: Duration = Duration::from_secs(15 * 60);
const SUSPECTS_MAX: usize = 10_000;

impl Logins {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { store, clock, hashing: Semaphore::new(cores), failures: Mutex::default() }
    }

    /// Whether this is the user's password. Takes as long for users that do not exist.
    pub(crate) async fn check(&self, user: &str, password: &str) -> Result<bool, StoreError> {
        let known = self.find(user).await?;
        let Ok(_permit) = self.hashing.acquire().await else { return Ok(false) };
        let (password, hash) = (password.to_owned(), known.map(|user| user.password_hash));
        let verified = tokio::task::spawn_blocking(move || match hash {
            Some(hash) => matches(&password, &hash),
            None => {
                // Hashed for nobody, so that the time it takes does not tell who exists.
                let _ = argon2id_hash(&password);
                false
            }
        });
        Ok(verified.await.unwrap_or(false))
    }

    pub(crate) async fn scram_keys(&self, user: &str) -> Result<Option<postrider_wire::sasl::ScramKeys>, StoreError> {
        Ok(self.find(user).await?.map(|user| postrider_wire::sasl::ScramKeys {
            salt: user.scram.salt,
            iterations: user.scram.iterations,
            stored_key: user.scram.stored_key,
            server_key: user.scram.server_key,
        }))
    }

    async fn find(&self, user: &str) -> Result<Option<User>, StoreError> {
        match Address::parse(user) {
            Ok(address) => self.store.user(&address).await,
            Err(_) => Ok(None),
        }
    }

    /// Counts a failure; returns how long its answer is to be held back.
    pub(crate) fn failed(&self, user: &str, peer: IpAddr) -> Duration {
        let now = self.clock.now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= SUSPECTS_MAX {
            failures.retain(|_, failures| now.since(failures.last_at) < MEMORY);
        }
        let mut worst = 0;
        for suspect in [Suspect::Address(peer), Suspect::Account(user.to_ascii_lowercase())] {
            let known = failures.get(&suspect).filter(|failures| now.since(failures.last_at) < MEMORY);
            let count = known.map_or(0, |failures| failures.count).saturating_add(1);
            if failures.len() < SUSPECTS_MAX || failures.contains_key(&suspect) {
                failures.insert(suspect, Failures { count, last_at: now });
            }
            worst = worst.max(count);
        }
        DELAY_FIRST.saturating_mul(2u32.saturating_pow(worst - 1)).min(DELAY_MAX)
    }

    /// A log-in succeeded: the account's failures were its owner's.
    pub(crate) fn succeeded(&self, user: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&Suspect::Account(user.to_ascii_lowercase()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_itself_alone() {
        let user = new_user(Address::parse("A@EXAMPLE.org").unwrap(), "correct horse", Timestamp::default()).unwrap();
        assert_eq!(user.address.as_str(), "A@example.org");
        assert!(user.password_hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(matches("correct horse", &user.password_hash));
        assert!(!matches("correct horsf", &user.password_hash));
        assert!(!matches("correct horse", "no hash"));
        assert_eq!(hash(""), Err(PasswordError::Empty));
        assert_eq!(hash("a\nb"), Err(PasswordError::ControlCharacters));
    }
}
