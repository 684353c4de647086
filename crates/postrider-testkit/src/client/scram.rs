//! The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) over AUTH (RFC 4954).

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

use super::{ClientReply, LineClient};

impl LineClient {
    /// AUTH SCRAM-SHA-256. Checks the server's proof too.
    ///
    /// # Panics
    ///
    /// When the server breaks the mechanism's rules.
    pub async fn auth_scram(&mut self, user: &str, password: &str) -> ClientReply {
        self.scram("SCRAM-SHA-256", "n,,", &[], user, password).await
    }

    /// AUTH SCRAM-SHA-256-PLUS, bound to the TLS session.
    ///
    /// # Panics
    ///
    /// When the session is not encrypted, or the server breaks the mechanism's rules.
    pub async fn auth_scram_plus(&mut self, user: &str, password: &str) -> ClientReply {
        let binding = self.channel_binding.expect("channel binding needs TLS");
        self.scram("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", &binding, user, password).await
    }

    /// SCRAM-SHA-256-PLUS with a binding that belongs to another session, as a man in the middle has it.
    pub async fn auth_scram_plus_elsewhere(&mut self, user: &str, password: &str) -> ClientReply {
        self.scram("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", &[7; 32], user, password).await
    }

    async fn scram(&mut self, mechanism: &str, gs2: &str, binding: &[u8], user: &str, password: &str) -> ClientReply {
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        let name = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={name},r={nonce}");
        let first = BASE64.encode(format!("{gs2}{first_bare}"));
        let reply = self.command(&format!("AUTH {mechanism} {first}")).await;
        if reply.code != 334 {
            return reply;
        }
        let server_first = challenge(&reply);
        let server_nonce = field(&server_first, 'r');
        assert!(server_nonce.len() > nonce.len() && server_nonce.starts_with(nonce), "{server_first}");
        let salt = BASE64.decode(field(&server_first, 's')).expect("the salt is base64");
        let iterations: NonZeroU32 = field(&server_first, 'i').parse().expect("the iterations are a number");

        let bound = BASE64.encode([gs2.as_bytes(), binding].concat());
        let final_bare = format!("c={bound},r={server_nonce}");
        let signed = format!("{first_bare},{server_first},{final_bare}");
        let mut salted = [0u8; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut salted);
        let client_key = keyed(&salted, b"Client Key");
        let signature = keyed(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let reply = self.command(&BASE64.encode(format!("{final_bare},p={}", BASE64.encode(proof)))).await;
        if reply.code != 334 {
            return reply;
        }
        let expected = keyed(keyed(&salted, b"Server Key").as_ref(), signed.as_bytes());
        assert_eq!(field(&challenge(&reply), 'v'), BASE64.encode(expected), "the server does not know the password");
        self.command("").await
    }
}

fn keyed(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
}

fn challenge(reply: &ClientReply) -> String {
    let text = reply.lines.first().and_then(|line| line.get(4..)).unwrap_or_default();
    String::from_utf8(BASE64.decode(text).expect("a challenge is base64")).expect("a SCRAM message is UTF-8")
}

fn field(message: &str, name: char) -> String {
    let found = message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name}= in {message}")).to_owned()
}
