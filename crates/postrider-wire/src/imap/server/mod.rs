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

mod config;
mod event;

use std::sync::Arc;

use bytes::BytesMut;

pub use self::config::{AuthPolicy, Limits, ServerConfig, TlsFacts};
pub use self::event::{Event, LiteralOffer, Verdict};
use super::command::Extension;
use super::response::{Dialect, Status};
use crate::sasl::ScramKeys;

/// One IMAP session, seen from the server.
#[derive(Debug)]
pub struct Session {
    config: Arc<ServerConfig>,
    tls: Option<TlsFacts>,
    user: Option<Box<str>>,
    dialect: Dialect,
    is_selected: bool,
    output: BytesMut,
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

impl Session {
    /// A session whose greeting is in the output already. `tls`: what is known where TLS began with the first byte.
    pub fn new(config: Arc<ServerConfig>, tls: Option<TlsFacts>) -> Self {
        Self { config, tls, user: None, dialect: Dialect::default(), is_selected: false, output: BytesMut::new() }
    }

    /// Reads on. `None`: more input is needed, an event waits for its answer, or the session is closed; this is the time
    /// to write the output. What was read is taken out of `input`.
    pub fn next_event(&mut self, _input: &mut BytesMut) -> Option<Event> {
        None
    }

    /// The responses so far. The driver adds its own, writes them and clears this, or takes it.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Ends the command that waits with a tagged response, and reads on. Without one, or after [`Session::close`], it does
    /// nothing.
    pub fn finish(&mut self, _status: &Status) {}

    /// Answers a question. Without one, or after [`Session::close`], it does nothing.
    pub fn respond(&mut self, _verdict: Verdict) {}

    /// Answers [`Event::ScramLookup`]. `None`: nobody has this name; the exchange goes on with made-up keys and fails at
    /// its end, so that names cannot be probed.
    pub fn scram_keys(&mut self, _keys: Option<ScramKeys>) {}

    /// Ends [`Event::StartTls`]: the handshake is done. `input`, which may hold what somebody slipped in before the
    /// handshake, is dropped unread (RFC 9051 section 6.2.1).
    pub fn tls_started(&mut self, _facts: TlsFacts, _input: &mut BytesMut) {}

    /// Ends [`Event::Compress`]: all that is read and written from here on is compressed outside of the session. `input`
    /// holds what is decompressed.
    pub fn compression_started(&mut self) {}

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
    pub fn close(&mut self, _status: &Status) {}

    pub fn is_closed(&self) -> bool {
        false
    }

    pub fn phase(&self) -> Phase {
        match (&self.user, self.is_selected) {
            (None, _) => Phase::NotAuthenticated,
            (Some(_), false) => Phase::Authenticated,
            (Some(_), true) => Phase::Selected,
        }
    }

    /// Amid IDLE (RFC 2177).
    pub fn is_idle(&self) -> bool {
        false
    }

    /// Bytes of the command that is being read: strings and messages.
    pub fn held_bytes(&self) -> usize {
        0
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
}
