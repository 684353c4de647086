//! One domain's signatures: prepared keys in, header fields out.
//!
//! Fields and body are looked through and hashed once, however many keys sign.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postrider_config::DkimAlgorithm;
use postrider_core::dkim::{self, SignedFields};
use postrider_core::{Domain, Timestamp, trace};
use postrider_store::dkim::{DkimKey, DkimPair};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

/// Of folded lines: RFC 5322 section 2.1.1.
const LINE_BYTES: usize = 76;

/// Signs in the name of one domain. `Debug` shows no key.
pub(crate) struct Signer {
    domain: Domain,
    keys: Vec<Key>,
}

struct Key {
    selector: String,
    pair: KeyPair,
}

enum KeyPair {
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Signer {
    /// Prepares a pair for signing with these algorithms. The error says which key cannot be used.
    pub(crate) fn new(domain: &Domain, pair: &DkimPair, algorithms: &[DkimAlgorithm]) -> Result<Self, String> {
        let key = |&algorithm: &DkimAlgorithm| match algorithm {
            DkimAlgorithm::Ed25519 => Key::ed25519(&pair.ed25519),
            DkimAlgorithm::Rsa => Key::rsa(&pair.rsa),
        };
        Ok(Self { domain: domain.clone(), keys: algorithms.iter().map(key).collect::<Result<_, _>>()? })
    }

    pub(crate) fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The signatures of a message, as header fields to be put above it: one for each key; none where it has too many
    /// fields to sign. `fields` are header fields that stand above `message`.
    pub(crate) fn sign(&self, fields: &[u8], message: &[u8], now: Timestamp) -> Vec<u8> {
        let (header, body) = message.split_at(trace::header_end(message));
        let Some(signed) = SignedFields::of(&[fields, header]) else { return Vec::new() };
        let mut body_hash = digest::Context::new(&digest::SHA256);
        dkim::relax_body(body, |piece| body_hash.update(piece));
        let body_hash = BASE64.encode(body_hash.finish());
        let mut out = Vec::with_capacity(self.keys.len() * 1024);
        for key in &self.keys {
            key.sign(&self.domain, &signed, &body_hash, now, &mut out);
        }
        out
    }
}

impl Key {
    fn ed25519(key: &DkimKey) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8(key)?).map_err(|error| unusable(key, error))?;
        Ok(Self { selector: key.selector.clone(), pair: KeyPair::Ed25519(pair) })
    }

    fn rsa(key: &DkimKey) -> Result<Self, String> {
        let pair = RsaKeyPair::from_pkcs8(&pkcs8(key)?).map_err(|error| unusable(key, error))?;
        Ok(Self { selector: key.selector.clone(), pair: KeyPair::Rsa(Box::new(pair)) })
    }

    /// Appends the DKIM-Signature field (RFC 6376 sections 3.5 and 3.7). Nothing where the system has no randomness.
    fn sign(&self, domain: &Domain, signed: &SignedFields, body_hash: &str, now: Timestamp, out: &mut Vec<u8>) {
        let algorithm = match &self.pair {
            KeyPair::Ed25519(_) => "ed25519-sha256",
            KeyPair::Rsa(_) => "rsa-sha256",
        };
        let mut field = format!(
            " v=1; a={algorithm}; c=relaxed/relaxed;\r\n\td={domain}; s={};\r\n\tt={};",
            self.selector,
            now.as_millis() / 1000
        );
        fold(
            &mut field,
            "h=",
            signed.names.iter().enumerate().map(|(i, name)| if i == 0 { ("", *name) } else { (":", *name) }),
        );
        field.push_str(&format!(";\r\n\tbh={body_hash};\r\n\tb="));
        // The field itself is signed last, without the signature and without a line end.
        let mut data = signed.relaxed.clone();
        dkim::relax_field(b"DKIM-Signature", field.as_bytes(), &mut data);
        let Some(signature) = self.pair.sign(&data) else { return };
        out.extend_from_slice(b"DKIM-Signature:");
        out.extend_from_slice(field.as_bytes());
        for (number, chunk) in BASE64.encode(signature).as_bytes().chunks(LINE_BYTES - 4).enumerate() {
            if number > 0 {
                out.extend_from_slice(b"\r\n\t ");
            }
            out.extend_from_slice(chunk);
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl KeyPair {
    fn sign(&self, data: &[u8]) -> Option<Vec<u8>> {
        match self {
            // RFC 8463 section 3: the hash is what is signed.
            Self::Ed25519(pair) => Some(pair.sign(digest::digest(&digest::SHA256, data).as_ref()).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

/// Appends a tag on a line of its own, and its words on as many as they need.
fn fold<'a>(field: &mut String, tag: &str, words: impl Iterator<Item = (&'a str, &'a str)>) {
    field.push_str("\r\n\t");
    field.push_str(tag);
    let mut line_bytes = tag.len() + 1;
    for (separator, word) in words {
        field.push_str(separator);
        if line_bytes + separator.len() + word.len() > LINE_BYTES {
            field.push_str("\r\n\t ");
            line_bytes = 2;
        }
        field.push_str(word);
        line_bytes += separator.len() + word.len();
    }
}

fn pkcs8(key: &DkimKey) -> Result<Vec<u8>, String> {
    BASE64.decode(&key.private_key.0).map_err(|_| format!("the key {} is not base64", key.selector))
}

fn unusable(key: &DkimKey, error: ring::error::KeyRejected) -> String {
    format!("the key {} cannot be used: {error}", key.selector)
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selectors: Vec<&str> = self.keys.iter().map(|key| key.selector.as_str()).collect();
        f.debug_struct("Signer").field("domain", &self.domain).field("selectors", &selectors).finish_non_exhaustive()
    }
}
