//! SCRAM through whole sessions, with a client that knows its part.

use std::num::NonZeroU32;

use crate::script::{CHANNEL_BINDING, Script, config, tls};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

const FIRST_BARE: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO";

/// The last message in base64, and the signature that the server must answer.
fn last(gs2_header: &str, binding: &[u8], password: &str, challenge: &str) -> (String, String) {
    let server_first = decoded(challenge);
    let attribute = |name| server_first.split(',').find_map(|a| a.strip_prefix(name)).expect("has the attribute");
    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        attribute("i=").parse::<NonZeroU32>().expect("a number"),
        &BASE64.decode(attribute("s=")).expect("base64"),
        password.as_bytes(),
        &mut salted,
    );
    let bound = [gs2_header.as_bytes(), binding].concat();
    let without_proof = format!("c={},r={}", BASE64.encode(bound), attribute("r="));
    let auth_message = format!("{FIRST_BARE},{server_first},{without_proof}");
    let client_key = sign(&salted, "Client Key");
    let stored_key = digest::digest(&digest::SHA256, &client_key);
    let signature = sign(stored_key.as_ref(), &auth_message);
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let server_signature = sign(&sign(&salted, "Server Key"), &auth_message);
    let message = BASE64.encode(format!("{without_proof},p={}", BASE64.encode(proof)));
    (message, format!("v={}", BASE64.encode(server_signature)))
}

fn sign(key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes()).as_ref().to_vec()
}

fn decoded(challenge: &str) -> String {
    let text = challenge.strip_prefix("+ ").expect("a challenge");
    String::from_utf8(BASE64.decode(text).expect("base64")).expect("UTF-8")
}

/// Has the client's first message sent, with the command or behind it.
fn begun(mechanism: &str, gs2_header: &str, initial: bool) -> Script {
    let mut script = Script::with_tls(config(), Some(tls()));
    let first = BASE64.encode(format!("{gs2_header}{FIRST_BARE}"));
    if initial {
        script.lines(&[&format!("a AUTHENTICATE {mechanism} {first}")]);
    } else {
        script.lines(&[&format!("a AUTHENTICATE {mechanism}"), &first]);
    }
    script
}

#[test]
fn a_right_password_is_proven_both_ways() {
    for (mechanism, gs2_header, binding) in
        [("SCRAM-SHA-256", "n,,", &b""[..]), ("scram-sha-256-plus", "p=tls-exporter,,", CHANNEL_BINDING)]
    {
        for initial in [true, false] {
            let mut script = begun(mechanism, gs2_header, initial);
            let (message, signature) = last(gs2_header, binding, "pencil", script.last_line());
            script.lines(&[&message]);
            assert_eq!(decoded(script.last_line()), signature);
            script.lines(&[""]);
            assert!(script.last_line().starts_with("a OK [CAPABILITY "), "{}", script.last_line());
            assert_eq!(script.session.user(), Some("user"));
        }
    }
}

#[test]
fn what_proves_nothing() {
    for (password, mechanism, gs2_header, binding) in [
        ("wrong", "SCRAM-SHA-256", "n,,", &b""[..]),
        ("pencil", "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", b"exported by another handshake"),
    ] {
        let mut script = begun(mechanism, gs2_header, true);
        let (message, _) = last(gs2_header, binding, password, script.last_line());
        script.lines(&[&message]);
        assert_eq!(script.last_line(), "a NO [AUTHENTICATIONFAILED] Wrong user name or password");
        assert_eq!(script.session.user(), None);
        assert!(script.transcript.contains("E: AuthFailed { user: \"user\" }"));
    }
}
