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

use crate::limits::counted_address;

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
    /// As [`counted_address`] gives it.
    Address(IpAddr),
    Account(String),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_at: Timestamp,
}

/// After a failure the next log-in waits for this; each further one doubles it.
const DELAY_FIRST: Duration = Duration::from_secs(1);
const DELAY_MAX: Duration = Duration::from_secs(30);
/// Failures are forgotten after this time without another.
const MEMORY: Duration = Duration::from_secs(15 * 60);
const SUSPECTS_MAX: usize = 10_000;
/// As many of the oldest make room together, so that not every new one searches for them.
const SUSPECTS_EVICTED: usize = SUSPECTS_MAX / 10;

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

    /// How long a log-in must wait before it is looked at, right or wrong: an answer that came at once would tell that the
    /// password is right.
    pub(crate) fn delay(&self, user: &str, peer: IpAddr) -> Duration {
        let now = self.clock.now();
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = suspects(user, peer).map(|suspect| count_at(&failures, &suspect, now));
        match counts.into_iter().max() {
            None | Some(0) => Duration::ZERO,
            Some(worst) => DELAY_FIRST.saturating_mul(2u32.saturating_pow(worst - 1)).min(DELAY_MAX),
        }
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, user: &str, peer: IpAddr) {
        let now = self.clock.now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for suspect in suspects(user, peer) {
            let count = count_at(&failures, &suspect, now).saturating_add(1);
            if failures.len() >= SUSPECTS_MAX && !failures.contains_key(&suspect) {
                make_room(&mut failures);
            }
            failures.insert(suspect, Failures { count, last_at: now });
        }
    }

    /// A log-in succeeded: the account's failures were its owner's.
    pub(crate) fn succeeded(&self, user: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&Suspect::Account(user.to_ascii_lowercase()));
    }
}

fn suspects(user: &str, peer: IpAddr) -> [Suspect; 2] {
    [Suspect::Address(counted_address(peer)), Suspect::Account(user.to_ascii_lowercase())]
}

/// How often a suspect has failed, as far as that is remembered.
fn count_at(failures: &HashMap<Suspect, Failures>, suspect: &Suspect, now: Timestamp) -> u32 {
    failures.get(suspect).filter(|failures| now.since(failures.last_at) < MEMORY).map_or(0, |failures| failures.count)
}

/// Forgets those that have been quiet longest. Who goes on guessing is never among them, however many others are made up.
fn make_room(failures: &mut HashMap<Suspect, Failures>) {
    let mut times: Vec<Timestamp> = failures.values().map(|failures| failures.last_at).collect();
    let (_, &mut youngest, _) = times.select_nth_unstable(SUSPECTS_EVICTED.min(failures.len()) - 1);
    let mut left = SUSPECTS_EVICTED;
    failures.retain(|_, failures| {
        let goes = failures.last_at <= youngest && left > 0;
        left -= usize::from(goes);
        !goes
    });
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

    fn failures(count: u32, ages_seconds: impl IntoIterator<Item = u64>) -> HashMap<Suspect, Failures> {
        let start = Timestamp::from_millis(1_000_000_000);
        let entry = |(n, age)| {
            let last_at = start + Duration::from_secs(SUSPECTS_MAX as u64 - age);
            (Suspect::Account(format!("user{n}")), Failures { count, last_at })
        };
        ages_seconds.into_iter().enumerate().map(entry).collect()
    }

    #[test]
    fn the_oldest_make_room() {
        let mut known = failures(1, 0..SUSPECTS_MAX as u64);
        make_room(&mut known);
        assert_eq!(known.len(), SUSPECTS_MAX - SUSPECTS_EVICTED);
        assert!(known.contains_key(&Suspect::Account("user0".into())));
        assert!(!known.contains_key(&Suspect::Account(format!("user{}", SUSPECTS_MAX - 1))));
        // All at the same moment: no more go than must.
        let mut known = failures(1, (0..SUSPECTS_MAX).map(|_| 0));
        make_room(&mut known);
        assert_eq!(known.len(), SUSPECTS_MAX - SUSPECTS_EVICTED);
    }

    #[tokio::test]
    async fn failures_slow_an_account_and_a_network() {
        let folder = tempfile::tempdir().unwrap();
        let options = postrider_store::sqlite::SqliteOptions::new(folder.path());
        let store = postrider_store::SqliteStore::open(options).unwrap();
        let logins = Logins::new(Arc::new(store), Arc::new(crate::clock::SystemClock));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (here, same_network, elsewhere) = (address("2001:db8::1"), address("2001:db8::2:1"), address("192.0.2.1"));
        assert_eq!(logins.delay("user", here), Duration::ZERO);
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            logins.failed("user", here);
            assert_eq!(logins.delay("USER", elsewhere), Duration::from_secs(expected));
            assert_eq!(logins.delay("other", same_network), Duration::from_secs(expected));
        }
        assert_eq!(logins.delay("other", elsewhere), Duration::ZERO);
        assert_eq!(logins.delay("other", address("2001:db8:0:1::1")), Duration::ZERO);
        logins.succeeded("user");
        assert_eq!(logins.delay("user", elsewhere), Duration::ZERO);
        assert_eq!(logins.delay("user", here), Duration::from_secs(30), "the network has still to prove itself");
    }

    /// Inventing names does not make the server forget whom it slows.
    #[tokio::test]
    async fn who_goes_on_guessing_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let options = postrider_store::sqlite::SqliteOptions::new(folder.path());
        let store = postrider_store::SqliteStore::open(options).unwrap();
        let logins = Logins::new(Arc::new(store), Arc::new(crate::clock::SystemClock));
        *logins.failures.lock().unwrap() = failures(1, (0..SUSPECTS_MAX).map(|_| 0));
        let guesser = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            logins.failed("user", guesser);
        }
        assert_eq!(logins.delay("user", guesser), Duration::from_secs(4));
    }
}
