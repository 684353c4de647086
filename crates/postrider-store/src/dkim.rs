//! DKIM keys of domains, kept as notes so that all nodes sign with them: which pairs there are, which one signs, and how one
//! follows another. The command line, the API and the server all come here, so that they agree.
//!
//! It makes no keys and signs nothing; it asks no DNS.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use postrider_core::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::traits::Store;

/// What the notes' keys begin with; the domain follows.
const NOTE_PREFIX: &str = "dkim/";

/// How long the records of keys that do not sign any more are to stay in DNS: longer than mail is under way.
pub const OLD_RECORDS_STAY: Duration = Duration::from_secs(7 * 24 * 3600);

/// The keys of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimKeys {
    pub domain: Domain,
    /// The oldest first; two at most.
    pairs: Vec<DkimPair>,
    /// Of the note; 0 for one that is not there.
    version: u64,
}

/// Two keys that sign together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DkimPair {
    pub created_at: Timestamp,
    /// `None`: once its records are found in DNS.
    pub signs_from: Option<Timestamp>,
    pub ed25519: DkimKey,
    pub rsa: DkimKey,
}

/// One key, under a selector of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DkimKey {
    pub selector: String,
    /// As it stands in DNS: base64.
    pub public_key: String,
    pub private_key: PrivateKey,
}

/// A private key, PKCS #8 in base64. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(pub String);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a pair does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DkimState {
    /// It signs what is sent now.
    Signing,
    /// It signs as soon as it is published, or when its time has come.
    Waiting,
    /// It has signed: its records stay for mail that is under way.
    Retired,
}

/// Why keys were not changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DkimError {
    #[error("the keys of {0} are being replaced already: those that were made last do not sign yet")]
    Waiting(Domain),
    #[error("the keys of {0} were changed by somebody else at the same time; try again")]
    Changed(Domain),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The contents of a note.
#[derive(Serialize, Deserialize)]
struct Record {
    pairs: Vec<DkimPair>,
}

impl DkimKeys {
    /// A domain without keys.
    fn none(domain: &Domain) -> Self {
        Self { domain: domain.clone(), pairs: Vec::new(), version: 0 }
    }

    /// The keys of a domain; `None` where it has none of its own.
    pub async fn find(store: &dyn Store, domain: &Domain) -> Result<Option<Self>, StoreError> {
        let Some(note) = store.note(&note_key(domain)).await? else { return Ok(None) };
        Self::read(domain.clone(), &note.value, note.version).map(Some)
    }

    /// The keys of all domains that have some.
    pub async fn all(store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        let read = |note: crate::Note| {
            let domain = Domain::parse(&note.key[NOTE_PREFIX.len()..])
                .map_err(|error| StoreError::Corrupt(format!("note {}: {error}", note.key)))?;
            Self::read(domain, &note.value, note.version)
        };
        store.notes(NOTE_PREFIX).await?.into_iter().map(read).collect()
    }

    /// Forgets a domain's keys for good; `false` if it had none.
    pub async fn remove(store: &dyn Store, domain: &Domain) -> Result<bool, StoreError> {
        store.remove_note(&note_key(domain)).await
    }

    fn read(domain: Domain, value: &str, version: u64) -> Result<Self, StoreError> {
        // The parser's own words could show a piece of a key.
        let record: Record = serde_json::from_str(value)
            .map_err(|_| StoreError::Corrupt(format!("the DKIM keys of {domain} cannot be read")))?;
        Ok(Self { domain, pairs: record.pairs, version })
    }

    /// All pairs with what they do at this time, the oldest first.
    pub fn pairs(&self, now: Timestamp) -> Vec<(DkimState, &DkimPair)> {
        // The oldest signs where no other does, whatever the clock says of it.
        let signing = self.pairs.iter().rposition(|pair| pair.signs_at(now)).unwrap_or(0);
        let state = |index: usize| match index.cmp(&signing) {
            Ordering::Equal => DkimState::Signing,
            Ordering::Less => DkimState::Retired,
            Ordering::Greater => DkimState::Waiting,
        };
        self.pairs.iter().enumerate().map(|(index, pair)| (state(index), pair)).collect()
    }

    fn of_state(&self, wanted: DkimState, now: Timestamp) -> Option<&DkimPair> {
        self.pairs(now).into_iter().find(|(state, _)| *state == wanted).map(|(_, pair)| pair)
    }

    /// The pair that signs at this time.
    pub fn signing(&self, now: Timestamp) -> Option<&DkimPair> {
        self.of_state(DkimState::Signing, now)
    }

    /// The pair that does not sign yet.
    pub fn waiting(&self, now: Timestamp) -> Option<&DkimPair> {
        self.of_state(DkimState::Waiting, now)
    }

    /// Which of a domain's changes this is: other keys, or another time for them, have another number.
    pub fn version(&self) -> u64 {
        self.version
    }

    async fn save(&mut self, store: &dyn Store) -> Result<(), DkimError> {
        let value = serde_json::to_string(&Record { pairs: self.pairs.clone() }).unwrap_or_default();
        if !store.put_note(&note_key(&self.domain), value, self.version).await? {
            return Err(DkimError::Changed(self.domain.clone()));
        }
        self.version += 1;
        Ok(())
    }
}

impl DkimPair {
    fn signs_at(&self, now: Timestamp) -> bool {
        self.signs_from.is_some_and(|from| from <= now)
    }

    /// Both keys, Ed25519 first.
    pub fn keys(&self) -> [&DkimKey; 2] {
        [&self.ed25519, &self.rsa]
    }

