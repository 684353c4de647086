//! What a request presents: a bearer token, or a password that a browser was given.
//!
//! It decides nothing.

use std::fmt;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
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
    /// The bearer token (RFC 6750 section 2.1), or for pages the password (RFC 7617 section 2); its user name says nothing here.
    pub(super) fn of(headers: &HeaderMap, takes_password: bool) -> Self {
        let password = || takes_password.then(|| basic_password(headers)).flatten();
        match credentials(headers, "Bearer").map(str::to_owned).or_else(password) {
            None => Self::None,
            Some(text) => match Presented::parse(&text) {
                Some(presented) => Self::Token { presented, text },
                None => Self::Other(text),
            },
        }
    }
}

fn basic_password(headers: &HeaderMap) -> Option<String> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(credentials(headers, "Basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

fn credentials<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim())
}
