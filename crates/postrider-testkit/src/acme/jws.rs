//! What a client of ACME signs (RFC 8555 section 6.2), checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use ring::{digest, hmac};
use serde_json::{Value, json};

/// A public key, as a client shows it (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    x: String,
    y: String,
}

impl PublicKey {
    fn read(jwk: &Value) -> Option<Self> {
        if jwk["kty"] != "EC" || jwk["crv"] != "P-256" {
            return None;
        }
        Some(Self { x: jwk["x"].as_str()?.to_owned(), y: jwk["y"].as_str()?.to_owned() })
    }

    /// RFC 7638.
    pub(super) fn thumbprint(&self) -> String {
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, self.x, self.y);
        BASE64URL.encode(digest::digest(&digest::SHA256, members.as_bytes()))
    }

    fn verifies(&self, signed: &str, signature: &[u8]) -> bool {
        let mut point = vec![4];
        for coordinate in [&self.x, &self.y] {
            point.extend(BASE64URL.decode(coordinate).unwrap_or_default());
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), signature).is_ok()
    }
}

/// Who signed.
#[derive(Debug)]
pub(super) enum Signer {
    /// As it says itself.
    New(PublicKey),
    /// An account, by its URL.
    Account(String),
}

/// A request taken apart. It is verified once [`Signed::is_by`] says so.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) signer: Signer,
    pub(super) nonce: String,
    pub(super) url: String,
    /// `Null` for POST-as-GET.
    pub(super) payload: Value,
    signed: String,
    signature: Vec<u8>,
}

impl Signed {
    /// `None` for what is no such request.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let (protected, payload) = (body["protected"].as_str()?, body["payload"].as_str()?);
        let header: Value = serde_json::from_slice(&BASE64URL.decode(protected).ok()?).ok()?;
        if header["alg"] != "ES256" {
            return None;
        }
        let signer = match (header["kid"].as_str(), header.get("jwk")) {
            (Some(url), None) => Signer::Account(url.to_owned()),
            (None, Some(jwk)) => Signer::New(PublicKey::read(jwk)?),
            _ => return None,
        };
        let decoded = BASE64URL.decode(payload).ok()?;
        Some(Self {
            signer,
            nonce: header["nonce"].as_str()?.to_owned(),
            url: header["url"].as_str()?.to_owned(),
            payload: if decoded.is_empty() { Value::Null } else { serde_json::from_slice(&decoded).ok()? },
            signed: format!("{protected}.{payload}"),
            signature: BASE64URL.decode(body["signature"].as_str()?).ok()?,
        })
    }

    pub(super) fn is_by(&self, key: &PublicKey) -> bool {
        key.verifies(&self.signed, &self.signature)
    }
}

/// Whether an account is bound to one elsewhere (RFC 8555 section 7.3.4) by this key.
pub(super) fn is_bound(binding: &Value, key_id: &str, hmac_key: &[u8], account: &PublicKey) -> bool {
    let field = |name: &str| binding[name].as_str().unwrap_or_default();
    let decoded = |text: &str| BASE64URL.decode(text).unwrap_or_default();
    let header: Value = serde_json::from_slice(&decoded(field("protected"))).unwrap_or_default();
    let payload: Value = serde_json::from_slice(&decoded(field("payload"))).unwrap_or_default();
    let signed = format!("{}.{}", field("protected"), field("payload"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, hmac_key);
    header["alg"] == json!("HS256")
        && header["kid"] == json!(key_id)
        && PublicKey::read(&payload).as_ref() == Some(account)
        && hmac::verify(&key, signed.as_bytes(), &decoded(field("signature"))).is_ok()
}
