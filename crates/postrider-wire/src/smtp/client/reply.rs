//! Reading replies off the wire (RFC 5321 section 4.2).
//!
//! Strict where a wrong guess would put an answer to the wrong command: every line has a code, and all lines of a reply
//! the same. Lenient where real servers are sloppy and nothing can go wrong: a line may end with LF alone, a code may
//! stand without text, a text may be in any character set. This module knows no command.

use std::borrow::Cow;
use std::fmt;

use bytes::{Buf, BytesMut};

use super::ClientLimits;
use crate::smtp::reply::{EnhancedCode, Reply};

/// Takes replies out of what was read.
#[derive(Debug)]
pub struct ReplyParser {
    limits: ClientLimits,
    /// The lines so far of a reply that has more.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    code: u16,
    enhanced: Option<EnhancedCode>,
    text: String,
    lines: usize,
}

/// What was read is no reply. Nothing that follows on the connection can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyError {
    /// A line is longer than [`ClientLimits::reply_line_bytes_max`].
    LineTooLong,
    /// A reply has more lines than [`ClientLimits::reply_lines_max`].
    TooManyLines,
    /// A line does not begin with a code; its start, made fit to show.
    NotAReply(String),
    /// Two lines of one reply have different codes.
    CodeChanged { first: u16, then: u16 },
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong => f.write_str("a line of a reply is too long"),
            Self::TooManyLines => f.write_str("a reply has too many lines"),
            Self::NotAReply(start) => write!(f, "not an SMTP reply: {start:?}"),
            Self::CodeChanged { first, then } => write!(f, "a reply begins with code {first} and goes on with {then}"),
        }
    }
}

impl std::error::Error for ReplyError {}

impl ReplyParser {
    pub fn new(limits: ClientLimits) -> Self {
        Self { limits, begun: None }
    }

    /// Takes the next reply; `None` when more must be read first. After an error the parser is not to be used again.
    pub fn next_reply(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        loop {
            let line_bytes_max = self.limits.reply_line_bytes_max;
            let Some(end) = memchr::memchr(b'\n', input.get(..line_bytes_max).unwrap_or(input)) else {
                return if input.len() >= line_bytes_max { Err(ReplyError::LineTooLong) } else { Ok(None) };
            };
            let line = input.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let is_last = self.read_line(line)?;
            input.advance(end + 1);
            if is_last && let Some(begun) = self.begun.take() {
                return Ok(Some(Reply { code: begun.code, enhanced: begun.enhanced, text: Cow::Owned(begun.text) }));
            }
        }
    }

    /// Reads one line; says whether it is the last of its reply.
    fn read_line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let (code, is_last, text) = split(line).ok_or_else(|| ReplyError::NotAReply(excerpt(line)))?;
        let text = printable(text);
        match &mut self.begun {
            None => {
                let enhanced = enhanced_of(&text, code);
                let text = without_enhanced(&text, enhanced);
                let text = cut(text, self.limits.reply_text_bytes_max).to_owned();
                self.begun = Some(Begun { code, enhanced, text, lines: 1 });
            }
            Some(begun) if begun.code != code => {
                return Err(ReplyError::CodeChanged { first: begun.code, then: code });
            }
            Some(begun) if begun.lines >= self.limits.reply_lines_max => return Err(ReplyError::TooManyLines),
            Some(begun) => {
                begun.lines += 1;
                // Some servers give the enhanced code only behind an introduction.
                begun.enhanced = begun.enhanced.or_else(|| enhanced_of(&text, code));
                let room = self.limits.reply_text_bytes_max.saturating_sub(begun.text.len());
                if room > 1 {
                    begun.text.push('\n');
                    begun.text.push_str(cut(without_enhanced(&text, begun.enhanced), room - 1));
                }
            }
        }
        Ok(is_last)
    }
}

/// The code of a line, whether the line is its reply's last, and the text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (&[a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'], rest) = line.split_first_chunk::<3>()? else {
        return None;
    };
    let code = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
    match rest {
        [] => Some((code, true, rest)),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}

/// Text to keep and show: UTF-8, without control characters.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The enhanced code at the start of a text, if it is of the code's class (RFC 2034 section 4).
fn enhanced_of(text: &str, code: u16) -> Option<EnhancedCode> {
    let token = text.split(' ').next()?;
    let mut parts = token.split('.');
    let mut number = |digits_max: usize| {
        let part = parts.next()?;
        let holds = (1..=digits_max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        holds.then(|| part.parse::<u16>().ok()).flatten()
    };
    let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
    let is_of_class = class == code / 100 && class != 3;
    (parts.next().is_none() && is_of_class).then_some((class as u8, subject, detail))
}

/// The text behind the enhanced code, which servers repeat on every line.
fn without_enhanced(text: &str, enhanced: Option<EnhancedCode>) -> &str {
    match enhanced {
        Some(enhanced) if enhanced_of(text, u16::from(enhanced.0) * 100) == Some(enhanced) => {
            text.split_once(' ').map_or("", |(_, text)| text)
        }
        _ => text,
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max { text } else { &text[..text.floor_char_boundary(bytes_max)] }
}

/// Enough of a line to tell what it is.
fn excerpt(line: &[u8]) -> String {
    const EXCERPT_BYTES_MAX: usize = 60;
    printable(line.get(..EXCERPT_BYTES_MAX).unwrap_or(line))
}
