//! DATA (RFC 5321 section 4.1.1.4), and the message that is being received, which BDAT shares.

use std::mem;

use bytes::{Buf, BytesMut};

use super::{Event, NeedsInput, Question, ServerConfig, Session, State, Transaction, Verdict};
use crate::smtp::reply::Reply;
use crate::smtp::text::{DataDecoder, Decoded, TextChecker, TextFault, TextRules};

/// Reserved for a message of which no size was announced.
const UNANNOUNCED_BYTES: usize = 16 << 10;

pub(super) fn data(session: &mut Session, _argument: &str) -> Result<Option<Event>, Reply> {
    match mem::replace(&mut session.state, State::Ready) {
        State::Transaction(transaction) => {
            session.state = State::Waiting(Question::Data(transaction));
            Ok(Some(Event::DataStart))
        }
        other => {
            session.state = other;
            Err(Reply::BAD_SEQUENCE)
        }
    }
}

/// A message on its way in.
#[derive(Debug)]
pub(super) struct Receiving {
    buffer: BytesMut,
    text: Text,
    /// How many will be told of it at its end.
    replies: usize,
    /// The driver does not want it any more.
    refusal: Option<Reply>,
}

/// How the bytes come.
#[derive(Debug)]
enum Text {
    Dotted(DataDecoder),
    Chunked(TextChecker),
}

impl Receiving {
    /// By DATA. `announced`: bytes, if the client told how many it will send.
    pub(super) fn dotted(announced: Option<u64>, prefix: BytesMut, replies: usize, config: &ServerConfig) -> Self {
        Self::new(announced, prefix, replies, config, Text::Dotted(DataDecoder::new(rules(config))))
    }

    /// By BDAT.
    pub(super) fn chunked(announced: Option<u64>, prefix: BytesMut, replies: usize, config: &ServerConfig) -> Self {
        Self::new(announced, prefix, replies, config, Text::Chunked(TextChecker::new(rules(config))))
    }

    fn new(announced: Option<u64>, mut buffer: BytesMut, replies: usize, config: &ServerConfig, text: Text) -> Self {
        let bytes = announced.map_or(UNANNOUNCED_BYTES, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        buffer.reserve(bytes.min(config.limits.reserved_bytes_max));
        Self { buffer, text, replies, refusal: None }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The message is not wanted, and the first reason given is told.
    pub(super) fn refuse(&mut self, reply: Reply) {
        self.refusal.get_or_insert(reply);
        self.buffer = BytesMut::new();
    }

    /// The next bytes of a chunk.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Text::Chunked(checker) = &mut self.text {
            checker.push(bytes, &mut self.buffer);
        }
        self.drop_if_faulty();
    }

    /// The last chunk is over.
    pub(super) fn finish(&mut self) {
        if let Text::Chunked(checker) = &mut self.text {
            checker.finish(&mut self.buffer);
        }
        self.drop_if_faulty();
    }

    /// Why the message, as far as it came, is refused.
    pub(super) fn refusal(&self) -> Option<Reply> {
        self.refusal.clone().or_else(|| {
            self.checker().fault().map(|fault| match fault {
                TextFault::TooLarge => Reply::MESSAGE_TOO_LARGE,
                TextFault::Nul => Reply::NUL_IN_MESSAGE,
                TextFault::BareLineEnd => Reply::BARE_LINE_END,
                TextFault::LineTooLong => Reply::TEXT_LINE_TOO_LONG,
            })
        })
    }

    /// Bytes that came, held or not.
    pub(super) fn received_bytes(&self) -> u64 {
        self.checker().message_bytes()
    }

    fn decode(&mut self, input: &[u8]) -> Decoded {
        let Text::Dotted(decoder) = &mut self.text else {
            return Decoded { consumed: 0, ended: false };
        };
        // What was refused is read into nothing, and stays nothing.
        let decoded = decoder.decode(input, &mut self.buffer);
        self.drop_if_faulty();
        decoded
    }

    fn drop_if_faulty(&mut self) {
        if self.refusal.is_some() || self.checker().fault().is_some() {
            self.buffer = BytesMut::new();
        }
    }

