//! LOGIN and AUTHENTICATE (RFC 9051 sections 6.2.2, 6.2.3; RFC 4959). The mechanisms are [`crate::sasl`]'s; here are their
//! wrapping and the answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Event, Question, Session, State, Verdict};
use crate::imap::response::{Code, Condition, Status};
use crate::sasl::{Exchange, Mechanism, Password, ScramKeys, Step};

/// AUTHENTICATE under way.
#[derive(Debug)]
pub(super) struct Authenticating {
    tag: String,
    exchange: Exchange,
}

impl Session {
    pub(super) fn login(&mut self, tag: String, user: String, password: Password) -> Option<Event> {
        self.state = State::Waiting(Question::Password { tag, user: user.clone() });
        Some(Event::AuthPassword { user, password })
    }

    pub(super) fn authenticate(&mut self, tag: String, mechanism: &str, initial: Option<&str>) -> Option<Event> {
        let mechanism =
            Mechanism::from_name(mechanism).filter(|mechanism| self.mechanisms().any(|offered| offered == *mechanism));
        let Some(mechanism) = mechanism else { return self.refuse(Some(&tag), Status::MECHANISM_UNKNOWN) };
        let initial = match initial {
            // RFC 4959 section 3: an empty initial response, as against none.
            Some("=") => Some(Vec::new()),
            Some(response) => match BASE64.decode(response) {
                Ok(response) => Some(response),
                Err(_) => return self.refuse(Some(&tag), Status::BAD_SASL_RESPONSE),
            },
            None => None,
        };
        self.login_denial = None;
        let channel_binding = self.tls.as_ref().and_then(|facts| facts.channel_binding.clone());
        let mut exchange = Exchange::new(mechanism, channel_binding, self.config.scram_decoy_key);
        let step = exchange.start(initial.as_deref());
        self.follow(Box::new(Authenticating { tag, exchange }), step)
    }

    /// Takes a line of an exchange, without its end; `None` stands for a line that was too long. Whatever is wrong with it
    /// ends the exchange.
    pub(super) fn read_sasl_response(&mut self, mut auth: Box<Authenticating>, line: Option<&[u8]>) -> Option<Event> {
        let status = match line {
            None => Status::LINE_TOO_LONG,
            Some(b"*") => Status::AUTHENTICATE_CANCELLED,
            Some(line) => match BASE64.decode(line) {
                Ok(response) => {
                    let step = auth.exchange.response(&response);
                    return self.follow(auth, step);
                }
                Err(_) => Status::BAD_SASL_RESPONSE,
            },
        };
        self.refuse(Some(&auth.tag), status)
    }

    pub(super) fn go_on_with_keys(&mut self, mut auth: Box<Authenticating>, keys: Option<ScramKeys>) {
        let step = auth.exchange.keys(keys);
        self.announced = self.follow(auth, step).map(Box::new);
    }

    pub(super) fn answer_lookup(&mut self, auth: Box<Authenticating>, verdict: Verdict) {
        match verdict {
            Verdict::Accept => self.go_on_with_keys(auth, None),
            Verdict::Reject(status) => status.write_tagged(&mut self.output, &auth.tag),
        }
    }

    pub(super) fn answer_password(&mut self, tag: &str, user: String, verdict: Verdict) {
        let event = match verdict {
            Verdict::Accept => Some(self.authenticated(tag, user)),
            // What could not be checked is no guess. Who is disabled counts as one, however the password was proven.
            Verdict::Reject(status) if matches!(status.code, Some(Code::AuthenticationFailed | Code::ContactAdmin)) => {
                Some(self.login_failed(tag, user, &status))
            }
            Verdict::Reject(status) => {
                status.write_tagged(&mut self.output, tag);
                None
            }
        };
        self.announced = event.map(Box::new);
    }

    /// Does what the mechanism wants next.
    fn follow(&mut self, auth: Box<Authenticating>, step: Step) -> Option<Event> {
        match step {
            Step::Challenge(challenge) => {
                self.output.extend_from_slice(b"+ ");
                self.output.extend_from_slice(BASE64.encode(challenge).as_bytes());
                self.output.extend_from_slice(b"\r\n");
                self.state = State::Authenticating(auth);
                None
            }
            Step::Password { user, password } => self.login(auth.tag, user, password),
            Step::Lookup { user } => {
                self.state = State::Waiting(Question::Lookup(auth));
                Some(Event::ScramLookup { user })
            }
            Step::Success { user } => Some(match self.login_denial.take() {
                None => self.authenticated(&auth.tag, user),
                Some(status) => self.login_failed(&auth.tag, user, &status),
            }),
            Step::Failure { user } => Some(self.login_failed(&auth.tag, user, &Status::LOGIN_FAILED)),
            Step::Malformed => self.refuse(Some(&auth.tag), Status::BAD_SASL_RESPONSE),
            Step::Unavailable => self.refuse(Some(&auth.tag), Status::UNAVAILABLE),
        }
    }

    fn authenticated(&mut self, tag: &str, user: String) -> Event {
        self.user = Some(user.as_str().into());
        self.errors = 0;
        let code = Code::Capability(self.capabilities());
        Status::new(Condition::Ok, Some(code), "Logged in").write_tagged(&mut self.output, tag);
        Event::Authenticated { user }
    }

    /// The driver hears of a failure also where it is one too many: guessing must be counted wherever it ends.
    fn login_failed(&mut self, tag: &str, user: String, status: &Status) -> Event {
        status.write_tagged(&mut self.output, tag);
        self.login_failures += 1;
        if self.login_failures > self.config.limits.login_failures_max {
            self.close(&Status::TOO_MANY_LOGINS);
        }
        Event::AuthFailed { user }
    }
}
