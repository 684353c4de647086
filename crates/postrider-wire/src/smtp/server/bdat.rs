//! BDAT (RFC 3030 section 2): a message in chunks whose sizes are told beforehand.
//!
//! The bytes of a chunk are taken exactly as many as were announced, also where the command is refused: they must never be
//! read as commands.

use std::mem;

use bytes::BytesMut;

use super::data::Receiving;
use super::{Event, NeedsInput, Phase, Question, Session, State, Transaction};
use crate::smtp::reply::Reply;

/// What BDAT says of its chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkSize {
    bytes: u64,
    last: bool,
}

/// A message between two chunks.
#[derive(Debug)]
pub(super) struct Chunked(Receiving);

/// A message amid a chunk.
#[derive(Debug)]
pub(super) struct Chunk {
    receiving: Receiving,
    bytes_left: u64,
    size: ChunkSize,
}

/// A chunk that goes nowhere, and what is said at its end.
#[derive(Debug)]
pub(super) struct Drain {
    bytes_left: u64,
    reply: Reply,
    /// How often.
    replies: usize,
    /// The driver said so, and need not be told.
    by_driver: bool,
}

pub(super) fn bdat(session: &mut Session, argument: &str) -> Result<Option<Event>, Reply> {
    let size = ChunkSize::parse(argument).ok_or(Reply::BAD_SYNTAX)?;
    let limits = &session.config.limits;
    let message_bytes_max = limits.message_bytes_max as u64;
    if size.bytes > message_bytes_max.saturating_add(limits.discarded_bytes_max) {
        session.close(Reply::MESSAGE_ENDLESS);
        return Ok(None);
    }
    let phase = session.phase();
    match mem::replace(&mut session.state, State::Ready) {
        State::Transaction(transaction) if phase == Phase::Recipients && size.bytes <= message_bytes_max => {
            session.state = State::Waiting(Question::FirstChunk(transaction, size));
            return Ok(Some(Event::DataStart));
        }
        State::Chunks(chunked) => session.read_on(chunked.0, size),
        // A refused BDAT ends the transaction, so that what is pipelined behind it makes no sense by accident.
        State::Transaction(transaction) => {
            let reply = if phase == Phase::Recipients { Reply::MESSAGE_TOO_LARGE } else { Reply::NO_VALID_RECIPIENTS };
            let replies = session.chunk_replies(&transaction, size);
            session.drain(size, reply, replies);
        }
        _ if phase == Phase::Connected => session.drain(size, session.hello_first(), 1),
        _ => session.drain(size, Reply::MAIL_FIRST, 1),
    }
    Ok(None)
}

impl ChunkSize {
    /// `1*DIGIT [ SP "LAST" ]`
    fn parse(argument: &str) -> Option<Self> {
        let (digits, marker) = argument.split_once(' ').unwrap_or((argument, ""));
        let last = match marker.trim_start_matches(' ') {
            "" => false,
            marker => marker.eq_ignore_ascii_case("LAST").then_some(true)?,
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self { bytes: digits.parse().ok()?, last })
    }
}

impl Chunked {
    pub(super) fn receiving(&self) -> &Receiving {
        &self.0
    }

    pub(super) fn receiving_mut(&mut self) -> &mut Receiving {
        &mut self.0
    }
}

impl Chunk {
    pub(super) fn receiving(&self) -> &Receiving {
        &self.receiving
    }

    pub(super) fn receiving_mut(&mut self) -> &mut Receiving {
        &mut self.receiving
    }
}

impl Session {
    pub(super) fn begin_chunks(&mut self, transaction: &Transaction, size: ChunkSize, prefix: BytesMut) {
        let announced = transaction.size.unwrap_or(0).max(size.bytes);
        let replies = self.message_replies(transaction);
        self.read_on(Receiving::chunked(Some(announced), prefix, replies, &self.config), size);
    }

    /// Throws the first chunk of a message away that the driver does not want, and says `reply` at its end.
    pub(super) fn reject_chunk(&mut self, transaction: &Transaction, size: ChunkSize, reply: Reply) {
        let replies = self.chunk_replies(transaction, size);
        self.state = State::Drain(Box::new(Drain { bytes_left: size.bytes, reply, replies, by_driver: true }));
    }

    fn drain(&mut self, size: ChunkSize, reply: Reply, replies: usize) {
        self.state = State::Drain(Box::new(Drain { bytes_left: size.bytes, reply, replies, by_driver: false }));
    }

    /// Of the last chunk as many as of the message, any other has one. So has the last where no recipient was accepted: it is
    /// refused as DATA is (RFC 2033 section 4.2), and a client that has sent a command waits for an answer.
    fn chunk_replies(&self, transaction: &Transaction, size: ChunkSize) -> usize {
        if size.last { self.message_replies(transaction).max(1) } else { 1 }
    }

    /// Reads on in a chunk.
    pub(super) fn read_chunk(&mut self, input: &mut BytesMut) -> Result<Option<Event>, NeedsInput> {
        let bytes_left = match &mut self.state {
            State::Chunk(chunk) => {
                let taken = take(&mut chunk.bytes_left, input)?;
                chunk.receiving.push(&taken);
                chunk.bytes_left
            }
            State::Drain(drain) => {
                take(&mut drain.bytes_left, input)?;
                drain.bytes_left
            }
            _ => return Ok(None),
        };
        if bytes_left > 0 {
            return Err(NeedsInput);
        }
        Ok(match mem::replace(&mut self.state, State::Ready) {
            State::Chunk(chunk) => self.end_chunk(*chunk),
            State::Drain(drain) if drain.by_driver => {
                self.reject(&drain.reply, drain.replies);
                None
            }
            State::Drain(drain) => self.refuse_each(drain.reply, drain.replies),
            other => {
                self.state = other;
                None
            }
        })
    }

    fn read_on(&mut self, mut receiving: Receiving, size: ChunkSize) {
        let bytes = receiving.received_bytes().saturating_add(size.bytes);
        if bytes > self.config.limits.message_bytes_max as u64 {
            receiving.refuse(Reply::MESSAGE_TOO_LARGE);
        }
        self.state = State::Chunk(Box::new(Chunk { receiving, bytes_left: size.bytes, size }));
    }

    fn end_chunk(&mut self, mut chunk: Chunk) -> Option<Event> {
        if chunk.size.last {
            chunk.receiving.finish();
            return self.end_message(chunk.receiving);
        }
        if let Some(reply) = chunk.receiving.refusal() {
            return self.say_message_refused(reply, 1);
        }
        self.state = State::Chunks(Box::new(Chunked(chunk.receiving)));
        self.say(&Reply::CHUNK_OK);
        None
    }
}

/// Takes what there is of a chunk out of the input.
fn take(bytes_left: &mut u64, input: &mut BytesMut) -> Result<BytesMut, NeedsInput> {
    if *bytes_left > 0 && input.is_empty() {
        return Err(NeedsInput);
    }
    let count = usize::try_from(*bytes_left).unwrap_or(usize::MAX).min(input.len());
    *bytes_left -= count as u64;
    Ok(input.split_to(count))
}
