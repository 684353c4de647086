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

    pub const IDLE_DONE: Self = Self::ok("IDLE is over");
    pub const LOGIN_FAILED: Self = Self::refusal(Code::AuthenticationFailed, "Wrong user name or password");
    pub const UNAVAILABLE: Self = Self::refusal(Code::Unavailable, "Not possible for now, try again later");

    const fn fixed(condition: Condition, code: Option<Code>, text: &'static str) -> Self {
        Self { condition, code, text: Cow::Borrowed(text) }
    }

    /// The same with a code.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
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
