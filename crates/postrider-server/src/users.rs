//! Passwords: how they are kept, and how guessing them is slowed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::password_hash::{self, Output, PasswordHash, PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use postrider_core::{Address, Clock, ObjectId, Timestamp};
use postrider_store::{Quota, ScramKeys, Store, StoreError, User};
use tokio::sync::{Notify, Semaphore};
use tracing::warn;

use crate::limits::counted_address;
use crate::outage::in_time;

/// Why a password cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("the password is empty")]
    Empty,
    #[error("the password is too short: it has {PASSWORD_CHARACTERS_MIN} characters at least")]
    TooShort,
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    #[error("the password has control characters")]
    ControlCharacters,
    #[error("the password cannot be hashed: {0}")]
    Hashing(String),
}

/// A shorter one is guessed (NIST SP 800-63B, 5.1.1.1): with it go sending and reading mail from everywhere.
pub const PASSWORD_CHARACTERS_MIN: usize = 8;

/// A longer one gains nothing and costs time to hash.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Whether a person may choose this password.
pub fn check_chosen(password: &str) -> Result<(), PasswordError> {
    check(password)?;
    match password.trim().chars().count() {
        0 => Err(PasswordError::Empty),
        1..PASSWORD_CHARACTERS_MIN => Err(PasswordError::TooShort),
        _ => Ok(()),
    }
}

/// Whether a text can be a password at all.
fn check(password: &str) -> Result<(), PasswordError> {
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::TooLong);
    }
    if password.chars().any(char::is_control) {
        return Err(PasswordError::ControlCharacters);
    }
    Ok(())
}

/// A user with a new password.
pub fn new_user(address: Address, password: &str, now: Timestamp) -> Result<User, PasswordError> {
    let (password_hash, scram) = hash(password)?;
    // The domain in lower case, the local part as it was given.
    let address = Address::parse(&format!("{}@{}", address.local_part(), address.domain())).unwrap_or(address);
    Ok(User {
        id: ObjectId::new(now),
        quota: Quota::default(),
        address,
        password_hash,
        scram,
        is_enabled: true,
        created_at: now,
        updated_at: now,
    })
}

/// The argon2id hash of a password in PHC form, and its SCRAM-SHA-256 keys, with a new salt each. Takes tens of
/// milliseconds of processor time.
pub fn hash(password: &str) -> Result<(String, ScramKeys), PasswordError> {
    check(password)?;
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
fn matches(password: &str, hash: &str, memory: &mut Vec<Block>) -> bool {
    let verified = PasswordHash::new(hash).and_then(|hash| {
        let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Ok(false) };
        let version = hash.version.map_or(Ok(Version::default()), Version::try_from)?;
        let argon2 = Argon2::new(Algorithm::try_from(hash.algorithm)?, version, Params::try_from(&hash)?);
        let mut salt_bytes = [0; 64];
        // These are compared in constant time.
        Ok(digest(&argon2, password, salt.decode_b64(&mut salt_bytes)?, expected.len(), memory)? == expected)
    });
    verified.unwrap_or_else(|error| {
        warn!(%error, "a password's hash in the store cannot be checked");
        false
    })
}

/// Hashes in `memory`, which grows to what our own hashes need. One that needs more gets memory of its own.
fn digest(
    argon2: &Argon2<'_>,
    password: &str,
    salt: &[u8],
    bytes: usize,
    memory: &mut Vec<Block>,
) -> password_hash::Result<Output> {
    let blocks = argon2.params().block_count();
    if blocks > BLOCKS_MAX {
        return Err(argon2::Error::MemoryTooMuch.into());
    }
    let mut own = Vec::new();
    let memory = if blocks > argon2id().params().block_count() { &mut own } else { memory };
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    let hash = |out: &mut [u8]| argon2.hash_password_into_with_memory(password.as_bytes(), salt, out, memory);
    Output::init_with(bytes, |out| Ok(hash(out)?))
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

/// 256 MiB: a hash from elsewhere that needs more is not checked.
const BLOCKS_MAX: usize = (256 << 20) / Block::SIZE;

/// What comes of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    Right,
    Wrong,
    /// Right, and its user may not log in.
    Disabled,
}

/// See [`Logins::scram_keys`].
#[derive(Debug)]
pub(crate) struct ProofKeys {
    pub(crate) keys: postrider_wire::sasl::ScramKeys,
    pub(crate) is_enabled: bool,
}

