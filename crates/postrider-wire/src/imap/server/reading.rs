//! From bytes to the text of a command and its literals: lines, what literals may come, and what is thrown away.
//!
//! CRLF ends a line, and so does LF alone, as most servers have it: clients of our own users are not worth locking out for
//! it, and nothing reads these bytes a second time in another way, as relays do with those of SMTP.

use std::mem;

use bytes::{Buf, Bytes, BytesMut};

use super::{Event, LiteralOffer, NeedsInput, Question, Session, State, Verdict};
use crate::imap::parse::{Announcement, Fault, LiteralRole, Parser, announcement};
use crate::imap::response::{Condition, Status};

/// Bytes that stay of a line that is too long: its end may announce a literal.
const TAIL_BYTES: usize = 32;

/// A line as it came out of the input.
pub(super) enum Line {
    /// With its end.
    Whole(BytesMut),
    TooLong {
        tag: Option<String>,
        announced: Option<Announcement>,
    },
}

/// A line of which the beginning was thrown away.
#[derive(Debug)]
pub(super) struct Skipping {
    tag: Option<String>,
}

/// A command of which the end has not come yet.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// Lines with their ends; each announces a literal.
    text: BytesMut,
    literals: Vec<Bytes>,
    /// Of literals that are strings.
    string_bytes: usize,
    /// Of literals that are messages.
    message_bytes: u64,
}

/// A literal that the driver is asked about.
#[derive(Debug)]
pub(super) struct OfferedLiteral {
    partial: Partial,
    announced: Announcement,
    forbids_nul: bool,
}

/// A literal of which bytes are still to come.
#[derive(Debug)]
pub(super) struct Literal {
    partial: Partial,
    buffer: BytesMut,
    bytes_left: usize,
    is_message: bool,
    forbids_nul: bool,
}

/// What comes of a command that is refused already.
#[derive(Debug)]
pub(super) struct Discard {
    tag: Option<String>,
    status: Status,
    /// The driver refused it, and need not be told.
    by_driver: bool,
    /// Of the literal that comes now.
    bytes_left: u64,
    bytes_total: u64,
}

impl Partial {
    pub(super) fn held_bytes(&self) -> usize {
        self.text.len() + self.string_bytes + usize::try_from(self.message_bytes).unwrap_or(usize::MAX)
    }
}

impl OfferedLiteral {
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.held_bytes()
    }
}

impl Literal {
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.held_bytes() + self.buffer.len()
    }
}

impl Session {
    /// Takes the next line out of the input.
    pub(super) fn read_line(&mut self, input: &mut BytesMut) -> Result<Line, NeedsInput> {
        let limits = &self.config.limits;
        let line_bytes_max = if self.user.is_some() { limits.line_bytes_max } else { limits.greeting_line_bytes_max };
        // What was looked through is not looked through again, however small the pieces are in which a line comes.
        let known = mem::take(&mut self.scanned_bytes).min(input.len());
        let Some(at) = memchr::memchr(b'\n', &input[known..]) else {
            if self.skipping.is_some() || input.len() > line_bytes_max {
                if self.skipping.is_none() {
                    self.skipping = Some(Skipping { tag: self.tag_of(input) });
                }
                input.advance(input.len().saturating_sub(TAIL_BYTES));
            }
            self.scanned_bytes = input.len();
            return Err(NeedsInput);
        };
        let line = input.split_to(known + at + 1);
        let skipping = self.skipping.take();
        if skipping.is_none() && line.len() <= line_bytes_max {
            return Ok(Line::Whole(line));
        }
        let tag = skipping.map_or_else(|| self.tag_of(&line), |skipping| skipping.tag);
        Ok(Line::TooLong { tag, announced: announcement(&line) })
    }

