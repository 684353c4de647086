//! Literals (RFC 9051 section 4.3, LITERAL+ of RFC 7888, literal8 of RFC 3516): their announcement at the end of a line,
//! and their place in a command.

use bytes::Bytes;

use super::{Fault, Parsed, Parser};
use crate::imap::command::LiteralKind;

/// `{n}` or `{n+}` at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imap) struct Announcement {
    /// The largest number where what was announced is none.
    pub(in crate::imap) bytes: u64,
    /// The client waits until it is told to go ahead.
    pub(in crate::imap) is_waiting: bool,
}

/// What a literal that has not come yet would be.
#[derive(Debug)]
pub(in crate::imap) enum LiteralRole {
    /// A string of the command itself.
    Text,
    /// A message or a part of one.
    Message {
        mailbox: String,
        earlier_messages: usize,
        /// Only one that was announced as literal8 may have NUL.
        forbids_nul: bool,
        /// A text of CATENATE, which may be empty.
        is_part: bool,
    },
}

/// What the line announces; `line` has its end.
pub(in crate::imap) fn announcement(line: &[u8]) -> Option<Announcement> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let (line, is_waiting) = line.strip_suffix(b"+").map_or((line, true), |line| (line, false));
    let digits = line.len() - line.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (before, digits) = line.split_at(digits);
    if before.last() != Some(&b'{') || digits.is_empty() {
        return None;
    }
    let bytes = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX);
    Some(Announcement { bytes, is_waiting })
}

impl Parser<'_> {
    /// A literal that is a string. The `~` before it is read already.
    pub(super) fn text_literal(&mut self) -> Parsed<Bytes> {
        self.literal(|| LiteralRole::Text)
    }

    /// `literal / literal8`, a message or a part of one.
    pub(super) fn message_literal(
        &mut self,
        mailbox: &str,
        earlier_messages: usize,
        is_part: bool,
    ) -> Parsed<(Bytes, LiteralKind)> {
        let kind = if self.take(b'~') { LiteralKind::Literal8 } else { LiteralKind::Plain };
        let forbids_nul = kind == LiteralKind::Plain;
        let mailbox = || mailbox.to_owned();
        let bytes =
            self.literal(|| LiteralRole::Message { mailbox: mailbox(), earlier_messages, forbids_nul, is_part })?;
        Ok((bytes, kind))
    }

    fn literal(&mut self, role: impl FnOnce() -> LiteralRole) -> Parsed<Bytes> {
        self.require(b'{', "a literal")?;
        let rest = self.rest();
        let Some(length) = memchr::memchr(b'\n', rest) else { return self.expected("the end of the line behind {n}") };
        let is_announced = rest[..length].iter().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'}' | b'\r'));
        if !is_announced {
            return self.expected("the size of a literal");
        }
        match self.literals.get(self.literals_taken) {
            Some(literal) => {
                self.position += length + 1;
                self.literals_taken += 1;
                Ok(literal.clone())
            }
            None => Err(Fault::Literal(role())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_announces() {
        let some = |bytes, is_waiting| Some(Announcement { bytes, is_waiting });
        for (line, expected) in [
            (&b"a LOGIN {5}\r\n"[..], some(5, true)),
            (b"a LOGIN {5+}\r\n", some(5, false)),
            (b"{0}\n", some(0, true)),
            (b"~{99999999999999999999999+}\r\n", some(u64::MAX, false)),
            (b"{}\r\n", None),
            (b"{+}\r\n", None),
            (b"5}\r\n", None),
            (b"{5 }\r\n", None),
            (b"{5} \r\n", None),
            (b"{5}", None),
            (b"\r\n", None),
        ] {
            assert_eq!(announcement(line), expected, "{}", line.escape_ascii());
        }
    }
}
