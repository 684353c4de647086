//! Certificates by ACME, kept as notes so that all nodes show the same one: accounts, certificates with their keys, what is
//! shown to the authority, and whose turn it is to ask for a new certificate. The server and the command line both come here,
//! so that they agree.
//!
//! It asks no authority and answers none.

use std::time::Duration;

use postrider_core::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dkim::PrivateKey;
use crate::error::StoreError;
use crate::traits::Store;

/// What the notes' keys begin with. For these two the names of the certificate follow.
const CERTIFICATE_PREFIX: &str = "acme/certificate/";
const ORDERS_PREFIX: &str = "acme/orders/";
/// The URL of the authority's directory follows.
const ACCOUNT_PREFIX: &str = "acme/account/";
/// The kind of challenge and what it is asked for by follow.
const CHALLENGE_PREFIX: &str = "acme/challenge/";

/// The account of this installation with one authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcmeAccount {
    /// Its URL.
    pub id: String,
    /// ECDSA on P-256.
    pub private_key: PrivateKey,
    /// Where the authority may write to.
    pub contact: Option<String>,
}

impl AcmeAccount {
    pub async fn find(store: &dyn Store, directory_url: &str) -> Result<Option<Self>, StoreError> {
        Ok(read(store, &account_key(directory_url)).await?.map(|(account, _)| account))
    }

    /// Keeps it in place of the one that may be there.
    pub async fn keep(&self, store: &dyn Store, directory_url: &str) -> Result<(), StoreError> {
        replace(store, &account_key(directory_url), self).await
    }

    pub async fn forget(store: &dyn Store, directory_url: &str) -> Result<(), StoreError> {
        store.remove_note(&account_key(directory_url)).await.map(|_| ())
    }
}

/// A certificate that an authority has given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcmeCertificate {
    /// From which authority.
    pub directory_url: String,
    /// PEM, its own certificate first.
    pub chain: String,
    pub private_key: PrivateKey,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// From when on it is to be replaced.
    pub renew_at: Timestamp,
}

impl AcmeCertificate {
    /// The certificate for these names, with the version of its note, which every change raises.
    pub async fn find(store: &dyn Store, domains: &[String]) -> Result<Option<(Self, u64)>, StoreError> {
        read(store, &of_domains(CERTIFICATE_PREFIX, domains)).await
    }

    /// All that are kept, for whatever names. One that cannot be read is left out.
    pub async fn all(store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        let notes = store.notes(CERTIFICATE_PREFIX).await?;
        Ok(notes.iter().filter_map(|note| parse(&note.key, &note.value).ok()).collect())
    }

    /// Takes away those that ended before `then`: of names that are not asked for any more.
    pub async fn forget_ended(store: &dyn Store, then: Timestamp) -> Result<(), StoreError> {
        for note in store.notes(CERTIFICATE_PREFIX).await? {
            if parse::<Self>(&note.key, &note.value).is_ok_and(|kept| kept.not_after < then) {
                store.remove_note(&note.key).await?;
            }
        }
        Ok(())
    }

    /// Keeps it in place of the one that may be there.
    pub async fn keep(&self, store: &dyn Store, domains: &[String]) -> Result<(), StoreError> {
        replace(store, &of_domains(CERTIFICATE_PREFIX, domains), self).await
    }
}

/// How it goes with asking for a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcmeOrders {
    /// Who asks now.
    turn: Option<Turn>,
    /// Of the last time, if that failed.
    pub failure: Option<AcmeFailure>,
    /// What the authority wants, once it was asked.
    #[serde(default)]
    pub renewal: Option<AcmeRenewal>,
}

/// When the authority wants a certificate renewed (RFC 9773).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcmeRenewal {
    /// The certificate that this is about, as section 4.1 names it.
    pub certificate: String,
    /// From when to when; `None` where the authority says nothing.
    pub window: Option<(Timestamp, Timestamp)>,
    /// The moment in the window that was chosen.
    pub at: Option<Timestamp>,
    /// When the authority is asked again.
    pub ask_again_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Turn {
    node: String,
    until: Timestamp,
}

/// Why there is no new certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcmeFailure {
    /// Without a success between.
    pub count: u32,
    pub at: Timestamp,
    pub error: String,
    /// Nobody tries before this time unless asked to.
    pub retry_at: Timestamp,
    /// Nobody tries before this time at all: the authority wants it so.
    pub barred_until: Option<Timestamp>,
}

impl AcmeFailure {
    /// Whether it is too early to try again. `is_urgent`: somebody asks for it.
    fn bars(&self, is_urgent: bool, now: Timestamp) -> bool {
        self.barred_until.is_some_and(|until| until > now) || (!is_urgent && self.retry_at > now)
    }
}

/// The right to ask for a certificate, which one node has at a time. It ends by itself with its lease.
#[derive(Debug)]
#[must_use]
pub struct AcmeTurn {
    key: String,
    orders: AcmeOrders,
    version: u64,
}

impl AcmeOrders {
    /// How it goes with the certificate for these names.
    pub async fn find(store: &dyn Store, domains: &[String]) -> Result<Self, StoreError> {
        Ok(read(store, &of_domains(ORDERS_PREFIX, domains)).await?.map(|(orders, _)| orders).unwrap_or_default())
    }

