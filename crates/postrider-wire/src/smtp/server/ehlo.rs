//! EHLO and HELO (RFC 5321 section 4.1.1.1), LHLO (RFC 2033 section 4.1): who is there, and what is offered.

use std::fmt::Write as _;

use super::{AuthPolicy, Event, Hello, Protocol, Question, Session, State, Verdict};
use crate::sasl::Mechanism;
use crate::smtp::reply::Reply;

/// RFC 5321 section 4.5.3.1.2.
const HELLO_NAME_BYTES_MAX: usize = 255;

pub(super) fn ehlo(session: &mut Session, argument: &str) -> Result<Option<Event>, Reply> {
    greet(session, Protocol::Smtp, argument, true)
}

pub(super) fn helo(session: &mut Session, argument: &str) -> Result<Option<Event>, Reply> {
    greet(session, Protocol::Smtp, argument, false)
}

pub(super) fn lhlo(session: &mut Session, argument: &str) -> Result<Option<Event>, Reply> {
    greet(session, Protocol::Lmtp, argument, true)
}

/// Section 4.1.4: a transaction that is open is dropped. A name is not refused for what it says, only for its shape: many
/// clients know no name of theirs.
fn greet(session: &mut Session, protocol: Protocol, name: &str, extended: bool) -> Result<Option<Event>, Reply> {
    if session.config.protocol != protocol {
        // RFC 2033 section 4.1: each protocol refuses the other's, so that no client takes one for the other.
        return Err(match session.config.protocol {
            Protocol::Smtp => Reply::NOT_LMTP,
            Protocol::Lmtp => Reply::NOT_SMTP,
        });
    }
    let is_name = |c: char| !c.is_control() && !c.is_whitespace();
    if name.is_empty() || name.len() > HELLO_NAME_BYTES_MAX || !name.chars().all(is_name) {
        return Err(Reply::BAD_HELLO_NAME);
    }
    session.state = State::Waiting(Question::Hello(Hello { name: name.into(), extended }));
    Ok(Some(Event::Hello { name: name.to_owned(), extended }))
}

impl Session {
    pub(super) fn answer_hello(&mut self, hello: Hello, verdict: Verdict) {
        let reply = match verdict {
            Verdict::Reject(reply) => return self.reject(&reply, 1),
            Verdict::AcceptAs(reply) => reply,
            Verdict::Accept if hello.extended => Reply::plain(250, self.capabilities()),
            Verdict::Accept => Reply::plain(250, self.config.hostname.clone()),
        };
        self.hello = Some(hello);
        self.say(&reply);
    }

    /// Mechanisms that are offered now; none where AUTH is not.
    pub(super) fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        let offered = match self.config.auth {
            AuthPolicy::Never => false,
            AuthPolicy::TlsOnly => self.tls.is_some(),
            AuthPolicy::Always => true,
        };
        let can_bind = self.tls.as_ref().is_some_and(|facts| facts.channel_binding.is_some());
        Mechanism::ALL
            .into_iter()
            .filter(move |mechanism| offered && (can_bind || *mechanism != Mechanism::ScramSha256Plus))
    }

    fn capabilities(&self) -> String {
        let mut text = self.config.hostname.clone();
        text.push_str("\nPIPELINING");
        // Writing to a String does not fail.
        let _ = write!(text, "\nSIZE {}", self.config.limits.message_bytes_max);
        if self.config.starttls && self.tls.is_none() {
            text.push_str("\nSTARTTLS");
        }
        let mut mechanisms = self.mechanisms().map(Mechanism::name).peekable();
        if mechanisms.peek().is_some() {
            text.push_str("\nAUTH");
            mechanisms.for_each(|name| {
                text.push(' ');
                text.push_str(name);
            });
        }
        text.push_str("\nENHANCEDSTATUSCODES\n8BITMIME\nSMTPUTF8");
        if self.config.dsn {
            text.push_str("\nDSN");
        }
        if self.config.priorities {
            text.push_str("\nMT-PRIORITY");
        }
        if let Some(limits) = &self.future_release {
            // Writing to a String does not fail.
            let _ = write!(text, "\nFUTURERELEASE {} {}", limits.seconds_max, limits.date_time_max);
        }
        text.push_str("\nCHUNKING");
        // RFC 8689 section 2: not in clear.
        if self.tls.is_some() {
            text.push_str("\nREQUIRETLS");
        }
        text
    }
}
