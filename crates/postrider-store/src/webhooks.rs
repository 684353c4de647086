//! Who is called by webhook, kept as notes so that all nodes know: where, for which events, and with which secret the calls are
//! signed. The command line, the API and the server all come here, so that they agree.
//!
//! It calls nobody.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postrider_core::{Domain, ObjectId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::records::{EndpointId, EventKind};
use crate::traits::Store;

/// What the notes' keys begin with; the endpoint's id follows.
const NOTE_PREFIX: &str = "webhook/";

/// Endpoints at most.
pub const ENDPOINTS_MAX: usize = 1_000;

/// How long calls are signed with the secret before, too.
pub const OLD_SECRET_SIGNS: Duration = Duration::from_secs(24 * 3600);

/// How a secret begins that is base64 (Standard Webhooks).
pub const SECRET_PREFIX: &str = "whsec_";

/// Of a secret that is made here.
const SECRET_BYTES: usize = 32;

/// Whoever is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub settings: EndpointSettings,
    /// The one that signs, first, and the one before it for as long as it does.
    secrets: Vec<Secret>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Of the note; 0 for one that is not there.
    version: u64,
}

/// What of an endpoint may be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSettings {
    /// `http` or `https`.
    pub url: String,
    #[serde(default)]
    pub description: String,
    /// Of which it is told; empty: of all.
    #[serde(default)]
    pub kinds: Vec<EventKind>,
    /// Only of e-mails from or to these domains; empty: of all.
    #[serde(default)]
    pub domains: Vec<Domain>,
    /// Only of e-mails with one of these tags; empty: of all.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its calls wait until it is resumed.
    #[serde(default)]
    pub is_paused: bool,
}

/// What an endpoint may ask about an e-mail.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub kind: EventKind,
    pub domains: &'a [Domain],
    pub tags: &'a [String],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Secret {
    secret: WebhookSecret,
    /// `None` for the one that signs until it is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

/// A secret by which calls are signed. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebhookSecret(pub String);

impl WebhookSecret {
    /// A new one.
    pub fn generate() -> Result<Self, StoreError> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|error| StoreError::Unavailable(format!("the system has no random numbers: {error}")))?;
        Ok(Self(format!("{SECRET_PREFIX}{}", BASE64.encode(bytes))))
    }

    /// The key: what follows `whsec_` decoded, or else the bytes of the text.
    pub fn key(&self) -> Vec<u8> {
        let decoded = self.0.strip_prefix(SECRET_PREFIX).and_then(|text| BASE64.decode(text).ok());
        decoded.unwrap_or_else(|| self.0.as_bytes().to_vec())
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why an endpoint was not changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("there are {ENDPOINTS_MAX} endpoints already")]
    TooMany,
    #[error("the endpoint was changed by somebody else at the same time; try again")]
    Changed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The contents of a note.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(flatten)]
    settings: EndpointSettings,
    secrets: Vec<Secret>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Endpoint {
    /// An endpoint that is kept nowhere yet.
    pub fn new(id: EndpointId, settings: EndpointSettings, secret: Option<WebhookSecret>, now: Timestamp) -> Self {
        let secrets = secret.into_iter().map(|secret| Secret { secret, until: None }).collect();
        Self { id, settings, secrets, created_at: now, updated_at: now, version: 0 }
    }

    /// All endpoints, the oldest first.
    pub async fn all(store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        store.notes(NOTE_PREFIX).await?.into_iter().map(read).collect()
    }

    pub async fn find(store: &dyn Store, id: EndpointId) -> Result<Option<Self>, StoreError> {
        store.note(&note_key(id)).await?.map(read).transpose()
    }

    /// Keeps it as it is now.
    pub async fn save(&mut self, store: &dyn Store, now: Timestamp) -> Result<(), EndpointError> {
        if self.version == 0 && store.notes(NOTE_PREFIX).await?.len() >= ENDPOINTS_MAX {
            return Err(EndpointError::TooMany);
        }
        self.updated_at = now;
        let record = Record {
            settings: self.settings.clone(),
            secrets: self.secrets.clone(),
            created_at: self.created_at,
            updated_at: now,
        };
        let value = serde_json::to_string(&record)
            .map_err(|error| StoreError::Corrupt(format!("an endpoint cannot be written: {error}")))?;
        if !store.put_note(&note_key(self.id), value, self.version).await? {
            return Err(EndpointError::Changed);
        }
        self.version += 1;
        Ok(())
    }

    /// Forgets it, and what it is still to be told; `false` if there is none.
    pub async fn remove(store: &dyn Store, id: EndpointId) -> Result<bool, StoreError> {
        let is_removed = store.remove_note(&note_key(id)).await?;
        store.drop_calls(id).await?;
        Ok(is_removed)
    }

    /// Signs with another secret from now on, and with the last one too for [`OLD_SECRET_SIGNS`].
    pub fn rotate(&mut self, secret: WebhookSecret, now: Timestamp) {
        self.secrets.truncate(1);
        for old in &mut self.secrets {
            old.until = Some(now + OLD_SECRET_SIGNS);
        }
        self.secrets.insert(0, Secret { secret, until: None });
    }

    /// The secrets that sign now, the newest first.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = &WebhookSecret> {
        self.secrets
            .iter()
            .filter(move |secret| secret.until.is_none_or(|until| now < until))
            .map(|secret| &secret.secret)
    }

    /// Whether it wants to hear of this.
    pub fn wants(&self, subject: &Subject<'_>) -> bool {
        let EndpointSettings { kinds, domains, tags, .. } = &self.settings;
        (kinds.is_empty() || kinds.contains(&subject.kind))
            && (domains.is_empty() || domains.iter().any(|domain| subject.domains.contains(domain)))
            && (tags.is_empty() || tags.iter().any(|tag| subject.tags.contains(tag)))
    }
}