    /// The names and contents of the TXT records that publish the pair (RFC 6376 section 3.6.1, RFC 8463 section 4).
    pub fn records(&self, domain: &Domain) -> [(String, String); 2] {
        let record = |key: &DkimKey, kind: &str| {
            (format!("{}._domainkey.{domain}", key.selector), format!("v=DKIM1; k={kind}; p={}", key.public_key))
        };
        [record(&self.ed25519, "ed25519"), record(&self.rsa, "rsa")]
    }
}

/// Adds a pair that takes over from the one that signs: at `signs_from`, or with `None` once it is published; a domain's first
/// pair signs at once. `make` makes it, from the beginning of its selectors. Pairs that have signed before are forgotten.
///
/// [`DkimError::Waiting`] if there is one already that does not sign yet.
pub async fn add_pair(
    store: &dyn Store,
    domain: &Domain,
    signs_from: Option<Timestamp>,
    now: Timestamp,
    make: impl FnOnce(&str) -> (DkimKey, DkimKey),
) -> Result<DkimKeys, DkimError> {
    let mut keys = DkimKeys::find(store, domain).await?.unwrap_or_else(|| DkimKeys::none(domain));
    if keys.waiting(now).is_some() {
        return Err(DkimError::Waiting(domain.clone()));
    }
    let signing = keys.signing(now).cloned();
    let (ed25519, rsa) = make(&selector_stem(&keys, now));
    let signs_from = if signing.is_none() { Some(now) } else { signs_from };
    keys.pairs = signing.into_iter().chain([DkimPair { created_at: now, signs_from, ed25519, rsa }]).collect();
    keys.save(store).await?;
    Ok(keys)
}

/// Lets the pair that waits sign from now on. Nothing where none waits.
pub async fn activate(store: &dyn Store, keys: &mut DkimKeys, now: Timestamp) -> Result<(), DkimError> {
    if keys.waiting(now).is_none() {
        return Ok(());
    }
    if let Some(last) = keys.pairs.last_mut() {
        last.signs_from = Some(now);
    }
    keys.save(store).await
}

/// The day, and a letter where the day had keys before: no selector comes twice, for its old record may still be cached.
fn selector_stem(keys: &DkimKeys, now: Timestamp) -> String {
    let day: String = now.to_rfc3339().chars().take("2026-11-26".len()).filter(char::is_ascii_digit).collect();
    let last = keys.pairs.last().and_then(|pair| pair.ed25519.selector.split('-').next());
    let Some(letters) = last.and_then(|stem| stem.strip_prefix(&day)) else { return day };
    match letters.chars().last() {
        None => format!("{day}b"),
        Some('z') => format!("{day}{letters}b"),
        Some(letter) => {
            let kept = &letters[..letters.len() - letter.len_utf8()];
            format!("{day}{kept}{}", char::from_u32(letter as u32 + 1).unwrap_or('b'))
        }
    }
}

fn note_key(domain: &Domain) -> String {
    format!("{NOTE_PREFIX}{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SqliteOptions, SqliteStore};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn make(stem: &str) -> (DkimKey, DkimKey) {
        let key = |kind: &str| DkimKey {
            selector: format!("{stem}-{kind}"),
            public_key: "public".to_owned(),
            private_key: PrivateKey("private".to_owned()),
        };
        (key("ed25519"), key("rsa"))
    }

    fn stems(keys: &DkimKeys, now: Timestamp) -> Vec<(DkimState, String)> {
        let stem = |pair: &DkimPair| pair.rsa.selector.trim_end_matches("-rsa").to_owned();
        keys.pairs(now).into_iter().map(|(state, pair)| (state, stem(pair))).collect()
    }

    #[tokio::test]
    async fn one_pair_follows_another() {
        use DkimState::{Retired, Signing, Waiting};

        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
        let domain: Domain = "example.org".parse().unwrap();
        let now = Timestamp::from_millis(1_795_354_780_123);
        assert_eq!(DkimKeys::find(&store, &domain).await.unwrap(), None);

        add_pair(&store, &domain, None, now, make).await.unwrap();
        let mut keys = add_pair(&store, &domain, None, now, make).await.unwrap();
        let day = "20261122".to_owned();
        assert_eq!(stems(&keys, now + DAY), [(Signing, day.clone()), (Waiting, format!("{day}b"))]);
        let refused = add_pair(&store, &domain, None, now, make).await;
        assert_eq!(refused, Err(DkimError::Waiting(domain.clone())));

        activate(&store, &mut keys, now + DAY).await.unwrap();
        let mut keys = DkimKeys::find(&store, &domain).await.unwrap().unwrap();
        assert_eq!(stems(&keys, now + DAY), [(Retired, day.clone()), (Signing, format!("{day}b"))]);
        assert_eq!(keys.signing(now + DAY).unwrap().records(&domain)[0].0, "20261122b-ed25519._domainkey.example.org");

        // A third on the same day, with a time of its own.
        let at = now + DAY * 3;
        keys = add_pair(&store, &domain, Some(at), now + DAY, make).await.unwrap();
        assert_eq!(stems(&keys, at), [(Retired, format!("{day}b")), (Signing, "20261123".to_owned())]);
        assert_eq!(keys.waiting(now + DAY).map(|pair| pair.signs_from), Some(Some(at)));
        keys = add_pair(&store, &domain, None, at + DAY, make).await.unwrap();
        assert_eq!(selector_stem(&keys, at + DAY), "20261126b");

        assert_eq!(DkimKeys::all(&store).await.unwrap(), [keys.clone()]);
        let mut late = DkimKeys { version: 1, ..keys.clone() };
        assert_eq!(activate(&store, &mut late, at + DAY).await, Err(DkimError::Changed(domain.clone())));
        assert!(!format!("{keys:?}").contains("private\""));
        assert!(DkimKeys::remove(&store, &domain).await.unwrap());
        assert!(!DkimKeys::remove(&store, &domain).await.unwrap());
    }
}