    /// Takes the turn for `node` if nobody has it and the time for the next try has come. `is_urgent`: also before that time,
    /// unless the authority forbids it.
    pub async fn take_turn(
        store: &dyn Store,
        domains: &[String],
        node: &str,
        now: Timestamp,
        lease: Duration,
        is_urgent: bool,
    ) -> Result<Option<AcmeTurn>, StoreError> {
        let key = of_domains(ORDERS_PREFIX, domains);
        let (mut orders, version) = read::<Self>(store, &key).await?.unwrap_or_default();
        if orders.turn.as_ref().is_some_and(|turn| turn.until > now && turn.node != node)
            || orders.failure.as_ref().is_some_and(|failure| failure.bars(is_urgent, now))
        {
            return Ok(None);
        }
        orders.turn = Some(Turn { node: node.to_owned(), until: now + lease });
        let is_taken = store.put_note(&key, text(&orders), version).await?;
        Ok(is_taken.then(|| AcmeTurn { key, orders, version: version + 1 }))
    }
}

impl AcmeTurn {
    /// Of the tries before this one, how many failed without a success between.
    pub fn failures(&self) -> u32 {
        self.orders.failure.as_ref().map_or(0, |failure| failure.count)
    }

    /// How it went until now.
    pub fn orders(&self) -> &AcmeOrders {
        &self.orders
    }

    /// Gives the turn back with what the authority wants.
    pub async fn end_asking(self, store: &dyn Store, renewal: AcmeRenewal) -> Result<(), StoreError> {
        let orders = AcmeOrders { turn: None, renewal: Some(renewal), failure: self.orders.failure };
        store.put_note(&self.key, text(&orders), self.version).await.map(|_| ())
    }

    /// Gives the turn back after a try. Without effect where it had ended already and another node has it.
    pub async fn end(self, store: &dyn Store, failure: Option<AcmeFailure>) -> Result<(), StoreError> {
        let orders = AcmeOrders { turn: None, failure, renewal: self.orders.renewal };
        store.put_note(&self.key, text(&orders), self.version).await.map(|_| ())
    }

    /// Gives the turn back without having tried.
    pub async fn give_back(self, store: &dyn Store) -> Result<(), StoreError> {
        let failure = self.orders.failure.clone();
        self.end(store, failure).await
    }
}

/// What an authority is shown, and how it asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKey<'a> {
    /// The token in the path (RFC 8555 section 8.3).
    Token(&'a str),
    /// The name that is certified, in lower case (RFC 8737 section 3).
    Domain(&'a str),
}

impl ChallengeKey<'_> {
    fn note_key(self) -> String {
        match self {
            Self::Token(token) => format!("{CHALLENGE_PREFIX}http-01/{token}"),
            Self::Domain(domain) => format!("{CHALLENGE_PREFIX}tls-alpn-01/{domain}"),
        }
    }
}

/// What is shown to an authority while it looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcmeChallenge {
    /// RFC 8555 section 8.1. No secret: whoever asks is shown it.
    pub key_authorization: String,
    /// When it is of no more use.
    pub until: Timestamp,
}

impl AcmeChallenge {
    pub async fn find(store: &dyn Store, key: ChallengeKey<'_>) -> Result<Option<Self>, StoreError> {
        Ok(read(store, &key.note_key()).await?.map(|(challenge, _)| challenge))
    }

    /// Lets every node show it.
    pub async fn publish(&self, store: &dyn Store, key: ChallengeKey<'_>) -> Result<(), StoreError> {
        replace(store, &key.note_key(), self).await
    }

    pub async fn withdraw(store: &dyn Store, key: ChallengeKey<'_>) -> Result<(), StoreError> {
        store.remove_note(&key.note_key()).await.map(|_| ())
    }

    /// Takes away what nodes left behind that died while they asked.
    pub async fn withdraw_old(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        for note in store.notes(CHALLENGE_PREFIX).await? {
            if parse::<Self>(&note.key, &note.value).map_or(true, |challenge| challenge.until <= now) {
                store.remove_note(&note.key).await?;
            }
        }
        Ok(())
    }
}

fn account_key(directory_url: &str) -> String {
    format!("{ACCOUNT_PREFIX}{directory_url}")
}

/// The same for all orders of the same names.
fn of_domains(prefix: &str, domains: &[String]) -> String {
    let mut names: Vec<&str> = domains.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    format!("{prefix}{}", names.join(","))
}

async fn read<T: DeserializeOwned>(store: &dyn Store, key: &str) -> Result<Option<(T, u64)>, StoreError> {
    let Some(note) = store.note(key).await? else { return Ok(None) };
    Ok(Some((parse(key, &note.value)?, note.version)))
}