    fn checker(&self) -> &TextChecker {
        match &self.text {
            Text::Dotted(decoder) => decoder.checker(),
            Text::Chunked(checker) => checker,
        }
    }
}

fn rules(config: &ServerConfig) -> TextRules {
    TextRules {
        line_bytes_max: config.limits.text_line_bytes_max,
        message_bytes_max: config.limits.message_bytes_max,
        repair_line_ends: config.repair_line_ends,
    }
}

impl Session {
    pub(super) fn begin_data(&mut self, transaction: &Transaction, prefix: BytesMut) {
        let replies = self.message_replies(transaction);
        self.state = State::Data(Box::new(Receiving::dotted(transaction.size, prefix, replies, &self.config)));
        self.say(&Reply::START_DATA);
    }

    /// Reads on in DATA.
    pub(super) fn read_data(&mut self, input: &mut BytesMut) -> Result<Option<Event>, NeedsInput> {
        let State::Data(receiving) = &mut self.state else { return Ok(None) };
        let decoded = receiving.decode(input);
        input.advance(decoded.consumed);
        if !decoded.ended {
            let bytes = receiving.received_bytes();
            return if self.closes_for_waste(bytes) { Ok(None) } else { Err(NeedsInput) };
        }
        Ok(match mem::replace(&mut self.state, State::Ready) {
            State::Data(receiving) => self.end_message(*receiving),
            other => {
                self.state = other;
                None
            }
        })
    }

    /// The whole message is there; the transaction is over.
    pub(super) fn end_message(&mut self, receiving: Receiving) -> Option<Event> {
        if let Some(reply) = receiving.refusal() {
            self.say_message_refused(reply, receiving.replies)
        } else {
            self.state = State::Waiting(Question::Message { replies: receiving.replies });
            let bare_line_ends_repaired = receiving.checker().repaired();
            Some(Event::Message { raw: receiving.buffer, bare_line_ends_repaired })
        }
    }

    pub(super) fn say_message_refused(&mut self, reply: Reply, replies: usize) -> Option<Event> {
        self.reject(&reply, replies);
        (!self.is_closed()).then_some(Event::MessageRefused { reply })
    }

    pub(super) fn answer_message(&mut self, replies: usize, verdict: Verdict) {
        let reply = match verdict {
            Verdict::Reject(reply) => return self.reject(&reply, replies),
            Verdict::AcceptAs(reply) => reply,
            Verdict::Accept => Reply::MESSAGE_ACCEPTED,
        };
        self.message_was_accepted();
        (0..replies).for_each(|_| self.say(&reply));
    }

    pub(super) fn answer_message_each(&mut self, replies: usize, verdicts: Vec<Verdict>) {
        let missing = std::iter::repeat_with(|| Verdict::Reject(Reply::STORE_UNAVAILABLE));
        let verdicts: Vec<Verdict> = verdicts.into_iter().chain(missing).take(replies).collect();
        let refusal = verdicts.iter().find_map(|verdict| match verdict {
            Verdict::Reject(reply) => Some(reply),
            _ => None,
        });
        // However many do not get it, it was one message.
        if verdicts.iter().any(|verdict| !matches!(verdict, Verdict::Reject(_))) {
            self.message_was_accepted();
        } else if refusal.is_some_and(|reply| self.closes_for_errors(reply)) {
            return;
        }
        for verdict in &verdicts {
            match verdict {
                Verdict::Accept => self.say(&Reply::MESSAGE_ACCEPTED),
                Verdict::AcceptAs(reply) | Verdict::Reject(reply) => self.say(reply),
            }
        }
    }

    fn message_was_accepted(&mut self) {
        self.errors = 0;
        self.refused_recipients = 0;
    }

    /// Ends the session if it has read so much only to throw it away that it need not read more.
    fn closes_for_waste(&mut self, bytes: u64) -> bool {
        let limits = &self.config.limits;
        let wastes = bytes > (limits.message_bytes_max as u64).saturating_add(limits.discarded_bytes_max);
        if wastes {
            self.close(Reply::MESSAGE_ENDLESS);
        }
        wastes
    }
}