/// Checks log-ins, and slows those that fail.
#[derive(Debug)]
pub(crate) struct Logins {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// How long the store may take to look a user up.
    store_timeout: Duration,
    hashing: Hashing,
    cores: usize,
    tries: Arc<Tries>,
}

/// Passwords hashed at once: each takes a core and 19 MiB.
#[derive(Debug)]
struct Hashing {
    permits: Arc<Semaphore>,
    /// Memory to hash in, as much as was ever needed at once. It is not given back: what is freed on one of many threads,
    /// the allocator would keep for each of them.
    memories: Arc<Mutex<Vec<Vec<Block>>>>,
}

/// The log-ins that failed, and those that are looked at now.
#[derive(Debug, Default)]
struct Tries {
    tally: Mutex<Tally>,
    /// Tells that a [`Turn`] has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Tally {
    failures: HashMap<Suspect, Failures>,
    turns: HashMap<Suspect, usize>,
}

/// A log-in may be looked at as long as this lives: from before its check until its failure is counted.
#[derive(Debug)]
pub(crate) struct Turn {
    tries: Arc<Tries>,
    suspects: [Suspect; 2],
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
/// A log-in that would have to wait for longer, behind others from its address that fail, is put off.
const WAIT_MAX: Duration = Duration::from_secs(120);
const SUSPECTS_MAX: usize = 10_000;
/// As many of the oldest make room together, so that not every new one searches for them.
const SUSPECTS_EVICTED: usize = SUSPECTS_MAX / 10;

impl Logins {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, store_timeout: Duration) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { store, clock, store_timeout, hashing: Hashing::new(cores), cores, tries: Arc::default() }
    }

    /// Whether this is the user's password. Takes as long for users that do not exist.
    pub(crate) async fn check(&self, user: &str, password: &str) -> Result<Checked, StoreError> {
        let known = self.find(user).await?;
        let is_enabled = known.as_ref().is_some_and(|user| user.is_enabled);
        let (password, hash) = (password.to_owned(), known.map(|user| user.password_hash));
        let verified = self.hashing.run(move |memory| match hash {
            Some(hash) => matches(&password, &hash, memory),
            None => {
                // Hashed for nobody, so that the time it takes does not tell who exists.
                let _ = digest(&argon2id(), &password, &[0; 16], Params::DEFAULT_OUTPUT_LEN, memory);
                false
            }
        });
        // Only who knows the password learns that the account is disabled.
        Ok(match (verified.await.unwrap_or(false), is_enabled) {
            (true, true) => Checked::Right,
            (true, false) => Checked::Disabled,
            (false, _) => Checked::Wrong,
        })
    }

    /// By what a user proves to know the password, and whether that user may log in then.
    pub(crate) async fn scram_keys(&self, user: &str) -> Result<Option<ProofKeys>, StoreError> {
        Ok(self.find(user).await?.map(|user| ProofKeys {
            is_enabled: user.is_enabled,
            keys: postrider_wire::sasl::ScramKeys {
                salt: user.scram.salt,
                iterations: user.scram.iterations,
                stored_key: user.scram.stored_key,
                server_key: user.scram.server_key,
            },
        }))
    }

    async fn find(&self, user: &str) -> Result<Option<User>, StoreError> {
        match Address::parse(user) {
            Ok(address) => in_time(self.clock.as_ref(), self.store_timeout, self.store.user(&address)).await,
            Err(_) => Ok(None),
        }
    }

    /// Waits until a log-in that began at `began_at` may be looked at, right or wrong: an answer that came at once would
    /// tell that the password is right. `None`: it would wait for too long.
    ///
    /// Guessing in parallel gains nothing. Where something has failed of late, one log-in is looked at after the other, and
    /// each waits for what has failed until its turn; where nothing has, as many are looked at together as there are cores,
    /// so that the first of them to fail slows all the others.
    pub(crate) async fn turn(&self, user: &str, peer: IpAddr, began_at: Timestamp) -> Option<Turn> {
        let suspects = suspects(user, peer);
        let put_off_at = self.clock.now() + WAIT_MAX;
        loop {
            // Made before the look at the tally, so that no end of a turn is missed.
            let ended = self.tries.ended.notified();
            let now = self.clock.now();
            let ready_at = {
                let mut tally = self.tries.lock();
                let ready_at = tally.ready_at(&suspects, began_at, now);
                if ready_at <= now && tally.begin_turn(&suspects, now, self.cores) {
                    return Some(Turn { tries: self.tries.clone(), suspects });
                }
                ready_at
            };
            if ready_at.max(now) > put_off_at {
                return None;
            }
            if ready_at > now {
                self.clock.sleep(ready_at.since(now)).await;
            } else {
                ended.await;
            }
        }
    }

    /// How often the account or the address has failed of late, whichever is worse.
    pub(crate) fn failures(&self, user: &str, peer: IpAddr) -> u32 {
        let now = self.clock.now();
        let tally = self.tries.lock();
        suspects(user, peer).iter().map(|suspect| tally.count(suspect, now)).max().unwrap_or(0)
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, user: &str, peer: IpAddr) {
        let now = self.clock.now();
        let mut tally = self.tries.lock();
        for suspect in suspects(user, peer) {
            let count = tally.count(&suspect, now).saturating_add(1);
            let failures = &mut tally.failures;
            if failures.len() >= SUSPECTS_MAX && !failures.contains_key(&suspect) {
                make_room(failures);
            }
            failures.insert(suspect, Failures { count, last_at: now });
        }
    }

    /// A log-in succeeded: the account's failures were its owner's.
    pub(crate) fn succeeded(&self, user: &str) {
        self.tries.lock().failures.remove(&Suspect::Account(user.to_ascii_lowercase()));
    }
}

