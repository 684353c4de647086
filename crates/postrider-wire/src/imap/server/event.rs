//! What a session tells its driver, and what the driver answers. Texts from the client in here hold to their limits.

use crate::imap::command::Command;
use crate::imap::response::Status;
use crate::sasl::Password;

/// What happened. Those that say so wait for an answer; until it is given the session reads nothing.
#[derive(Debug)]
pub enum Event {
    /// A command in a state that allows it. Write the untagged responses to [`Session::output`](super::Session::output),
    /// in as many pieces as you like, then answer: [`Session::finish`](super::Session::finish).
    Command(Command),
    /// A message is about to come, or a part of one. Answer: [`Session::respond`](super::Session::respond). A rejection
    /// ends the command: what was announced is not asked for, or is thrown away as it comes.
    Literal(LiteralOffer),
    /// IDLE has begun; the client has been told to go ahead. Responses may be written to the output at any time. After
    /// [`Event::IdleDone`] no more.
    Idle { tag: String },
    /// The client ended IDLE. Write what there is to write, and answer: [`Session::finish`](super::Session::finish) with
    /// [`Status::IDLE_DONE`]. Where the client said anything but DONE the session says BAD whatever the answer is.
    IdleDone,
    /// The client wants TLS. Write the output, do the handshake, call
    /// [`Session::tls_started`](super::Session::tls_started).
    StartTls,
    /// The client wants compression (RFC 4978). Write the output, take what is left in the input (it is compressed
    /// already), call [`Session::compression_started`](super::Session::compression_started).
    Compress,
    /// A user name and a password to check, of LOGIN or AUTHENTICATE. Answer:
    /// [`Session::respond`](super::Session::respond); rejections as [`Status::LOGIN_FAILED`] or, if it could not be
    /// checked, [`Status::UNAVAILABLE`]. [`Event::Authenticated`] or, after the first, [`Event::AuthFailed`] follows.
    AuthPassword { user: String, password: Password },
    /// Whose SCRAM keys are they? Answer: [`Session::scram_keys`](super::Session::scram_keys), or, if they cannot be looked
    /// up, `respond` with [`Status::UNAVAILABLE`].
    ScramLookup { user: String },
    /// The session belongs to this user from now on. Comes once, whatever the mechanism.
    Authenticated { user: String },
    /// Wrong user name or password, whatever the mechanism. The answer is in the output: who delays writing it, delays
    /// guessing.
    AuthFailed { user: String },
    /// The session answered a command by itself with this refusal. Only for counting and logging.
    Violation { status: Status },
    /// The session is over: write what is in the output and close the connection. Comes once; nothing comes after it.
    Closed,
}

/// A message, or one text of a CATENATE, that a client wants to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteralOffer {
    /// Where it is to go, in UTF-8.
    pub mailbox: String,
    /// As announced. Never more than [`Limits::message_bytes_max`](super::Limits::message_bytes_max).
    pub bytes: u64,
    /// Of messages and parts that came earlier in this command.
    pub earlier_bytes: u64,
    /// Messages that came whole earlier in this command (RFC 3502).
    pub earlier_messages: usize,
    /// The client waits for the answer before it sends; otherwise it is on its way already (RFC 7888).
    pub is_waiting: bool,
}

/// The driver's answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    /// Not done; NO or BAD.
    Reject(Status),
}
