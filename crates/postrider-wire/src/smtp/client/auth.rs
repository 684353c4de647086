//! Proving who we are: the client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), PLAIN (RFC 4616) and LOGIN.
//!
//! Knows challenges and responses; the AUTH command's place in a session is the client's.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

use super::capabilities::AuthMechanisms;

/// A user name and a password. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    /// Used as it stands, in UTF-8: SASLprep (RFC 4013) is not applied.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).field("password", &"***").finish()
    }
}

/// One authentication under way.
#[derive(Debug)]
pub(super) struct AuthExchange {
    credentials: Credentials,
    state: State,
}

enum State {
    PlainSent,
    LoginUser,
    LoginPassword,
    LoginSent,
    ScramFirst {
        nonce: String,
    },
    /// The proof is sent; the server must prove in turn that it knows the password.
    ScramProof {
        server_key: hmac::Key,
        auth_message: String,
    },
    ScramVerified,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PlainSent => "PlainSent",
            Self::LoginUser => "LoginUser",
            Self::LoginPassword => "LoginPassword",
            Self::LoginSent => "LoginSent",
            Self::ScramFirst { .. } => "ScramFirst",
            Self::ScramProof { .. } => "ScramProof",
            Self::ScramVerified => "ScramVerified",
        })
    }
}

/// Why authentication cannot go on, in words.
pub(super) type AuthError = &'static str;

/// Below this, what the server sees would be too easy to guess the password from (RFC 7677 section 4).
const SCRAM_ITERATIONS_MIN: u32 = 4096;

/// Above this, the server would have us compute for seconds.
const SCRAM_ITERATIONS_MAX: u32 = 2_000_000;

impl AuthExchange {
    /// Begins with the strongest mechanism on offer; returns the AUTH command without its line end. `None` when the
    /// server offers nothing that we know.
    pub(super) fn begin(
        offered: AuthMechanisms,
        credentials: Credentials,
    ) -> Option<Result<(Self, String), AuthError>> {
        if offered.scram_sha_256 {
            let mut random = [0u8; 18];
            if getrandom::fill(&mut random).is_err() {
                return Some(Err("the operating system gives no random bytes"));
            }
            return Some(Ok(Self::begin_scram(credentials, BASE64.encode(random))));
        }
        if offered.plain {
            return Some(Self::begin_plain(credentials));
        }
        offered.login.then(|| Ok((Self { credentials, state: State::LoginUser }, "AUTH LOGIN".to_owned())))
    }

    fn begin_scram(credentials: Credentials, nonce: String) -> (Self, String) {
        let first = format!("n,,{}", client_first_bare(&credentials.user, &nonce));
        let command = format!("AUTH SCRAM-SHA-256 {}", BASE64.encode(first));
        (Self { credentials, state: State::ScramFirst { nonce } }, command)
    }

    fn begin_plain(credentials: Credentials) -> Result<(Self, String), AuthError> {
        // RFC 4616 section 2: NUL is what separates the parts.
        if credentials.user.contains('\0') || credentials.password.contains('\0') {
            return Err("the credentials contain NUL");
        }
        let response = BASE64.encode(format!("\0{}\0{}", credentials.user, credentials.password));
        Ok((Self { credentials, state: State::PlainSent }, format!("AUTH PLAIN {response}")))
    }

    /// Answers the text of a 334 reply; returns the line to send, without its end.
    pub(super) fn respond(&mut self, challenge: &str) -> Result<String, AuthError> {
        let (state, response) = match &self.state {
            // What the server asks is not looked at: some ask in words of their own.
            State::LoginUser => (State::LoginPassword, self.credentials.user.clone()),
            State::LoginPassword => (State::LoginSent, self.credentials.password.clone()),
            State::ScramFirst { nonce } => self.prove(nonce, &decode(challenge)?)?,
            State::ScramProof { server_key, auth_message } => {
                verify(server_key, auth_message, &decode(challenge)?)?;
                // RFC 4954 section 4: data that come with success come as a challenge, and are answered emptily.
                (State::ScramVerified, String::new())
            }
            State::PlainSent | State::LoginSent | State::ScramVerified => {
                return Err("the server asks for more than the mechanism has");
            }
        };
        self.state = state;
        Ok(BASE64.encode(response))
    }

    /// Whether the server may say now that we are authenticated.
    pub(super) fn check_success(&self) -> Result<(), AuthError> {
        match self.state {
            State::PlainSent | State::LoginSent | State::ScramVerified => Ok(()),
            State::LoginUser | State::LoginPassword => Err("the server agreed before it knew the password"),
            // A server that cannot sign does not know the password: it is not the one that we were meant to speak to.
            State::ScramFirst { .. } | State::ScramProof { .. } => Err("the server did not prove who it is"),
        }
    }

    /// Answers the server's first message of SCRAM (RFC 5802 section 3).
    fn prove(&self, nonce: &str, server_first: &str) -> Result<(State, String), AuthError> {
        let (server_nonce, salt, iterations) = read_server_first(server_first)?;
        if !server_nonce.starts_with(nonce) || server_nonce.len() == nonce.len() {
            return Err("the server's nonce does not begin with ours");
        }
        let mut salted = [0u8; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            self.credentials.password.as_bytes(),
            &mut salted,
        );
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        // "biws" is the header "n,,": no channel binding, no authorisation identity.
        let without_proof = format!("c=biws,r={server_nonce}");
        let auth_message =
            format!("{},{server_first},{without_proof}", client_first_bare(&self.credentials.user, nonce));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, stored_key.as_ref()), auth_message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&salted, b"Server Key").as_ref());
        let response = format!("{without_proof},p={}", BASE64.encode(proof));
        Ok((State::ScramProof { server_key, auth_message }, response))
    }
}

