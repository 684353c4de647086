//! Tokens of the API, kept as notes so that all nodes know them: who may ask, for what, and until when. The command line and
//! the API both come here, so that they agree.
//!
//! Of a token itself only a digest is kept. It is 256 random bits, which nobody finds by trying: so a plain SHA-256 does, where
//! a password would need a hash that is made to be slow.

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use postrider_core::{Address, Domain, ObjectId, Timestamp};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::StoreError;
use crate::traits::Store;

/// What the notes' keys begin with; the token's id follows.
const NOTE_PREFIX: &str = "token/";
/// Of the notes that say when a token was used last. They stand apart, so that using a token never changes it.
const USED_PREFIX: &str = "token-used/";

/// How a token begins, so that people and scanners of source code know one when they see it. Its id follows, and its secret.
pub const TOKEN_PREFIX: &str = "pr_";

/// Of the secret.
const SECRET_BYTES: usize = 32;

/// Tokens at most.
pub const TOKENS_MAX: usize = 1_000;
pub const NAME_BYTES_MAX: usize = 100;
/// Domains that one token names.
pub const DOMAINS_MAX: usize = 100;
pub const REQUESTS_PER_MINUTE_MAX: u32 = 10_000_000;

/// Names a token.
pub type TokenId = ObjectId;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Seeing whatever there is, and changing nothing.
    Read,
    /// Sending mail, and nothing else.
    Send,
    /// Everything.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Send, Self::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "send",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is none of read, send, admin"))
    }
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub settings: TokenSettings,
    digest: Digest,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Of the note; 0 for one that is not there.
    version: u64,
}

/// What of a token may be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenSettings {
    /// For people.
    pub name: String,
    /// One at least.
    pub scopes: Vec<Scope>,
    /// It sends only from addresses at these domains; empty: from any.
    #[serde(default)]
    pub domains: Vec<Domain>,
    /// From when on it is good for nothing.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Requests a minute; `None`: as the settings say for all.
    #[serde(default)]
    pub requests_per_minute: Option<u32>,
}

impl TokenSettings {
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|&own| own == scope || own == Scope::Admin)
    }

    /// Whether it may send in the name of an address. A domain stands for itself, not for those below it.
    pub fn may_send_as(&self, address: &Address) -> bool {
        self.domains.is_empty() || self.domains.contains(&address.domain())
    }

    /// Refuses what makes no sense, and puts the rest into one form.
    pub fn checked(mut self, now: Timestamp) -> Result<Self, TokenError> {
        self.name = self.name.trim().to_owned();
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || self.name.chars().any(char::is_control) {
            return Err(TokenError::BadName);
        }
        self.scopes = Scope::ALL.into_iter().filter(|scope| self.scopes.contains(scope)).collect();
        if self.scopes.is_empty() {
            return Err(TokenError::NoScope);
        }
        if self.domains.len() > DOMAINS_MAX {
            return Err(TokenError::TooManyDomains);
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(TokenError::ExpiresInThePast);
        }
        match self.requests_per_minute {
            Some(0) => Err(TokenError::BadRate),
            Some(rate) if rate > REQUESTS_PER_MINUTE_MAX => Err(TokenError::BadRate),
            _ => Ok(self),
        }
    }
}

/// A token as its owner has it, shown once. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(pub String);

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What somebody presents as a token, before it is known whether it is one. `Debug` does not show it.
#[derive(Debug, Clone, Copy)]
pub struct Presented {
    pub id: TokenId,
    digest: Digest,
}

impl Presented {
    /// `None` for what has not a token's form.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(TOKEN_PREFIX)?.split_once('_')?;
        let is_secret = secret.len() == SECRET_BYTES * 2 && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_secret.then_some(())?;
        Some(Self { id: id.parse().ok()?, digest: Digest::of(text) })
    }
}

/// SHA-256 of a token's whole text.
#[derive(Clone, Copy)]
struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    fn of(text: &str) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(bytes)
    }
}

/// In the same time whatever they are.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
        black_box(difference) == 0
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let pair = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a digest is 64 hex digits"))
    }
}

