//! Sessions of people in browsers: begun with a token, ended by signing out, by time, or with the token that they were begun with.
//!
//! They are notes in the store, so that every node knows them and a restart ends none. Of a session's secret only a digest is kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use postrider_core::Timestamp;
use postrider_store::tokens::TokenId;
use postrider_store::{Store, StoreError};
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

/// What the notes' keys begin with; the digest of the session's secret follows.
const NOTE_PREFIX: &str = "session/";

const COOKIE_NAME: &str = "postrider_session";

const SECRET_BYTES: usize = 32;

/// A session ends after this time, whatever is done in it: about a working day.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// Requests that change something and come with a session's cookie say this too: no page of another origin knows it.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";

/// The secret of a session, as its cookie has it. `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct SessionSecret(String);

/// With what somebody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Began {
    ApiToken,
    Token(TokenId),
}

/// The contents of a note.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// `None`: it was begun with `API_TOKEN`.
    token: Option<TokenId>,
    /// Stands for the `API_TOKEN` of then: another one ends the session.
    #[serde(default)]
    proof: Option<String>,
    expires_at: Timestamp,
}

/// All sessions.
pub(super) struct Sessions {
    store: Arc<dyn Store>,
    api_token: Option<String>,
}

impl Sessions {
    pub(super) fn new(store: Arc<dyn Store>, api_token: Option<&str>) -> Self {
        Self { store, api_token: api_token.map(str::to_owned) }
    }

    /// Begins one, and forgets those whose time is over.
    pub(super) async fn begin(&self, with: Began, now: Timestamp) -> Result<SessionSecret, StoreError> {
        let mut bytes = [0; SECRET_BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| StoreError::Unavailable("the system has no random numbers".to_owned()))?;
        let secret = SessionSecret(hex(&bytes));
        let (token, proof) = match with {
            Began::ApiToken => (None, self.proof(&secret)),
            Began::Token(token) => (Some(token), None),
        };
        let record = Record { token, proof, expires_at: now + LIFETIME };
        let value = serde_json::to_string(&record)
            .map_err(|error| StoreError::Corrupt(format!("a session cannot be written: {error}")))?;
        self.sweep(now).await?;
        self.store.put_note(&secret.key(), value, 0).await?;
        Ok(secret)
    }

    /// With what a session was begun that is still on.
    pub(super) async fn find(&self, secret: &SessionSecret, now: Timestamp) -> Result<Option<Began>, StoreError> {
        let Some(note) = self.store.note(&secret.key()).await? else { return Ok(None) };
        let Some(record) = read(&note.value).filter(|record| record.expires_at > now) else { return Ok(None) };
        Ok(match record.token {
            Some(token) => Some(Began::Token(token)),
            None => record.proof.filter(|proof| self.proves(secret, proof)).map(|_| Began::ApiToken),
        })
    }

    pub(super) async fn end(&self, secret: &SessionSecret) -> Result<(), StoreError> {
        self.store.remove_note(&secret.key()).await.map(drop)
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        for note in self.store.notes(NOTE_PREFIX).await? {
            if read(&note.value).is_none_or(|record| record.expires_at <= now) {
                self.store.remove_note(&note.key).await?;
            }
        }
        Ok(())
    }

    fn proof(&self, secret: &SessionSecret) -> Option<String> {
        let api_token = self.api_token.as_ref()?;
        Some(hex(hmac::sign(&secret.hmac_key(), api_token.as_bytes()).as_ref()))
    }

    fn proves(&self, secret: &SessionSecret, proof: &str) -> bool {
        self.proof(secret).is_some_and(|expected| same(&expected, proof))
    }
}