fn parse<T: DeserializeOwned>(key: &str, value: &str) -> Result<T, StoreError> {
    // The parser's own words could show a piece of a key.
    serde_json::from_str(value).map_err(|_| StoreError::Corrupt(format!("the note {key} cannot be read")))
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// How often a note is written anew that others change at the same time.
const WRITES_MAX: usize = 8;

async fn replace(store: &dyn Store, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
    for _ in 0..WRITES_MAX {
        let version = store.note(key).await?.map_or(0, |note| note.version);
        if store.put_note(key, text(value), version).await? {
            return Ok(());
        }
    }
    Err(StoreError::Overloaded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SqliteOptions, SqliteStore};

    const LEASE: Duration = Duration::from_secs(600);

    fn store() -> (tempfile::TempDir, SqliteStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
        (folder, store)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[tokio::test]
    async fn one_node_at_a_time_has_the_turn() {
        let (_folder, store) = store();
        let now = Timestamp::from_millis(1_795_354_780_123);
        let domains = names(&["b.example", "a.example"]);
        let take =
            async |node: &str, now| AcmeOrders::take_turn(&store, &domains, node, now, LEASE, false).await.unwrap();
        let first = take("first", now).await.unwrap();
        assert!(take("second", now + LEASE / 2).await.is_none());
        // The order of names makes no difference; other names do.
        let same = names(&["a.example", "b.example"]);
        assert!(AcmeOrders::take_turn(&store, &same, "second", now, LEASE, false).await.unwrap().is_none());
        let other = names(&["a.example"]);
        assert!(AcmeOrders::take_turn(&store, &other, "second", now, LEASE, false).await.unwrap().is_some());

        // Who comes back late does not end the turn of another.
        let second = take("second", now + LEASE).await.unwrap();
        first.end(&store, None).await.unwrap();
        assert!(take("third", now + LEASE).await.is_none());
        let retry_at = now + LEASE * 3;
        let mut failure = AcmeFailure { count: 1, at: now, error: "no".to_owned(), retry_at, barred_until: None };
        second.end(&store, Some(failure.clone())).await.unwrap();
        assert!(take("third", now + LEASE * 2).await.is_none(), "its time has not come");
        let third = take("third", now + LEASE * 3).await.unwrap();
        assert_eq!(third.failures(), 1);
        third.give_back(&store).await.unwrap();
        let urgent =
            AcmeOrders::take_turn(&store, &domains, "third", now + LEASE * 2, LEASE, true).await.unwrap().unwrap();
        failure.barred_until = Some(now + LEASE * 3);
        urgent.end(&store, Some(failure.clone())).await.unwrap();
        let urgent = AcmeOrders::take_turn(&store, &domains, "third", now + LEASE * 2, LEASE, true).await.unwrap();
        assert!(urgent.is_none(), "the authority forbids it");
        assert_eq!(
            AcmeOrders::find(&store, &domains).await.unwrap(),
            AcmeOrders { turn: None, failure: Some(failure.clone()), renewal: None }
        );
    }

    #[tokio::test]
    async fn what_is_kept_is_found_and_shows_no_key() {
        let (_folder, store) = store();
        let now = Timestamp::from_millis(1_795_354_780_123);
        let domains = names(&["mx.example.org"]);
        let mut certificate = AcmeCertificate {
            directory_url: "https://acme.test/directory".to_owned(),
            chain: "chain".to_owned(),
            private_key: PrivateKey("private".to_owned()),
            not_before: now,
            not_after: now + LEASE,
            renew_at: now,
        };
        certificate.keep(&store, &domains).await.unwrap();
        certificate.chain = "another".to_owned();
        certificate.keep(&store, &domains).await.unwrap();
        assert_eq!(AcmeCertificate::find(&store, &domains).await.unwrap(), Some((certificate.clone(), 2)));
        assert!(!format!("{certificate:?}").contains("private\""));
        AcmeCertificate::forget_ended(&store, certificate.not_after).await.unwrap();
        assert_eq!(AcmeCertificate::all(&store).await.unwrap(), [certificate.clone()]);
        AcmeCertificate::forget_ended(&store, certificate.not_after + LEASE).await.unwrap();
        assert_eq!(AcmeCertificate::all(&store).await.unwrap(), []);

        let account = AcmeAccount { id: "1".to_owned(), private_key: PrivateKey("private".to_owned()), contact: None };
        account.keep(&store, "https://acme.test/directory").await.unwrap();
        assert_eq!(AcmeAccount::find(&store, "https://acme.test/directory").await.unwrap(), Some(account));
        AcmeAccount::forget(&store, "https://acme.test/directory").await.unwrap();
        assert_eq!(AcmeAccount::find(&store, "https://acme.test/directory").await.unwrap(), None);

        let challenge = AcmeChallenge { key_authorization: "token.thumb".to_owned(), until: now + LEASE };
        challenge.publish(&store, ChallengeKey::Token("token")).await.unwrap();
        assert_eq!(AcmeChallenge::find(&store, ChallengeKey::Domain("token")).await.unwrap(), None);
        AcmeChallenge::withdraw_old(&store, now).await.unwrap();
        assert_eq!(AcmeChallenge::find(&store, ChallengeKey::Token("token")).await.unwrap(), Some(challenge));
        AcmeChallenge::withdraw_old(&store, now + LEASE).await.unwrap();
        assert_eq!(AcmeChallenge::find(&store, ChallengeKey::Token("token")).await.unwrap(), None);
    }
}
