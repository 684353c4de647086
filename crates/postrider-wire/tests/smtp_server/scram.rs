//! SCRAM through whole sessions, with a client that knows its part.

use std::num::NonZeroU32;

use crate::script::{CHANNEL_BINDING, Script, config, tls};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

const FIRST_BARE: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO";

/// A client that has sent its first message.
struct Client<'a> {
    gs2_header: &'a str,
    bare: &'a str,
    binding: &'a [u8],
    password: &'a str,
}

impl Client<'_> {
    fn first(&self) -> String {
        BASE64.encode(format!("{}{}", self.gs2_header, self.bare))
    }

    /// The last message in base64, and the signature that the server must answer.
    fn last(&self, challenge: &str) -> (String, String) {
        let server_first = decoded(challenge);
        let attribute = |name| server_first.split(',').find_map(|a| a.strip_prefix(name)).expect("has the attribute");
        let mut salted = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            attribute("i=").parse::<NonZeroU32>().expect("a number"),
            &BASE64.decode(attribute("s=")).expect("base64"),
            self.password.as_bytes(),
            &mut salted,
        );
        let binding = [self.gs2_header.as_bytes(), self.binding].concat();
        let without_proof = format!("c={},r={}", BASE64.encode(binding), attribute("r="));
        let auth_message = format!("{},{server_first},{without_proof}", self.bare);
        let client_key = sign(&salted, "Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        let signature = sign(stored_key.as_ref(), &auth_message);
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let server_signature = sign(&sign(&salted, "Server Key"), &auth_message);
        (
            BASE64.encode(format!("{without_proof},p={}", BASE64.encode(proof))),
            format!("v={}", BASE64.encode(server_signature)),
        )
    }
}

fn sign(key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes()).as_ref().to_vec()
}

/// The text in a 334 line.
fn decoded(challenge: &str) -> String {
    let text = challenge.strip_prefix("334 ").expect("a challenge");
    String::from_utf8(BASE64.decode(text).expect("base64")).expect("UTF-8")
}

fn begun(mechanism: &str, client: &Client<'_>) -> Script {
    let mut script = Script::with_tls(config(), Some(tls()));
    script.lines(&["EHLO client.example", &format!("AUTH {mechanism} {}", client.first())]);
    script
}

#[test]
fn a_right_password_is_proven_both_ways() {
    let plain = Client { gs2_header: "n,,", bare: FIRST_BARE, binding: b"", password: "pencil" };
    let bound = Client { gs2_header: "p=tls-exporter,,", binding: CHANNEL_BINDING, ..plain };
    for (mechanism, client) in [("SCRAM-SHA-256", plain), ("scram-sha-256-plus", bound)] {
        let mut script = begun(mechanism, &client);
        let (last, server_signature) = client.last(script.last_reply());
        script.lines(&[&last]);
        assert_eq!(decoded(script.last_reply()), server_signature);
        assert_eq!(script.session.user(), None, "it is not over yet");
        script.lines(&[""]);
        assert!(script.said.ends_with(b"235 2.7.0 Authentication succeeded\r\n"));
        assert!(script.transcript.contains("E: Authenticated { user: \"user\" }"));
        assert_eq!(script.session.user(), Some("user"));
    }
}

#[test]
fn without_an_initial_response_the_challenge_is_empty() {
    let client = Client { gs2_header: "n,,", bare: FIRST_BARE, binding: b"", password: "pencil" };
    let mut script = Script::with_tls(config(), Some(tls()));
    script.lines(&["EHLO client.example", "AUTH SCRAM-SHA-256"]);
    assert!(script.said.ends_with(b"334 \r\n"));
    script.lines(&[&client.first()]);
    let (last, _) = client.last(script.last_reply());
    script.lines(&[&last, ""]);
    assert_eq!(script.session.user(), Some("user"));
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_alike() {
    let wrong = Client { gs2_header: "n,,", bare: FIRST_BARE, binding: b"", password: "pen" };
    let unknown = Client { bare: "n=nemo,r=rOprNGfwEbeRWgbNEkqO", ..wrong };
    for (client, user) in [(wrong, "user"), (unknown, "nemo")] {
        let mut script = begun("SCRAM-SHA-256", &client);
        let challenge = decoded(script.last_reply());
        assert!(challenge.ends_with(",i=4096"), "{challenge}");
        let (last, _) = client.last(script.last_reply());
        script.lines(&[&last]);
        assert!(script.said.ends_with(b"535 5.7.8 User name or password is wrong\r\n"));
        assert!(script.transcript.contains(&format!("E: AuthFailed {{ user: \"{user}\" }}")));
        assert_eq!(script.session.user(), None);
    }
}

#[test]
fn a_failed_lookup_is_no_wrong_password() {
    let client = Client { gs2_header: "n,,", bare: "n=unlucky,r=abc", binding: b"", password: "pencil" };
    let mut script = begun("SCRAM-SHA-256", &client);
    assert!(script.said.ends_with(b"454 4.7.0 Cannot check this now, try again later\r\n"));
    script.lines(&["NOOP"]);
    assert!(script.said.ends_with(b"250 2.0.0 OK\r\n"));
    assert!(!script.transcript.contains("AuthFailed"));
}

#[test]
fn another_channel_is_noticed() {
    let client =
        Client { gs2_header: "p=tls-exporter,,", bare: FIRST_BARE, binding: b"another handshake", password: "pencil" };
    let mut script = begun("SCRAM-SHA-256-PLUS", &client);
    let (last, _) = client.last(script.last_reply());
    script.lines(&[&last, ""]);
    assert_eq!(script.session.user(), None);
    // It counts as a wrong password does.
    assert!(script.transcript.contains("S: 535 5.7.8") && script.transcript.contains("AuthFailed"));
}

#[test]
fn an_exchange_can_be_cancelled_at_its_end() {
    let client = Client { gs2_header: "n,,", bare: FIRST_BARE, binding: b"", password: "pencil" };
    let mut script = begun("SCRAM-SHA-256", &client);
    let (last, _) = client.last(script.last_reply());
    script.lines(&[&last, "*"]);
    assert!(script.said.ends_with(b"501 5.7.0 Authentication cancelled\r\n"));
    assert_eq!(script.session.user(), None);
}