impl SessionSecret {
    /// The one that a request's cookie has.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let is_secret =
            |text: &str| text.len() == SECRET_BYTES * 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut ours = pairs.filter(|(name, value)| *name == COOKIE_NAME && is_secret(value));
        ours.next().map(|(_, value)| Self(value.to_owned()))
    }

    /// What pages send along with whatever changes something.
    pub(crate) fn csrf_token(&self) -> String {
        hex(hmac::sign(&self.hmac_key(), b"csrf").as_ref())
    }

    /// Whether a page of this session sent it.
    pub(crate) fn is_csrf_token(&self, text: &str) -> bool {
        same(&self.csrf_token(), text)
    }

    /// The cookie that keeps the session in a browser; `is_https`: no other connection is to see it.
    pub(crate) fn cookie(&self, is_https: bool) -> HeaderValue {
        cookie(&self.0, LIFETIME, is_https)
    }

    fn key(&self) -> String {
        format!("{NOTE_PREFIX}{}", hex(digest(&SHA256, self.0.as_bytes()).as_ref()))
    }

    fn hmac_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes())
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// Has a browser forget its session.
pub(crate) fn no_cookie(is_https: bool) -> HeaderValue {
    cookie("", Duration::ZERO, is_https)
}

fn cookie(value: &str, lifetime: Duration, is_https: bool) -> HeaderValue {
    let secure = if is_https { "; Secure" } else { "" };
    let seconds = lifetime.as_secs();
    let text = format!("{COOKIE_NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).expect("a cookie of hex digits is a field's value")
}

fn read(value: &str) -> Option<Record> {
    serde_json::from_str(value).ok()
}

/// In the same time whatever they are.
fn same(a: &str, b: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"same");
    hmac::verify(&key, b.as_bytes(), hmac::sign(&key, a.as_bytes()).as_ref()).is_ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use postrider_core::ObjectId;
    use postrider_store::{SqliteOptions, SqliteStore};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn sent_back(secret: &SessionSecret) -> Option<SessionSecret> {
        let cookie = secret.cookie(false);
        let (pair, _) = cookie.to_str().unwrap().split_once(';').unwrap();
        let headers = [(header::COOKIE, format!("other=1; {pair}").parse().unwrap())].into_iter().collect();
        SessionSecret::of(&headers)
    }

    #[tokio::test]
    async fn a_session_ends_by_signing_out_by_time_and_with_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteOptions::new(folder.path())).unwrap());
        let sessions = Sessions::new(store.clone(), Some("s3cret"));
        let token = ObjectId::new(NOW);
        let a = sessions.begin(Began::ApiToken, NOW).await.unwrap();
        let b = sessions.begin(Began::Token(token), NOW).await.unwrap();
        assert_eq!(sessions.find(&sent_back(&a).unwrap(), NOW).await.unwrap(), Some(Began::ApiToken));
        assert_eq!(sessions.find(&b, NOW).await.unwrap(), Some(Began::Token(token)));
        assert_eq!(sessions.find(&b, NOW + LIFETIME).await.unwrap(), None);

        let others = Sessions::new(store.clone(), Some("other"));
        assert_eq!(others.find(&a, NOW).await.unwrap(), None, "API_TOKEN was changed");
        sessions.end(&b).await.unwrap();
        assert_eq!(sessions.find(&b, NOW).await.unwrap(), None);

        sessions.begin(Began::ApiToken, NOW + LIFETIME).await.unwrap();
        assert_eq!(store.notes(NOTE_PREFIX).await.unwrap().len(), 1, "those whose time was over are forgotten");
        let kept = format!("{:?}", store.notes(NOTE_PREFIX).await.unwrap());
        assert!(!kept.contains(&a.0) && !format!("{a:?}").contains(&a.0));
    }

    #[test]
    fn only_pages_of_the_session_know_its_csrf_token() {
        let (a, b) = (SessionSecret("a".repeat(64)), SessionSecret("b".repeat(64)));
        assert!(a.is_csrf_token(&a.csrf_token()));
        assert!(!a.is_csrf_token(&b.csrf_token()) && !a.is_csrf_token(""));
    }

    #[test]
    fn cookies_are_for_nobody_else() {
        let secret = SessionSecret("a".repeat(64));
        let plain = secret.cookie(false);
        assert!(plain.to_str().unwrap().ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"));
        assert!(secret.cookie(true).to_str().unwrap().ends_with("; Secure"));
        assert!(no_cookie(false).to_str().unwrap().starts_with("postrider_session=; Path=/; Max-Age=0;"));
        for strange in ["postrider_session=abc", "postrider_session=", "session=1"] {
            let headers = [(header::COOKIE, strange.parse().unwrap())].into_iter().collect();
            assert!(SessionSecret::of(&headers).is_none(), "{strange}");
        }
    }
}
