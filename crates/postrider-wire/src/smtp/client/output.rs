//! What waits to be written: commands, and behind them a message that is encoded piece by piece as the driver writes.
//!
//! Knows bytes only, not what they ask.

use std::fmt;
use std::io::Write as _;

use bytes::{Buf, Bytes};

use crate::smtp::text::DotStuffer;

/// Of the message, encoded at a time: large enough for few writes, small enough that a large message is never there twice.
const MESSAGE_CHUNK_BYTES: usize = 128 * 1024;

#[derive(Debug, Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
    /// Bytes at the start of the buffer that are written.
    written: usize,
    message: Option<Message>,
}

/// A message not yet encoded to its end.
#[derive(Debug)]
struct Message {
    rest: Bytes,
    stuffer: DotStuffer,
}

impl Output {
    /// Appends a line, for which it brings the end.
    pub(super) fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = write!(self.buffer, "{line}\r\n");
    }

    /// To append commands to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Puts a message behind what waits, with the end of data.
    pub(super) fn send_message(&mut self, message: Bytes) {
        self.message = Some(Message { rest: message, stuffer: DotStuffer::new() });
    }

    /// What to write next.
    pub(super) fn pending(&mut self) -> &[u8] {
        if self.written == self.buffer.len() {
            self.buffer.clear();
            self.written = 0;
            self.refill();
        }
        self.buffer.get(self.written..).unwrap_or_default()
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes).min(self.buffer.len());
    }

    /// Whether everything, the message with it, is written.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.buffer.len() && self.message.is_none()
    }

    fn refill(&mut self) {
        let Some(mut message) = self.message.take() else { return };
        let chunk = message.rest.get(..MESSAGE_CHUNK_BYTES).unwrap_or(&message.rest);
        let chunk_bytes = chunk.len();
        message.stuffer.push(chunk, &mut self.buffer);
        message.rest.advance(chunk_bytes);
        if message.rest.is_empty() {
            message.stuffer.finish(&mut self.buffer);
        } else {
            self.message = Some(message);
        }
    }
}
