//! The server's side of IMAP: a [`Session`] turns bytes into [`Event`]s and answers into responses.
//!
//! It never sees a socket, a clock, a setting or a store: whoever drives it reads and writes, measures time, decides who
//! may do what, and carries commands out. One loop is enough:
//!
//! ```text
//! loop {
//!     while let Some(event) = session.next_event(&mut input) { carry out, and answer if the event waits for it }
//!     write session.output(), clear it            // the answers to all that was pipelined, in one write
//!     if session.is_closed() { break }
//!     read more into input
//! }
//! ```
//!
//! Commands come one at a time: what is pipelined stays in the input until [`Session::finish`] (RFC 9051 section 5.5).

mod auth;
mod capability;
mod carry_out;
mod config;
mod event;
mod reading;
mod table;

use std::mem;
use std::sync::Arc;

use bytes::BytesMut;

use self::auth::Authenticating;
pub use self::config::{AuthPolicy, Limits, ServerConfig, TlsFacts};
pub use self::event::{Event, LiteralOffer, Verdict};
use self::reading::{Discard, Line, Literal, OfferedLiteral, Partial, Skipping};
use super::command::Extension;
use super::response::{Dialect, Status};
use crate::sasl::ScramKeys;

/// Capacity that an output buffer may keep while the session waits for the client.
const OUTPUT_IDLE_BYTES_MAX: usize = 512;

/// One IMAP session, seen from the server.
#[derive(Debug)]
pub struct Session {
    config: Arc<ServerConfig>,
    tls: Option<TlsFacts>,
    user: Option<Box<str>>,
    dialect: Dialect,
    is_selected: bool,
    is_compressed: bool,
    state: State,
    output: BytesMut,
    /// The command that is being read, between two of its literals.
    partial: Option<Box<Partial>>,
    /// Comes out before anything else is read.
    announced: Option<Box<Event>>,
    /// [`Event::Closed`] came out.
    closed_told: bool,
    /// A line that grew too long is dropped up to its end.
    skipping: Option<Skipping>,
    /// Bytes at the beginning of the input in which no line ends.
    scanned_bytes: usize,
    errors: usize,
    login_failures: usize,
    /// In place of a success of the exchange that goes on.
    login_denial: Option<Status>,
}

/// Where a session stands (RFC 9051 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    NotAuthenticated,
    Authenticated,
    Selected,
    /// Nothing is carried out any more.
    Logout,
}

/// What was being read is not there yet.
#[derive(Debug)]
struct NeedsInput;

/// A state owns what lives only as long as it: a transition takes it out and puts another in.
#[derive(Debug)]
enum State {
    /// Reads lines of commands.
    Ready,
    /// Reads the bytes of a literal.
    Literal(Box<Literal>),
    /// Throws away what comes of a refused command.
    Discard(Box<Discard>),
    /// Reads lines of a SASL exchange.
    Authenticating(Box<Authenticating>),
    /// Waits for DONE; the command's tag.
    Idle(String),
    /// Reads nothing until the driver has answered.
    Waiting(Question),
    StartTls,
    Compress,
    Closed,
}

/// What the driver was asked, and what the session goes on with.
#[derive(Debug)]
enum Question {
    Command {
        tag: String,
    },
    Literal(Box<OfferedLiteral>),
    IdleEnd {
        tag: String,
        /// The client did not say DONE.
        is_broken: bool,
    },
    Password {
        tag: String,
        user: String,
    },
    Lookup(Box<Authenticating>),
}

impl Session {
    /// A session whose greeting is in the output already. `tls`: what is known where TLS began with the first byte.
    pub fn new(config: Arc<ServerConfig>, tls: Option<TlsFacts>) -> Self {
        let mut session = Self {
            config,
            tls,
            user: None,
            dialect: Dialect::default(),
            is_selected: false,
            is_compressed: false,
            state: State::Ready,
            output: BytesMut::with_capacity(OUTPUT_IDLE_BYTES_MAX / 2),
            partial: None,
            announced: None,
            closed_told: false,
            skipping: None,
            scanned_bytes: 0,
            errors: 0,
            login_failures: 0,
            login_denial: None,
        };
        session.greet();
        session
    }

