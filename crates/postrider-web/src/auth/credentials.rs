//! What a request presents: a bearer token, or what somebody typed into the page that signs in.
//!
//! It decides nothing.

use std::fmt;

use axum::http::{HeaderMap, header};
use postrider_store::tokens::Presented;
use ring::hmac;
use ring::rand::SystemRandom;

/// A secret text as a digest under a random key: comparing digests tells nothing about it by the time it takes.
pub(super) struct SecretDigest {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl SecretDigest {
    pub(super) fn new(secret: &str) -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .expect("the operating system gives random bytes");
        let tag = hmac::sign(&key, secret.as_bytes());
        Self { key, tag }
    }

    pub(super) fn matches(&self, presented: &str) -> bool {
        hmac::verify(&self.key, presented.as_bytes(), self.tag.as_ref()).is_ok()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a request presents to be let in.
pub(super) enum Credentials {
    None,
    /// It has the form of a token of ours.
    Token {
        presented: Presented,
        text: String,
    },
    /// Whatever else it is.
    Other(String),
}

impl Credentials {
    /// The bearer token (RFC 6750 section 2.1).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        bearer(headers).map_or(Self::None, Self::parse)
    }

    pub(super) fn parse(text: &str) -> Self {
        match Presented::parse(text) {
            Some(presented) => Self::Token { presented, text: text.to_owned() },
            None => Self::Other(text.to_owned()),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| rest.trim())
}
