//! Status responses (RFC 9051 section 7.1), and the table of all that the machine says by itself.
//!
//! A status holds what the client may know and nothing else: the private cause of a refusal belongs in the log.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, BytesMut};

use super::Code;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Done.
    Ok,
    /// Not done.
    No,
    /// Not understood, or not allowed here.
    Bad,
    /// The end of the session. Never tagged.
    Bye,
}

/// What a server says of one command, or of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub condition: Condition,
    pub code: Option<Code>,
    pub text: Cow<'static, str>,
}

impl Status {
    /// Bytes of the text. What is longer is cut when written.
    pub const TEXT_BYTES_MAX: usize = 400;

    pub const fn ok(text: &'static str) -> Self {
        Self::fixed(Condition::Ok, None, text)
    }

    pub const fn no(text: &'static str) -> Self {
        Self::fixed(Condition::No, None, text)
    }

    pub const fn bad(text: &'static str) -> Self {
        Self::fixed(Condition::Bad, None, text)
    }

    pub const fn bye(text: &'static str) -> Self {
        Self::fixed(Condition::Bye, None, text)
    }

    /// NO with a code.
    pub const fn refusal(code: Code, text: &'static str) -> Self {
        Self::fixed(Condition::No, Some(code), text)
    }

    pub fn new(condition: Condition, code: Option<Code>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { condition, code, text: text.into() }
    }

    const fn fixed(condition: Condition, code: Option<Code>, text: &'static str) -> Self {
        Self { condition, code, text: Cow::Borrowed(text) }
    }