fn client_first_bare(user: &str, nonce: &str) -> String {
    // RFC 5802 section 5.1: the two characters that separate attributes are written otherwise.
    let user = user.replace('=', "=3D").replace(',', "=2C");
    format!("n={user},r={nonce}")
}

/// Nonce, salt and iterations of `r=...,s=...,i=...` (RFC 5802 section 7).
fn read_server_first(text: &str) -> Result<(&str, Vec<u8>, NonZeroU32), AuthError> {
    const BROKEN: AuthError = "the server's first SCRAM message is malformed";
    let mut attributes = text.split(',');
    // A mandatory extension, `m=`, would stand first; knowing none, we must fail (RFC 5802 section 5.1).
    let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(BROKEN)?;
    let salt = attributes.next().and_then(|a| a.strip_prefix("s=")).ok_or(BROKEN)?;
    let iterations = attributes.next().and_then(|a| a.strip_prefix("i=")).ok_or(BROKEN)?;
    let salt = BASE64.decode(salt).map_err(|_| BROKEN)?;
    let iterations: NonZeroU32 = iterations.parse().map_err(|_| BROKEN)?;
    if !(SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(&iterations.get()) {
        return Err("the server's number of SCRAM iterations is out of bounds");
    }
    Ok((nonce, salt, iterations))
}

/// Checks the server's final message, `v=` and its signature.
fn verify(server_key: &hmac::Key, auth_message: &str, server_final: &str) -> Result<(), AuthError> {
    let signature = server_final.split(',').next().and_then(|a| a.strip_prefix("v="));
    let signature = signature.and_then(|s| BASE64.decode(s).ok()).ok_or("the server did not prove who it is")?;
    hmac::verify(server_key, auth_message.as_bytes(), &signature).map_err(|_| "the server does not know the password")
}

fn decode(challenge: &str) -> Result<String, AuthError> {
    let bytes = BASE64.decode(challenge.trim()).map_err(|_| "the server's challenge is not base64")?;
    String::from_utf8(bytes).map_err(|_| "the server's challenge is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677 section 3.
    fn pencil() -> (AuthExchange, String) {
        let credentials = Credentials { user: "user".into(), password: "pencil".into() };
        AuthExchange::begin_scram(credentials, "rOprNGfwEbeRWgbNEkqO".into())
    }

    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn decoded(text: &str) -> String {
        decode(text).unwrap()
    }

    #[test]
    fn scram_as_the_rfc_shows_it() {
        let (mut exchange, command) = pencil();
        assert_eq!(decoded(command.strip_prefix("AUTH SCRAM-SHA-256 ").unwrap()), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let response = exchange.respond(&BASE64.encode(SERVER_FIRST)).unwrap();
        assert_eq!(
            decoded(&response),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(exchange.check_success().is_err());
        let server_final = BASE64.encode("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(exchange.respond(&server_final).as_deref(), Ok(""));
        assert_eq!(exchange.check_success(), Ok(()));
    }

    #[test]
    fn our_own_server_agrees() {
        use crate::sasl::{Exchange, Mechanism, ScramKeys, Step};
        let exchange = |password: &str| {
            let credentials = Credentials { user: "a,b=c@example.org".into(), password: password.into() };
            let offered = AuthMechanisms { scram_sha_256: true, plain: true, login: true };
            let (mut client, command) = AuthExchange::begin(offered, credentials).unwrap().unwrap();
            let mut server = Exchange::new(Mechanism::ScramSha256, None, [0; 32]);
            let first = BASE64.decode(command.strip_prefix("AUTH SCRAM-SHA-256 ").unwrap()).unwrap();
            let Step::Lookup { user } = server.start(Some(&first)) else { panic!("no lookup") };
            assert_eq!(user, "a,b=c@example.org");
            let mut step = server.keys(Some(ScramKeys::generate("pencil").unwrap()));
            while let Step::Challenge(challenge) = step {
                let response = client.respond(&BASE64.encode(challenge)).unwrap();
                step = server.response(&BASE64.decode(response).unwrap());
            }
            (step, client.check_success())
        };
        assert!(matches!(exchange("pencil"), (Step::Success { .. }, Ok(()))));
        assert!(matches!(exchange("pen"), (Step::Failure { .. }, Err(_))));
    }

    #[test]
    fn scram_refuses_a_server_that_cheats() {
        for server_first in [
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096",
            "m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "",
        ] {
            assert!(pencil().0.respond(&BASE64.encode(server_first)).is_err(), "{server_first}");
        }
        let (mut exchange, _) = pencil();
        exchange.respond(&BASE64.encode(SERVER_FIRST)).unwrap();
        assert!(exchange.respond(&BASE64.encode("v=AAAA")).is_err());
        assert!(exchange.respond("not base64").is_err());
    }

    #[test]
    fn names_cannot_break_a_mechanism() {
        assert_eq!(client_first_bare("a=b,c", "x"), "n=a=3Db=2Cc,r=x");
        let credentials = Credentials { user: "a\0b".into(), password: "x".into() };
        assert!(AuthExchange::begin_plain(credentials).is_err());
    }

    #[test]
    fn debug_shows_no_password() {
        let (exchange, _) = pencil();
        assert!(!format!("{exchange:?}").contains("pencil"));
    }
}
