//! The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), whatever protocol carries it.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

/// One exchange. Messages are in base64, as SASL profiles carry them.
pub(crate) struct ScramExchange {
    gs2: &'static str,
    binding: Vec<u8>,
    first_bare: String,
    password: String,
    /// What proves that the server knows the password.
    expected: Option<String>,
}

impl ScramExchange {
    /// `binding`: of the TLS session, for SCRAM-SHA-256-PLUS.
    pub(crate) fn new(user: &str, password: &str, binding: Option<&[u8]>) -> Self {
        let name = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            gs2: if binding.is_some() { "p=tls-exporter,," } else { "n,," },
            binding: binding.unwrap_or_default().to_vec(),
            first_bare: format!("n={name},r={NONCE}"),
            password: password.to_owned(),
            expected: None,
        }
    }

    pub(crate) fn mechanism(&self) -> &'static str {
        if self.binding.is_empty() { "SCRAM-SHA-256" } else { "SCRAM-SHA-256-PLUS" }
    }

    pub(crate) fn first(&self) -> String {
        BASE64.encode(format!("{}{}", self.gs2, self.first_bare))
    }

    /// The proof, in answer to the server's first message.
    ///
    /// # Panics
    ///
    /// As [`ScramExchange::check`], when the server breaks the mechanism's rules.
    pub(crate) fn proof(&mut self, challenge: &str) -> String {
        let server_first = decoded(challenge);
        let server_nonce = field(&server_first, 'r');
        assert!(server_nonce.len() > NONCE.len() && server_nonce.starts_with(NONCE), "{server_first}");
        let salt = BASE64.decode(field(&server_first, 's')).expect("the salt is base64");
        let iterations: NonZeroU32 = field(&server_first, 'i').parse().expect("the iterations are a number");

        let bound = BASE64.encode([self.gs2.as_bytes(), &self.binding].concat());
        let final_bare = format!("c={bound},r={server_nonce}");
        let signed = format!("{},{server_first},{final_bare}", self.first_bare);
        let mut salted = [0u8; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, self.password.as_bytes(), &mut salted);
        let client_key = keyed(&salted, b"Client Key");
        let signature = keyed(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let expected = keyed(keyed(&salted, b"Server Key").as_ref(), signed.as_bytes());
        self.expected = Some(BASE64.encode(expected));
        BASE64.encode(format!("{final_bare},p={}", BASE64.encode(proof)))
    }

    /// Checks the server's last message.
    pub(crate) fn check(&self, challenge: &str) {
        let expected = self.expected.as_deref().expect("the proof came first");
        assert_eq!(field(&decoded(challenge), 'v'), expected, "the server does not know the password");
    }
}

fn keyed(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
}

fn decoded(challenge: &str) -> String {
    String::from_utf8(BASE64.decode(challenge).expect("a challenge is base64")).expect("a SCRAM message is UTF-8")
}

fn field(message: &str, name: char) -> String {
    let found = message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name}= in {message}")).to_owned()
}
