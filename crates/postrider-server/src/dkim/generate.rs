//! New keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postrider_store::dkim::{DkimKey, PrivateKey};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};

/// RFC 8301 section 3.2: every verifier takes it. Longer keys do not fit into one string of a TXT record more easily, and cost
/// more for each message.
const RSA_BITS: usize = 2048;

/// Keys could not be made; the text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("keys cannot be made: {0}")]
pub struct GenerateError(String);

/// An Ed25519 and an RSA key that have no selectors yet.
#[derive(Debug, Clone)]
pub struct KeyPairs {
    ed25519: (String, PrivateKey),
    rsa: (String, PrivateKey),
}

impl KeyPairs {
    /// Makes new keys: a second or so of processor time.
    pub fn generate() -> Result<Self, GenerateError> {
        Ok(Self { ed25519: ed25519()?, rsa: rsa()? })
    }

    /// The keys, each under a selector that begins with `stem`: the one for Ed25519 first.
    pub fn under(self, stem: &str) -> (DkimKey, DkimKey) {
        let key =
            |(public_key, private_key), kind| DkimKey { selector: format!("{stem}-{kind}"), public_key, private_key };
        (key(self.ed25519, "ed25519"), key(self.rsa, "rsa"))
    }
}

/// The public key alone, without a wrapping (RFC 8463 section 4).
fn ed25519() -> Result<(String, PrivateKey), GenerateError> {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(failed)?;
    Ok((BASE64.encode(pair.public_key()), PrivateKey(BASE64.encode(pkcs8))))
}

/// The public key as SubjectPublicKeyInfo, as all publish it (RFC 6376 section 3.6.1, erratum 3017).
fn rsa() -> Result<(String, PrivateKey), GenerateError> {
    // ring makes no RSA keys. This crate only does that: what it makes is used by ring.
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS).map_err(failed)?;
    let public = key.to_public_key().to_public_key_der().map_err(failed)?;
    let private = key.to_pkcs8_der().map_err(failed)?;
    Ok((BASE64.encode(public.as_bytes()), PrivateKey(BASE64.encode(private.as_bytes()))))
}

fn failed(error: impl std::fmt::Display) -> GenerateError {
    GenerateError(error.to_string())
}