impl Hashing {
    fn new(at_once_max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(at_once_max)), memories: Arc::default() }
    }

    /// Does work that hashes. `None` if it panicked.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static) -> Option<T> {
        // The permit goes with the work, which goes on where nobody waits for it any more.
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        let memories = self.memories.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut memory = memories.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let output = work(&mut memory);
            memories.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
            drop(permit);
            output
        });
        done.await.ok()
    }
}

impl Tries {
    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    /// How often a suspect has failed, as far as that is remembered.
    fn count(&self, suspect: &Suspect, now: Timestamp) -> u32 {
        let failures = self.failures.get(suspect).filter(|failures| now.since(failures.last_at) < MEMORY);
        failures.map_or(0, |failures| failures.count)
    }

    /// When a log-in has waited for the failures up to now. An address waits anew after each failure from it, so that many
    /// connections guess no faster than one. An account does not: others could lock its owner out.
    fn ready_at(&self, suspects: &[Suspect; 2], began_at: Timestamp, now: Timestamp) -> Timestamp {
        let ready_at = |suspect: &Suspect| {
            let delay = match self.count(suspect, now) {
                0 => return began_at,
                count => DELAY_FIRST.saturating_mul(2u32.saturating_pow(count - 1)).min(DELAY_MAX),
            };
            let failed_at = match (suspect, self.failures.get(suspect)) {
                // Not later than now, should the clock have been set back.
                (Suspect::Address(_), Some(failures)) => failures.last_at.min(now),
                _ => began_at,
            };
            began_at.max(failed_at) + delay
        };
        suspects.iter().map(ready_at).max().unwrap_or(began_at)
    }

    /// `false`: too many of these suspects have their turn already.
    fn begin_turn(&mut self, suspects: &[Suspect; 2], now: Timestamp, cores: usize) -> bool {
        let has_room = |suspect| {
            let turns_max = if self.count(suspect, now) == 0 { cores } else { 1 };
            self.turns.get(suspect).is_none_or(|&turns| turns < turns_max)
        };
        let begins = suspects.iter().all(has_room);
        if begins {
            for suspect in suspects {
                *self.turns.entry(suspect.clone()).or_default() += 1;
            }
        }
        begins
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut tally = self.tries.lock();
        for suspect in &self.suspects {
            if let Some(turns) = tally.turns.get_mut(suspect) {
                *turns -= 1;
                if *turns == 0 {
                    tally.turns.remove(suspect);
                }
            }
        }
        drop(tally);
        self.tries.ended.notify_waiters();
    }
}