/// Why a token was not made or changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("a token has a name, of at most {NAME_BYTES_MAX} bytes and without control characters")]
    BadName,
    #[error("a token has at least one of the scopes read, send and admin")]
    NoScope,
    #[error("a token names at most {DOMAINS_MAX} domains")]
    TooManyDomains,
    #[error("the token would have expired already")]
    ExpiresInThePast,
    #[error("a token may make from 1 to {REQUESTS_PER_MINUTE_MAX} requests a minute")]
    BadRate,
    #[error("there are {TOKENS_MAX} tokens already: revoke those that nobody needs")]
    TooMany,
    #[error("the token was changed by somebody else at the same time; try again")]
    Changed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The contents of a note.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(flatten)]
    settings: TokenSettings,
    digest: Digest,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Token {
    /// A new token, kept nowhere yet, and the text that its owner is to have.
    pub fn new(settings: TokenSettings, now: Timestamp) -> Result<(Self, TokenText), TokenError> {
        let settings = settings.checked(now)?;
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|error| StoreError::Unavailable(format!("the system has no random numbers: {error}")))?;
        let id = ObjectId::new(now);
        let text = format!("{TOKEN_PREFIX}{id}_{}", hex(&secret));
        let digest = Digest::of(&text);
        Ok((Self { id, settings, digest, created_at: now, updated_at: now, version: 0 }, TokenText(text)))
    }

    /// All tokens, the oldest first; those that have expired too.
    pub async fn all(store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        store.notes(NOTE_PREFIX).await?.into_iter().map(read).collect()
    }

    pub async fn find(store: &dyn Store, id: TokenId) -> Result<Option<Self>, StoreError> {
        store.note(&format!("{NOTE_PREFIX}{id}")).await?.map(read).transpose()
    }

    /// Keeps it as it is now.
    pub async fn save(&mut self, store: &dyn Store, now: Timestamp) -> Result<(), TokenError> {
        if self.version == 0 && store.notes(NOTE_PREFIX).await?.len() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        self.updated_at = now;
        let record = Record {
            settings: self.settings.clone(),
            digest: self.digest,
            created_at: self.created_at,
            updated_at: now,
        };
        let value = serde_json::to_string(&record)
            .map_err(|error| StoreError::Corrupt(format!("a token cannot be written: {error}")))?;
        if !store.put_note(&format!("{NOTE_PREFIX}{}", self.id), value, self.version).await? {
            return Err(TokenError::Changed);
        }
        self.version += 1;
        Ok(())
    }

    /// Forgets it for good: it opens nothing any more. `false` if there is none.
    pub async fn revoke(store: &dyn Store, id: TokenId) -> Result<bool, StoreError> {
        let was_there = store.remove_note(&format!("{NOTE_PREFIX}{id}")).await?;
        store.remove_note(&format!("{USED_PREFIX}{id}")).await?;
        Ok(was_there)
    }

    /// Whether this is what was presented.
    pub fn is(&self, presented: &Presented) -> bool {
        self.id == presented.id && self.digest == presented.digest
    }

    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.settings.expires_at.is_some_and(|at| at <= now)
    }
}

/// When each token was used last, to the minute; those that were never used are not in it.
pub async fn last_uses(store: &dyn Store) -> Result<HashMap<TokenId, Timestamp>, StoreError> {
    let read = |note: crate::Note| {
        let id = note.key[USED_PREFIX.len()..].parse().ok()?;
        Some((id, Timestamp::parse_rfc3339(&note.value)?))
    };
    Ok(store.notes(USED_PREFIX).await?.into_iter().filter_map(read).collect())
}

/// When a token was used last, to the minute.
pub async fn last_use(store: &dyn Store, id: TokenId) -> Result<Option<Timestamp>, StoreError> {
    let note = store.note(&format!("{USED_PREFIX}{id}")).await?;
    Ok(note.and_then(|note| Timestamp::parse_rfc3339(&note.value)))
}

/// Notes that a token is used. Where another node notes the same at this moment, one of them does.
pub async fn note_use(store: &dyn Store, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
    let key = format!("{USED_PREFIX}{id}");
    let known = store.note(&key).await?;
    let is_older = known.as_ref().and_then(|note| Timestamp::parse_rfc3339(&note.value)).is_none_or(|at| at < now);
    // One that was revoked meanwhile leaves nothing behind.
    if is_older && Token::find(store, id).await?.is_some() {
        store.put_note(&key, now.to_rfc3339(), known.map_or(0, |note| note.version)).await?;
    }
    Ok(())
}

