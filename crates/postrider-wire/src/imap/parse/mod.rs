//! The grammar of commands (RFC 9051 section 9 and those of the extensions), one function for each rule.
//!
//! A parser runs over the text of one command, line ends behind literals' sizes included, and takes the literals' bytes
//! from beside it. Where a literal is announced that has not come yet it stops and says what the literal would be.

pub(super) mod append;
pub(super) mod auth;
pub(super) mod fetch;
pub(super) mod list;
mod literal;
pub(super) mod mailbox;
pub(super) mod metadata;
pub(super) mod notify;
pub(super) mod search;
pub(super) mod sort;
mod values;
mod words;

use bytes::Bytes;

pub(super) use self::literal::{Announcement, LiteralRole, announcement};
use super::command::CommandBody;
use super::response::{Dialect, Status};
use super::server::Limits;
use crate::sasl::Password;

/// What a command asks of the machine or, through it, of the driver.
#[derive(Debug)]
pub(super) enum Request {
    Capability,
    Logout,
    StartTls,
    Authenticate {
        mechanism: String,
        /// Base64; `=` stands for an empty one (RFC 4959).
        initial_response: Option<String>,
    },
    Login {
        user: String,
        password: Password,
    },
    Idle,
    Compress {
        algorithm: String,
    },
    Command(CommandBody),
}

/// Why a text is no command.
#[derive(Debug)]
pub(super) enum Fault {
    /// What should have stood there, and how many bytes stand before.
    Expected(&'static str, usize),
    /// It is one, but nothing that can be done.
    Refused(Box<Status>),
    /// The text ends where this literal is announced.
    Literal(LiteralRole),
}

pub(super) type Parsed<T> = Result<T, Fault>;

/// The text of a command and how far it has been read.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    text: &'a [u8],
    position: usize,
    /// Those that have come, in order.
    literals: &'a [Bytes],
    literals_taken: usize,
    dialect: Dialect,
    limits: &'a Limits,
    search_keys: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8], literals: &'a [Bytes], dialect: Dialect, limits: &'a Limits) -> Self {
        Self { text, position: 0, literals, literals_taken: 0, dialect, limits, search_keys: 0 }
    }

    pub(super) fn expected<T>(&self, what: &'static str) -> Parsed<T> {
        Err(Fault::Expected(what, self.position))
    }

    fn refused<T>(status: Status) -> Parsed<T> {
        Err(Fault::Refused(Box::new(status)))
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.position..).unwrap_or_default()
    }

    /// Takes the byte if it stands there.
    fn take(&mut self, byte: u8) -> bool {
        let stands = self.peek() == Some(byte);
        self.position += usize::from(stands);
        stands
    }

    fn require(&mut self, byte: u8, what: &'static str) -> Parsed<()> {
        if self.take(byte) { Ok(()) } else { self.expected(what) }
    }

    pub(super) fn space(&mut self) -> Parsed<()> {
        self.require(b' ', "a space")
    }

    fn open(&mut self) -> Parsed<()> {
        self.require(b'(', "(")
    }

    fn close(&mut self) -> Parsed<()> {
        self.require(b')', ")")
    }

    /// Nothing more stands there. Spaces do no harm: some clients leave one (RFC 9051 has none).
    pub(super) fn end(&mut self) -> Parsed<()> {
        while self.take(b' ') {}
        if self.position == self.text.len() { Ok(()) } else { self.expected("the end of the command") }
    }

    /// `(` item *(SP item) `)`. `item` reads one; `may_be_empty`: `()` is one too.
    fn list<T>(&mut self, may_be_empty: bool, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.open()?;
        let mut items = Vec::new();
        if may_be_empty && self.take(b')') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            self.check_count(items.len())?;
            if self.take(b')') {
                return Ok(items);
            }
            self.require(b' ', "a space or )")?;
        }
    }

    fn check_count(&self, count: usize) -> Parsed<()> {
        if count > self.limits.list_items_max { Self::refused(Status::LIST_TOO_LONG) } else { Ok(()) }
    }
}