fn suspects(user: &str, peer: IpAddr) -> [Suspect; 2] {
    [Suspect::Address(counted_address(peer)), Suspect::Account(user.to_ascii_lowercase())]
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
        let mut memory = Vec::new();
        assert!(matches("correct horse", &user.password_hash, &mut memory));
        assert!(!matches("correct horsf", &user.password_hash, &mut memory));
        assert!(matches("correct horse", &user.password_hash, &mut memory), "what was hashed before leaves no trace");
        assert!(!matches("correct horse", "no hash", &mut memory));
        assert_eq!(hash(""), Err(PasswordError::Empty));
        for (password, expected) in [
            ("", Err(PasswordError::Empty)),
            ("         ", Err(PasswordError::Empty)),
            ("seven77", Err(PasswordError::TooShort)),
            ("eight888", Ok(())),
            ("ä".repeat(8).as_str(), Ok(())),
        ] {
            assert_eq!(check_chosen(password), expected, "{password:?}");
        }
        assert_eq!(hash("a\nb"), Err(PasswordError::ControlCharacters));
    }

    #[test]
    fn a_hash_with_other_parameters_is_checked_within_bounds() {
        let salt = SaltString::encode_b64(&[7; 16]).unwrap();
        let mut memory = Vec::new();
        for (algorithm, version, memory_kib, passes, lanes, output_bytes) in [
            (Algorithm::Argon2id, Version::V0x13, 64, 1, 2, None),
            (Algorithm::Argon2i, Version::V0x10, 64, 3, 1, Some(64)),
            (Algorithm::Argon2d, Version::V0x13, 20_000, 1, 1, Some(16)),
        ] {
            let params = Params::new(memory_kib, passes, lanes, output_bytes).unwrap();
            let argon2 = Argon2::new(algorithm, version, params);
            let hash = argon2.hash_password(b"correct horse", &salt).unwrap().to_string();
            assert!(matches("correct horse", &hash, &mut memory), "{hash}");
            assert!(!matches("correct horsf", &hash, &mut memory), "{hash}");
        }
        assert_eq!(memory.len(), 64, "what needs more memory has its own");
        let (hash, _) = hash("correct horse").unwrap();
        assert!(!matches("correct horse", &hash.replace("m=19456", "m=4194304"), &mut memory), "4 GiB");
    }

    /// Memory that each thread allocates for itself, the allocator keeps for each of them.
    #[tokio::test]
    async fn passwords_are_hashed_in_the_same_memory() {
        let hashing = Hashing::new(2);
        let hash = || hashing.run(|memory| digest(&argon2id(), "x", &[0; 16], 32, memory).is_ok());
        for _ in 0..3 {
            assert_eq!(tokio::join!(hash(), hash(), hash()), (Some(true), Some(true), Some(true)));
        }
        let memories = hashing.memories.lock().unwrap();
        assert!((1..=2).contains(&memories.len()));
        assert!(memories.iter().all(|memory| memory.len() == argon2id().params().block_count()));
    }

    /// How long a log-in that begins now waits.
    fn delay(logins: &Logins, user: &str, peer: IpAddr) -> Duration {
        let now = logins.clock.now();
        logins.tries.lock().ready_at(&suspects(user, peer), now, now).since(now)
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
        let logins = Logins::new(Arc::new(store), Arc::new(crate::clock::SystemClock), Duration::from_secs(1));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (here, same_network, elsewhere) = (address("2001:db8::1"), address("2001:db8::2:1"), address("192.0.2.1"));
        assert_eq!(delay(&logins, "user", here), Duration::ZERO);
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            logins.failed("user", here);
            assert_eq!(delay(&logins, "USER", elsewhere), Duration::from_secs(expected));
            assert_eq!(delay(&logins, "other", same_network), Duration::from_secs(expected));
        }
        assert_eq!(delay(&logins, "other", elsewhere), Duration::ZERO);
        assert_eq!(delay(&logins, "other", address("2001:db8:0:1::1")), Duration::ZERO);
        logins.succeeded("user");
        assert_eq!(delay(&logins, "user", elsewhere), Duration::ZERO);
        assert_eq!(delay(&logins, "user", here), Duration::from_secs(30), "the network has still to prove itself");
    }

    /// Inventing names does not make the server forget whom it slows.
    #[tokio::test]
    async fn who_goes_on_guessing_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let options = postrider_store::sqlite::SqliteOptions::new(folder.path());
        let store = postrider_store::SqliteStore::open(options).unwrap();
        let logins = Logins::new(Arc::new(store), Arc::new(crate::clock::SystemClock), Duration::from_secs(1));
        logins.tries.lock().failures = failures(1, (0..SUSPECTS_MAX).map(|_| 0));
        let guesser = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            logins.failed("user", guesser);
        }
        assert_eq!(delay(&logins, "user", guesser), Duration::from_secs(4));
    }
}