fn note_key(id: EndpointId) -> String {
    format!("{NOTE_PREFIX}{id}")
}

fn read(note: crate::Note) -> Result<Endpoint, StoreError> {
    // The parser's own words could show a piece of a secret.
    let damaged = || StoreError::Corrupt(format!("note {} is no endpoint", note.key));
    let id: ObjectId = note.key[NOTE_PREFIX.len()..].parse().map_err(|_| damaged())?;
    let Record { settings, secrets, created_at, updated_at } =
        serde_json::from_str(&note.value).map_err(|_| damaged())?;
    Ok(Endpoint { id, settings, secrets, created_at, updated_at, version: note.version })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn settings() -> EndpointSettings {
        EndpointSettings {
            url: "https://hooks.example/a".into(),
            description: String::new(),
            kinds: Vec::new(),
            domains: Vec::new(),
            tags: Vec::new(),
            is_paused: false,
        }
    }

    fn wants(settings: EndpointSettings) -> bool {
        let subject = Subject {
            kind: EventKind::Failed,
            domains: &["a.example".parse().unwrap(), "b.example".parse().unwrap()],
            tags: &["news".to_owned()],
        };
        Endpoint::new(ObjectId::default(), settings, None, NOW).wants(&subject)
    }

    #[test]
    fn an_endpoint_hears_what_it_asks_for() {
        assert!(wants(settings()));
        assert!(wants(EndpointSettings { kinds: vec![EventKind::Delivered, EventKind::Failed], ..settings() }));
        assert!(!wants(EndpointSettings { kinds: vec![EventKind::Delivered], ..settings() }));
        assert!(wants(EndpointSettings { domains: vec!["b.example".parse().unwrap()], ..settings() }));
        assert!(!wants(EndpointSettings { domains: vec!["example".parse().unwrap()], ..settings() }));
        assert!(wants(EndpointSettings { tags: vec!["news".into(), "x".into()], ..settings() }));
        assert!(!wants(EndpointSettings { tags: vec!["x".into()], ..settings() }));
    }

    #[test]
    fn a_secret_that_is_replaced_signs_for_a_day() {
        let mut endpoint = Endpoint::new(ObjectId::default(), settings(), Some(WebhookSecret("one".into())), NOW);
        endpoint.rotate(WebhookSecret("two".into()), NOW);
        let signing = |endpoint: &Endpoint, at| endpoint.secrets(at).map(|secret| secret.0.clone()).collect::<Vec<_>>();
        assert_eq!(signing(&endpoint, NOW), ["two", "one"]);
        assert_eq!(signing(&endpoint, NOW + OLD_SECRET_SIGNS), ["two"]);
        endpoint.rotate(WebhookSecret("three".into()), NOW);
        assert_eq!(signing(&endpoint, NOW), ["three", "two"]);
        assert!(!format!("{endpoint:?}").contains("two"));
    }

    #[test]
    fn keys_of_secrets() {
        assert_eq!(WebhookSecret("whsec_AQID".into()).key(), [1, 2, 3]);
        assert_eq!(WebhookSecret("plain".into()).key(), b"plain");
        assert_eq!(WebhookSecret::generate().unwrap().key().len(), SECRET_BYTES);
    }
}