    /// Takes a line of a command: all of it, or up to a literal.
    pub(super) fn read_command_line(&mut self, line: Line) -> Option<Event> {
        let partial = self.partial.take();
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong { tag, announced } => {
                let tag = partial.map_or(tag, |partial| self.tag_of(&partial.text));
                return self.refuse_rest(tag, Status::LINE_TOO_LONG, announced, false);
            }
        };
        match (partial, announcement(&line)) {
            (None, None) => self.carry_out(&line, &[]),
            (None, Some(announced)) => {
                let partial = Partial { text: line, ..Partial::default() };
                self.read_announcement(partial, announced)
            }
            (Some(mut partial), announced) => {
                partial.text.unsplit(line);
                if partial.text.len() + partial.string_bytes > self.command_bytes_max() {
                    let tag = self.tag_of(&partial.text);
                    return self.refuse_rest(tag, Status::COMMAND_TOO_LONG, announced, false);
                }
                match announced {
                    Some(announced) => self.read_announcement(*partial, announced),
                    None => self.carry_out(&partial.text, &partial.literals),
                }
            }
        }
    }

    /// Decides on a literal before it comes: where it cannot be one, or is too large, the client need not send it.
    fn read_announcement(&mut self, partial: Partial, announced: Announcement) -> Option<Event> {
        let mut parser = self.parser(&partial.text, &partial.literals);
        let Ok(tag) = parser.tag() else { return self.refuse_rest(None, Status::BAD_TAG, Some(announced), false) };
        let tag = tag.to_owned();
        let refusal = match self.parse_request(&mut parser) {
            Err(Fault::Literal(role)) => match self.check_literal(&partial, announced, &role) {
                Ok(()) => return self.take_literal(partial, announced, role),
                Err(status) => status,
            },
            Err(fault) => status_of(fault),
            // A text that ends with an announcement is no command.
            Ok(_) => Status::UNEXPECTED_LITERAL,
        };
        self.refuse_rest(Some(tag), refusal, Some(announced), false)
    }

    fn check_literal(&self, partial: &Partial, announced: Announcement, role: &LiteralRole) -> Result<(), Status> {
        let limits = &self.config.limits;
        if partial.literals.len() >= limits.literals_max {
            return Err(Status::COMMAND_TOO_LONG);
        }
        match role {
            LiteralRole::Text => {
                let is_logged_in = self.user.is_some();
                let max = if is_logged_in { limits.literal_bytes_max } else { limits.greeting_literal_bytes_max };
                let bytes = usize::try_from(announced.bytes).unwrap_or(usize::MAX);
                if bytes > max {
                    return Err(Status::STRING_TOO_BIG);
                }
                let held = partial.text.len() + partial.string_bytes;
                if held.saturating_add(bytes) > self.command_bytes_max() {
                    return Err(Status::COMMAND_TOO_LONG);
                }
            }
            LiteralRole::Message { is_part, .. } => {
                // RFC 3502 gives no meaning to a message of nothing; clients mean to give up by it.
                if announced.bytes == 0 && !is_part {
                    return Err(Status::EMPTY_MESSAGE);
                }
                let all = partial.message_bytes.saturating_add(announced.bytes);
                if announced.bytes > limits.message_bytes_max as u64 || all > limits.append_bytes_max as u64 {
                    return Err(Status::MESSAGE_TOO_BIG);
                }
            }
        }
        Ok(())
    }

    fn take_literal(&mut self, partial: Partial, announced: Announcement, role: LiteralRole) -> Option<Event> {
        match role {
            LiteralRole::Text => {
                self.begin_literal(partial, announced, false, false);
                None
            }
            LiteralRole::Message { mailbox, earlier_messages, forbids_nul, .. } => {
                let offer = LiteralOffer {
                    mailbox,
                    bytes: announced.bytes,
                    earlier_bytes: partial.message_bytes,
                    earlier_messages,
                    is_waiting: announced.is_waiting,
                };
                let offered = Box::new(OfferedLiteral { partial, announced, forbids_nul });
                self.state = State::Waiting(Question::Literal(offered));
                Some(Event::Literal(offer))
            }
        }
    }

    pub(super) fn answer_literal(&mut self, offered: OfferedLiteral, verdict: Verdict) {
        let OfferedLiteral { partial, announced, forbids_nul } = offered;
        match verdict {
            Verdict::Accept => self.begin_literal(partial, announced, true, forbids_nul),
            Verdict::Reject(status) => {
                let tag = self.tag_of(&partial.text);
                self.refuse_rest(tag, status, Some(announced), true);
            }
        }
    }

    fn begin_literal(&mut self, partial: Partial, announced: Announcement, is_message: bool, forbids_nul: bool) {
        if announced.is_waiting {
            self.output.extend_from_slice(b"+ Go ahead\r\n");
        }
        // The limits were checked, and they are numbers that fit.
        let bytes_left = usize::try_from(announced.bytes).unwrap_or(usize::MAX);
        let literal = Literal { partial, buffer: BytesMut::new(), bytes_left, is_message, forbids_nul };
        self.state = State::Literal(Box::new(literal));
    }

    /// Takes what has come of a literal.
    pub(super) fn read_literal(
        &mut self,
        mut literal: Box<Literal>,
        input: &mut BytesMut,
    ) -> Result<Option<Event>, NeedsInput> {
        let length = literal.bytes_left.min(input.len());
        let is_whole = length == literal.bytes_left && literal.buffer.is_empty();
        literal.bytes_left -= length;
        if is_whole && literal.is_message {
            literal.buffer = input.split_to(length);
        } else {
            if literal.buffer.capacity() == 0 {
                let reserved = literal.bytes_left.saturating_add(length).min(self.config.limits.reserved_bytes_max);
                literal.buffer.reserve(reserved);
            }
            literal.buffer.extend_from_slice(&input[..length]);
            input.advance(length);
        }
        if literal.bytes_left > 0 {
            self.state = State::Literal(literal);
            return Err(NeedsInput);
        }
        let Literal { mut partial, buffer, is_message, forbids_nul, .. } = *literal;
        if forbids_nul && memchr::memchr(0, &buffer).is_some() {
            let tag = self.tag_of(&partial.text);
            self.discard(tag, Status::NUL_IN_MESSAGE, 0, false);
            return Ok(None);
        }
        if is_message {
            partial.message_bytes += buffer.len() as u64;
        } else {
            partial.string_bytes += buffer.len();
        }
        partial.literals.push(buffer.freeze());
        self.partial = Some(Box::new(partial));
        self.state = State::Ready;
        Ok(None)
    }

    /// Throws away what comes of a command that was refused, and says so at its end.
    pub(super) fn read_discard(
        &mut self,
        mut discard: Box<Discard>,
        input: &mut BytesMut,
    ) -> Result<Option<Event>, NeedsInput> {
        let length = usize::try_from(discard.bytes_left).unwrap_or(usize::MAX).min(input.len());
        input.advance(length);
        discard.bytes_left -= length as u64;
        let line = if discard.bytes_left == 0 { self.read_line(input) } else { Err(NeedsInput) };
        let announced = match line {
            Ok(Line::Whole(line)) => announcement(&line),
            Ok(Line::TooLong { announced, .. }) => announced,
            Err(NeedsInput) => {
                self.state = State::Discard(discard);
                return Err(NeedsInput);
            }
        };
        let Discard { tag, status, by_driver, bytes_total, .. } = *discard;
        Ok(match announced {
            Some(Announcement { bytes, is_waiting: false }) => {
                self.discard_more(Discard { tag, status, by_driver, bytes_left: bytes, bytes_total });
                None
            }
            _ => self.say_refusal(tag.as_deref(), status, by_driver),
        })
    }

    /// Refuses a command whose last line announces a literal. A client that waits for the word to send it gets the answer
    /// instead (RFC 9051 section 4.3); otherwise the literal is on its way and must not be read as commands (RFC 7888
    /// section 4).
    fn refuse_rest(
        &mut self,
        tag: Option<String>,
        status: Status,
        announced: Option<Announcement>,
        by_driver: bool,
    ) -> Option<Event> {
        match announced {
            Some(Announcement { bytes, is_waiting: false }) => {
                self.discard(tag, status, bytes, by_driver);
                None
            }
            _ => self.say_refusal(tag.as_deref(), status, by_driver),
        }
    }

    fn say_refusal(&mut self, tag: Option<&str>, status: Status, by_driver: bool) -> Option<Event> {
        let event = self.refuse(tag, status);
        event.filter(|_| !by_driver)
    }

    fn discard(&mut self, tag: Option<String>, status: Status, bytes: u64, by_driver: bool) {
        self.discard_more(Discard { tag, status, by_driver, bytes_left: bytes, bytes_total: 0 });
    }

    fn discard_more(&mut self, mut discard: Discard) {
        discard.bytes_total = discard.bytes_total.saturating_add(discard.bytes_left);
        if discard.bytes_total > self.config.limits.discarded_bytes_max {
            self.close(&Status::LITERAL_ENDLESS);
        } else {
            self.state = State::Discard(Box::new(discard));
        }
    }

    pub(super) fn parser<'a>(&'a self, text: &'a [u8], literals: &'a [Bytes]) -> Parser<'a> {
        Parser::new(text, literals, self.dialect, &self.config.limits)
    }

    fn tag_of(&self, text: &[u8]) -> Option<String> {
        self.parser(text, &[]).tag().ok().map(str::to_owned)
    }

    fn command_bytes_max(&self) -> usize {
        let limits = &self.config.limits;
        if self.user.is_some() { limits.command_bytes_max } else { limits.greeting_line_bytes_max }
    }
}

/// What the client is told.
pub(super) fn status_of(fault: Fault) -> Status {
    match fault {
        Fault::Expected(what, position) => {
            Status::new(Condition::Bad, None, format!("Expected {what} at byte {}", position + 1))
        }
        Fault::Refused(status) => *status,
        Fault::Literal(_) => Status::UNEXPECTED_LITERAL,
    }
}