    /// The same with a code.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    pub fn is_bad(&self) -> bool {
        self.condition == Condition::Bad
    }

    pub fn is_ok(&self) -> bool {
        self.condition == Condition::Ok
    }

    /// Appends the answer to the command of this tag, with its line's end.
    pub fn write_tagged(&self, out: &mut BytesMut, tag: &str) {
        out.extend_from_slice(tag.as_bytes());
        out.extend_from_slice(b" ");
        self.write_rest(out);
    }

    /// Appends it as an answer to no command: `* OK [...] ...`.
    pub fn write_untagged(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"* ");
        self.write_rest(out);
    }

    /// Control characters become spaces, so that a text that quotes a client cannot break out of its line.
    fn write_rest(&self, out: &mut BytesMut) {
        out.extend_from_slice(match self.condition {
            Condition::Ok => b"OK ",
            Condition::No => b"NO ",
            Condition::Bad => b"BAD ",
            Condition::Bye => b"BYE ",
        });
        if let Some(code) = &self.code {
            code.write(out);
            out.extend_from_slice(b" ");
        }
        // A text that begins with a bracket would be read as a code; an empty one is against the grammar.
        if self.text.is_empty() || (self.code.is_none() && self.text.starts_with('[')) {
            out.extend_from_slice(b"-");
        }
        let text = &self.text[..self.text.floor_char_boundary(Self::TEXT_BYTES_MAX)];
        for b in text.bytes() {
            out.put_u8(if b.is_ascii_control() {
                b' '
            } else if b.is_ascii() {
                b
            } else {
                b'?'
            });
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The table: what the machine says by itself, and what drivers answer its questions with.
impl Status {
    pub const ALREADY_LOGGED_IN: Self = Self::bad("Not after login");
    pub const AUTHENTICATE_CANCELLED: Self = Self::bad("Authentication cancelled");
    pub const BAD_CHARSET: Self =
        Self::refusal(Code::BadCharset(&["US-ASCII", "UTF-8"]), "Searches are in UTF-8 or US-ASCII");
    pub const BAD_NAME: Self = Self::refusal(Code::Cannot, "That is no name for a mailbox");
    /// RFC 9051 section 7.1: the password is right, and the administrator has the say.
    pub const ACCOUNT_DISABLED: Self =
        Self::refusal(Code::ContactAdmin, "This account is disabled, ask the administrator of this server");
    pub const BAD_SASL_RESPONSE: Self = Self::bad("That is not what the mechanism asks for");
    pub const BAD_TAG: Self = Self::bad("Expected a tag, a space and a command");
    pub const CAPABILITY_DONE: Self = Self::ok("That is what there is");
    pub const COMMAND_TOO_LONG: Self = Self::refusal(Code::Limit, "The command is too long");
    pub const COMPRESSION_ACTIVE: Self = Self::refusal(Code::CompressionActive, "Compression is active already");
    pub const COMPRESSION_BEGINS: Self = Self::ok("DEFLATE is active from here");
    pub const COMPRESSION_UNKNOWN: Self = Self::no("There is no such compression here");
    pub const EMPTY_MESSAGE: Self = Self::no("The message is empty, nothing was kept");
    pub const EXPECTED_DONE: Self = Self::bad("Expected DONE, IDLE is over");
    pub const IDLE_DONE: Self = Self::ok("IDLE is over");
    pub const LINE_TOO_LONG: Self = Self::bad("The line is too long");
    pub const LIST_TOO_LONG: Self = Self::refusal(Code::Limit, "The list is too long");
    pub const LITERAL_ENDLESS: Self = Self::bye("The literal is too long to wait for its end");
    pub const LOGIN_FAILED: Self = Self::refusal(Code::AuthenticationFailed, "Wrong user name or password");
    pub const LOGIN_FIRST: Self = Self::bad("Log in first");
    pub const LOGIN_NEEDS_TLS: Self = Self::refusal(Code::PrivacyRequired, "Start TLS first");
    pub const LOGIN_NOT_OFFERED: Self = Self::no("Nobody can log in here");
    pub const LOGOUT: Self = Self::bye("Goodbye");
    pub const LOGOUT_DONE: Self = Self::ok("Logged out");
    pub const MECHANISM_UNKNOWN: Self = Self::refusal(Code::Cannot, "There is no such mechanism here");
    pub const MESSAGE_TOO_BIG: Self = Self::refusal(Code::TooBig, "The message is too large");
    pub const NAME_TOO_LONG: Self = Self::refusal(Code::Limit, "The name of the mailbox is too long");
    pub const NOT_HTTP: Self = Self::bye("This is a mail server, not a web server");
    pub const NUL_IN_MESSAGE: Self = Self::bad("The message has a NUL, which only a literal8 may have");
    pub const SEARCH_TOO_COMPLEX: Self = Self::refusal(Code::Limit, "The search has too many keys");
    pub const SELECT_FIRST: Self = Self::bad("Select a mailbox first");
    pub const SET_TOO_LONG: Self = Self::refusal(Code::Limit, "The set has too many ranges");
    pub const STRING_TOO_BIG: Self = Self::refusal(Code::TooBig, "The string is too long");
    pub const TLS_ACTIVE: Self = Self::bad("TLS is active already");
    pub const TLS_BEGINS: Self = Self::ok("Begin TLS now");
    pub const TLS_NOT_OFFERED: Self = Self::no("There is no TLS here");
    pub const TOO_MANY_ERRORS: Self = Self::bye("Too many errors");
    pub const TOO_MANY_LOGINS: Self = Self::bye("Too many failed logins");
    pub const UNAVAILABLE: Self = Self::refusal(Code::Unavailable, "Not possible for now, try again later");
    pub const UNEXPECTED_LITERAL: Self = Self::bad("No literal may stand there");
    pub const UNKNOWN_COMMAND: Self = Self::bad("There is no such command");
    pub const UNKNOWN_UID_COMMAND: Self = Self::bad("There is no such command with UID");
}

impl fmt::Display for Status {
    /// Without line end and without the code's argument: for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let condition = match self.condition {
            Condition::Ok => "OK",
            Condition::No => "NO",
            Condition::Bad => "BAD",
            Condition::Bye => "BYE",
        };
        match &self.code {
            Some(code) => write!(f, "{condition} [{}] {}", code.name(), self.text),
            None => write!(f, "{condition} {}", self.text),
        }
    }
}