fn read(note: crate::Note) -> Result<Token, StoreError> {
    // The parser's own words could show a piece of a digest.
    let damaged = || StoreError::Corrupt(format!("note {} is no token", note.key));
    let id: ObjectId = note.key[NOTE_PREFIX.len()..].parse().map_err(|_| damaged())?;
    let Record { settings, digest, created_at, updated_at } =
        serde_json::from_str(&note.value).map_err(|_| damaged())?;
    Ok(Token { id, settings, digest, created_at, updated_at, version: note.version })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Notes as _, SqliteOptions, SqliteStore};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const LATER: Timestamp = Timestamp::from_millis(1_800_000_060_000);

    fn settings(scopes: &[Scope]) -> TokenSettings {
        TokenSettings {
            name: "shop".into(),
            scopes: scopes.to_vec(),
            domains: Vec::new(),
            expires_at: None,
            requests_per_minute: None,
        }
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn admin_is_good_for_all_and_the_others_for_themselves() {
        for (scopes, expected) in [
            (&[Scope::Read][..], [true, false, false]),
            (&[Scope::Send], [false, true, false]),
            (&[Scope::Read, Scope::Send], [true, true, false]),
            (&[Scope::Admin], [true, true, true]),
        ] {
            assert_eq!(Scope::ALL.map(|scope| settings(scopes).has(scope)), expected, "{scopes:?}");
        }
    }

    #[test]
    fn a_token_sends_as_its_domains() {
        let any = settings(&[Scope::Send]);
        assert!(any.may_send_as(&address("a@anywhere.example")));
        let one = TokenSettings { domains: vec!["shop.example".parse().unwrap()], ..any };
        assert!(one.may_send_as(&address("a@SHOP.example")));
        for other in ["a@news.shop.example", "a@example", "a@shop.example.evil.example"] {
            assert!(!one.may_send_as(&address(other)), "{other}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |settings: TokenSettings| settings.checked(NOW).unwrap_err();
        let good = || settings(&[Scope::Send, Scope::Read, Scope::Send]);
        assert_eq!(good().checked(NOW).unwrap().scopes, [Scope::Read, Scope::Send]);
        assert_eq!(refused(settings(&[])), TokenError::NoScope);
        for name in ["", "  ", "a\nb", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(refused(TokenSettings { name: name.into(), ..good() }), TokenError::BadName, "{name:?}");
        }
        assert_eq!(refused(TokenSettings { expires_at: Some(NOW), ..good() }), TokenError::ExpiresInThePast);
        assert_eq!(refused(TokenSettings { requests_per_minute: Some(0), ..good() }), TokenError::BadRate);
    }

    #[test]
    fn only_the_whole_text_is_the_token() {
        let (token, TokenText(text)) = Token::new(settings(&[Scope::Read]), NOW).unwrap();
        assert!(text.starts_with(&format!("pr_{}_", token.id)), "{text}");
        assert!(token.is(&Presented::parse(&text).unwrap()));
        let other = format!("{}{}", &text[..text.len() - 1], if text.ends_with('0') { '1' } else { '0' });
        assert!(!token.is(&Presented::parse(&other).unwrap()));
        for text in ["", "pr_", "pr__", "s3cret", &text[1..], &text[..text.len() - 1], &format!("{text}0")] {
            assert!(Presented::parse(text).is_none(), "{text}");
        }
        let secret = text.rsplit('_').next().unwrap();
        let shown = format!("{token:?} {:?} {:?}", TokenText(text.clone()), Presented::parse(&text));
        assert!(!shown.contains(secret) && !shown.contains(&hex(&token.digest.0)), "{shown}");
    }

    #[tokio::test]
    async fn tokens_are_kept_as_digests_until_they_are_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
        let wanted = TokenSettings {
            domains: vec!["shop.example".parse().unwrap()],
            expires_at: Some(LATER),
            requests_per_minute: Some(60),
            ..settings(&[Scope::Send])
        };
        let (mut token, TokenText(text)) = Token::new(wanted, NOW).unwrap();
        token.save(&store, NOW).await.unwrap();
        assert_eq!(Token::all(&store).await.unwrap(), [token.clone()]);
        let found = Token::find(&store, token.id).await.unwrap().unwrap();
        assert_eq!(found, token);
        assert!(found.is(&Presented::parse(&text).unwrap()) && !found.has_expired(NOW) && found.has_expired(LATER));
        let kept = store.notes("").await.unwrap();
        assert!(kept.iter().all(|note| !note.value.contains(text.rsplit('_').next().unwrap())), "{kept:?}");

        note_use(&store, token.id, LATER).await.unwrap();
        note_use(&store, token.id, NOW).await.unwrap();
        assert_eq!(last_use(&store, token.id).await.unwrap(), Some(LATER));
        assert_eq!(last_uses(&store).await.unwrap(), HashMap::from([(token.id, LATER)]));

        token.settings.name = "other".into();
        token.save(&store, LATER).await.unwrap();
        let mut late = found;
        assert_eq!(late.save(&store, LATER).await, Err(TokenError::Changed));
        assert!(Token::revoke(&store, token.id).await.unwrap() && !Token::revoke(&store, token.id).await.unwrap());
        note_use(&store, token.id, LATER).await.unwrap();
        assert_eq!(store.notes("").await.unwrap(), []);
    }
}