    /// Reads on. `None`: more input is needed, an event waits for its answer, or the session is closed; this is the time
    /// to write the output. What was read is taken out of `input`, to which the driver only appends.
    pub fn next_event(&mut self, input: &mut BytesMut) -> Option<Event> {
        if self.output.is_empty() && self.output.capacity() > OUTPUT_IDLE_BYTES_MAX {
            self.output = BytesMut::new();
        }
        loop {
            if let Some(event) = self.announced.take() {
                return Some(*event);
            }
            match self.read(input) {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(NeedsInput) => return None,
            }
        }
    }

    /// The responses so far. The driver adds its own, writes them and clears this, or takes it.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Ends the command that waits with a tagged response, and reads on. Without one, or after [`Session::close`], it does
    /// nothing.
    pub fn finish(&mut self, status: &Status) {
        let (tag, is_broken) = match mem::replace(&mut self.state, State::Ready) {
            State::Waiting(Question::Command { tag }) => (tag, false),
            State::Waiting(Question::IdleEnd { tag, is_broken }) => (tag, is_broken),
            other => return self.state = other,
        };
        if is_broken {
            self.announced = self.refuse(Some(&tag), Status::EXPECTED_DONE).map(Box::new);
            return;
        }
        if status.is_ok() {
            self.errors = 0;
        }
        status.write_tagged(&mut self.output, &tag);
    }

    /// Answers a question. Without one, or after [`Session::close`], it does nothing.
    pub fn respond(&mut self, verdict: Verdict) {
        match mem::replace(&mut self.state, State::Ready) {
            State::Waiting(Question::Literal(offered)) => self.answer_literal(*offered, verdict),
            State::Waiting(Question::Password { tag, user }) => self.answer_password(&tag, user, verdict),
            State::Waiting(Question::Lookup(auth)) => self.answer_lookup(auth, verdict),
            other => self.state = other,
        }
    }

    /// Answers [`Event::ScramLookup`]. `None`: nobody has this name; the exchange goes on with made-up keys and fails at
    /// its end, so that names cannot be probed.
    pub fn scram_keys(&mut self, keys: Option<ScramKeys>) {
        match mem::replace(&mut self.state, State::Ready) {
            State::Waiting(Question::Lookup(auth)) => self.go_on_with_keys(auth, keys),
            other => self.state = other,
        }
    }

    /// To be called before [`Session::scram_keys`]: who proves to be the user is answered so, and is not logged in.
    /// [`Event::AuthFailed`] follows.
    pub fn deny_login(&mut self, status: Status) {
        self.login_denial = Some(status);
    }

    /// Ends [`Event::StartTls`]: the handshake is done. `input`, which may hold what somebody slipped in before the
    /// handshake, is dropped unread (RFC 9051 section 6.2.1).
    pub fn tls_started(&mut self, facts: TlsFacts, input: &mut BytesMut) {
        input.clear();
        self.scanned_bytes = 0;
        if matches!(self.state, State::StartTls) {
            self.tls = Some(facts);
            self.state = State::Ready;
        }
    }

    /// Ends [`Event::Compress`]: all that is read and written from here on is compressed outside of the session. `input`
    /// holds what is decompressed.
    pub fn compression_started(&mut self) {
        if matches!(self.state, State::Compress) {
            self.is_compressed = true;
            self.scanned_bytes = 0;
            self.state = State::Ready;
        }
    }

    /// Tells whether a mailbox is selected from now on: after SELECT and EXAMINE, whether they did or not, and after CLOSE
    /// and UNSELECT.
    pub fn set_selected(&mut self, is_selected: bool) {
        self.is_selected = is_selected;
    }

