//! SASL (RFC 4422): PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and -PLUS (RFC 5802, RFC 7677), the server's side as a state
//! machine, and the little that a client needs for PLAIN and LOGIN.
//!
//! It works on responses and challenges as bytes, decoded from whatever the protocol wraps them in. It knows no protocol,
//! no store of users and no way to hash a password but SCRAM's own.

mod login;
mod plain;
mod scram;

use std::fmt;

pub use self::login::{login_password, login_user};
pub use self::plain::plain_response;
pub use self::scram::ScramKeys;

/// Bytes of a user name, and of a password (RFC 4616 section 2 asks for 255 at least).
pub const CREDENTIAL_BYTES_MAX: usize = 1024;

/// A mechanism that our servers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    Login,
    ScramSha256,
    /// Bound to the TLS connection (RFC 5802 section 6).
    ScramSha256Plus,
}

impl Mechanism {
    /// In the order in which they are offered: best first.
    pub const ALL: [Self; 4] = [Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// In any case (RFC 4422 section 3.1 has upper case, clients have both).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// What ties an authentication to one TLS connection (RFC 5056).
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelBinding {
    /// `tls-exporter` (RFC 9266).
    pub name: &'static str,
    pub data: Vec<u8>,
}

impl fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBinding").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A password as a client sent it. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

impl Password {
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// What a server has to do next in an exchange.
#[derive(Debug)]
pub enum Step {
    /// Send this, and hand the answer to [`Exchange::response`].
    Challenge(Vec<u8>),
    /// Check them; the exchange is over.
    Password { user: String, password: Password },
    /// Find this user's keys and hand them to [`Exchange::keys`].
    Lookup { user: String },
    /// Proven; the exchange is over.
    Success { user: String },
    /// The proof is wrong; the exchange is over.
    Failure { user: String },
    /// The client does not keep to the mechanism; the exchange is over.
    Malformed,
    /// The machine gives no random numbers; the exchange is over.
    Unavailable,
}

/// One authentication, seen from the server.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    Plain,
    LoginUser,
    LoginPassword { user: String },
    Scram(Box<scram::Server>),
    Over,
}

impl Exchange {
    /// `channel_binding` is what this connection could be bound to, whatever the mechanism: with it SCRAM-SHA-256-PLUS was
    /// offered, and a client that says it was not has been lied to. `decoy_key` makes the salts of unknown users.
    pub fn new(mechanism: Mechanism, channel_binding: Option<ChannelBinding>, decoy_key: [u8; 32]) -> Self {
        Self(match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginUser,
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                let plus = mechanism == Mechanism::ScramSha256Plus;
                State::Scram(Box::new(scram::Server::new(plus, channel_binding, decoy_key)))
            }
        })
    }

    /// Begins, with the initial response if the client sent one.
    pub fn start(&mut self, initial_response: Option<&[u8]>) -> Step {
        match (initial_response, &self.0) {
            (Some(response), _) => self.response(response),
            (None, State::LoginUser) => Step::Challenge(login::USER_CHALLENGE.to_vec()),
            (None, _) => Step::Challenge(Vec::new()),
        }
    }

    /// Takes the client's next response.
    pub fn response(&mut self, response: &[u8]) -> Step {
        match std::mem::replace(&mut self.0, State::Over) {
            State::Plain => plain::read(response),
            State::LoginUser => match credential(response) {
                Some(user) => {
                    self.0 = State::LoginPassword { user: user.to_owned() };
                    Step::Challenge(login::PASSWORD_CHALLENGE.to_vec())
                }
                None => Step::Malformed,
            },
            State::LoginPassword { user } => match credential(response) {
                Some(password) => Step::Password { user, password: Password::new(password) },
                None => Step::Malformed,
            },
            State::Scram(server) => self.scram(server.response(response)),
            State::Over => Step::Malformed,
        }
    }

    /// Answers [`Step::Lookup`]. `None`: there is no such user; the exchange goes on with keys that nothing fits.
    pub fn keys(&mut self, keys: Option<ScramKeys>) -> Step {
        match std::mem::replace(&mut self.0, State::Over) {
            State::Scram(server) => self.scram(server.keys(keys)),
            _ => Step::Malformed,
        }
    }

    fn scram(&mut self, (next, step): (Option<scram::Server>, Step)) -> Step {
        self.0 = next.map_or(State::Over, |server| State::Scram(Box::new(server)));
        step
    }
}

/// A user name or password that can be worked with: UTF-8, not empty, not too long, without control characters.
///
/// This is the part of SASLprep (RFC 4013) that refuses. Its part that maps is not done: what differs only in Unicode
/// normalisation is taken as different, while ASCII, which nearly all of them are, is not mapped by it at all.
fn credential(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let holds = !text.is_empty() && text.len() <= CREDENTIAL_BYTES_MAX && !text.chars().any(char::is_control);
    holds.then_some(text)
}
