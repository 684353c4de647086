//! AUTH (RFC 4954): SASL exchanges in base64 lines. The mechanisms are [`crate::sasl`]'s; here are their wrapping and the
//! replies.

use std::mem;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{AuthPolicy, Event, Question, Session, State, Verdict};
use crate::sasl::{Exchange, Mechanism, Step};
use crate::smtp::reply::Reply;

pub(super) fn auth(session: &mut Session, argument: &str) -> Result<Option<Event>, Reply> {
    if session.user.is_some() {
        return Err(Reply::AUTH_DONE);
    }
    match session.config.auth {
        AuthPolicy::Never => return Err(Reply::AUTH_NOT_OFFERED),
        AuthPolicy::TlsOnly if session.tls.is_none() => return Err(Reply::AUTH_NEEDS_TLS),
        _ => {}
    }
    let (name, initial_response) = match argument.split_once(' ') {
        Some((name, response)) => (name, Some(response)),
        None => (argument, None),
    };
    if name.is_empty() {
        return Err(Reply::BAD_SYNTAX);
    }
    let mechanism = Mechanism::from_name(name)
        .filter(|mechanism| session.mechanisms().any(|offered| offered == *mechanism))
        .ok_or(Reply::AUTH_MECHANISM_UNKNOWN)?;
    let initial_response = match initial_response {
        // Section 4: an empty initial response, as against none.
        Some("=") => Some(Vec::new()),
        Some(response) => Some(BASE64.decode(response).map_err(|_| Reply::AUTH_BAD_RESPONSE)?),
        None => None,
    };
    session.login_denial = None;
    let channel_binding = session.tls.as_ref().and_then(|facts| facts.channel_binding.clone());
    let mut exchange = Box::new(Exchange::new(mechanism, channel_binding, session.config.scram_decoy_key));
    let step = exchange.start(initial_response.as_deref());
    Ok(session.follow_auth(exchange, step))
}

impl Session {
    /// Takes a line of an exchange, with its CRLF; an empty one stands for a line that was too long. Whatever is wrong
    /// with it ends the exchange.
    pub(super) fn read_auth_response(&mut self, line: &[u8]) -> Option<Event> {
        let State::Auth(mut exchange) = mem::replace(&mut self.state, State::Ready) else { return None };
        let Some(response) = line.strip_suffix(b"\r\n") else { return self.refuse(Reply::AUTH_LINE_TOO_LONG) };
        if response == b"*" {
            return self.refuse(Reply::AUTH_CANCELLED);
        }
        // This refuses bare CR, LF and NUL along with all else that is not base64.
        let Ok(response) = BASE64.decode(response) else { return self.refuse(Reply::AUTH_BAD_RESPONSE) };
        let step = exchange.response(&response);
        self.follow_auth(exchange, step)
    }

    /// Does what the mechanism wants next.
    pub(super) fn follow_auth(&mut self, exchange: Box<Exchange>, step: Step) -> Option<Event> {
        match step {
            Step::Challenge(challenge) => {
                self.state = State::Auth(exchange);
                self.say_challenge(&challenge);
                None
            }
            Step::Password { user, password } => {
                self.state = State::Waiting(Question::Password { user: user.clone() });
                Some(Event::AuthPassword { user, password })
            }
            Step::Lookup { user } => {
                self.state = State::Waiting(Question::ScramLookup(exchange));
                Some(Event::ScramLookup { user })
            }
            Step::Success { user } => match self.login_denial.take() {
                None => Some(self.authenticated(user, &Reply::AUTHENTICATED)),
                Some(reply) => self.auth_failed(user, reply),
            },
            Step::Failure { user } => self.auth_failed(user, Reply::AUTH_FAILED),
            Step::Malformed => self.refuse(Reply::AUTH_BAD_RESPONSE),
            Step::Unavailable => self.refuse(Reply::AUTH_UNAVAILABLE),
        }
    }

    pub(super) fn answer_password(&mut self, user: String, verdict: Verdict) {
        let event = match verdict {
            Verdict::Accept => Some(self.authenticated(user, &Reply::AUTHENTICATED)),
            Verdict::AcceptAs(reply) => Some(self.authenticated(user, &reply)),
            Verdict::Reject(reply) if reply.is_permanent() => self.auth_failed(user, reply),
            Verdict::Reject(reply) => {
                self.reject(&reply, 1);
                None
            }
        };
        if let Some(event) = event {
            self.announced = Some(Box::new(event));
        }
    }

    fn authenticated(&mut self, user: String, reply: &Reply) -> Event {
        self.user = Some(user.as_str().into());
        self.say(reply);
        Event::Authenticated { user }
    }

    /// The driver hears of a failure also where it is one too many: guessing must be counted wherever it ends.
    fn auth_failed(&mut self, user: String, reply: Reply) -> Option<Event> {
        self.reject(&reply, 1);
        Some(Event::AuthFailed { user })
    }

    /// No reply of the table: a challenge is data and may be longer than any reply's line.
    fn say_challenge(&mut self, challenge: &[u8]) {
        self.output.extend_from_slice(b"334 ");
        self.output.extend_from_slice(BASE64.encode(challenge).as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }
}