    /// Enables what changes how the session reads and writes: UTF8=ACCEPT and IMAP4rev2. Others are the driver's to keep
    /// in mind.
    pub fn enable(&mut self, extension: &Extension) {
        match extension {
            Extension::Utf8Accept => self.dialect.utf8_accept = true,
            Extension::Imap4Rev2 => self.dialect.rev2 = true,
            _ => {}
        }
    }

    /// How responses are to be written now.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Ends the session: at once, whatever it was doing, and in place of any answer that was due. `status` is a BYE; where
    /// the client has begun a TLS handshake nothing is said.
    pub fn close(&mut self, status: &Status) {
        match mem::replace(&mut self.state, State::Closed) {
            State::Closed | State::StartTls => {}
            _ => status.write_untagged(&mut self.output),
        }
        self.partial = None;
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub fn phase(&self) -> Phase {
        match (&self.user, self.is_selected) {
            _ if self.is_closed() => Phase::Logout,
            (None, _) => Phase::NotAuthenticated,
            (Some(_), false) => Phase::Authenticated,
            (Some(_), true) => Phase::Selected,
        }
    }

    /// Amid IDLE (RFC 2177).
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle(_))
    }

    /// Amid a command: its end is still to come.
    pub fn is_amid_command(&self) -> bool {
        self.partial.is_some() || matches!(self.state, State::Literal(_) | State::Discard(_))
    }

    /// Bytes of the command that is being read: strings and messages.
    pub fn held_bytes(&self) -> usize {
        match &self.state {
            State::Literal(literal) => literal.held_bytes(),
            State::Waiting(Question::Literal(offered)) => offered.held_bytes(),
            _ => self.partial.as_ref().map_or(0, |partial| partial.held_bytes()),
        }
    }

    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Who has authenticated.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    fn read(&mut self, input: &mut BytesMut) -> Result<Option<Event>, NeedsInput> {
        match mem::replace(&mut self.state, State::Ready) {
            State::Ready => self.read_line(input).map(|line| self.read_command_line(line)),
            State::Literal(literal) => self.read_literal(literal, input),
            State::Discard(discard) => self.read_discard(discard, input),
            State::Authenticating(auth) => match self.read_line(input) {
                Ok(Line::Whole(line)) => Ok(self.read_sasl_response(auth, Some(without_end(&line)))),
                Ok(Line::TooLong { .. }) => Ok(self.read_sasl_response(auth, None)),
                Err(NeedsInput) => self.stay(State::Authenticating(auth)),
            },
            State::Idle(tag) => match self.read_line(input) {
                Ok(line) => {
                    let is_done = matches!(line, Line::Whole(line) if without_end(&line).eq_ignore_ascii_case(b"DONE"));
                    self.state = State::Waiting(Question::IdleEnd { tag, is_broken: !is_done });
                    Ok(Some(Event::IdleDone))
                }
                Err(NeedsInput) => self.stay(State::Idle(tag)),
            },
            State::Closed => {
                input.clear();
                self.state = State::Closed;
                if mem::replace(&mut self.closed_told, true) { Err(NeedsInput) } else { Ok(Some(Event::Closed)) }
            }
            state @ (State::Waiting(_) | State::StartTls | State::Compress) => self.stay(state),
        }
    }

    fn stay(&mut self, state: State) -> Result<Option<Event>, NeedsInput> {
        self.state = state;
        Err(NeedsInput)
    }

    /// Says a refusal and counts it; one too many ends the session. `None` as the tag: nobody knows which command.
    fn refuse(&mut self, tag: Option<&str>, status: Status) -> Option<Event> {
        match tag {
            Some(tag) => status.write_tagged(&mut self.output, tag),
            None => status.write_untagged(&mut self.output),
        }
        self.errors += usize::from(status.is_bad());
        if self.errors > self.config.limits.errors_max {
            self.close(&Status::TOO_MANY_ERRORS);
        }
        Some(Event::Violation { status })
    }
}

/// A line's text. Only the last CR belongs to its end.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
