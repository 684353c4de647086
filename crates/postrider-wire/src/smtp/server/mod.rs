//! The server's side of SMTP (RFC 5321) with PIPELINING, SIZE, 8BITMIME, SMTPUTF8, CHUNKING, ENHANCEDSTATUSCODES, DSN,
//! STARTTLS and AUTH, and of LMTP (RFC 2033), which differs in its greeting and in the replies after the data.
//!
//! A [`Session`] turns bytes into [`Event`]s and answers into replies. It never sees a socket, a clock, a setting or a
//! store: whoever drives it reads and writes, measures time, and decides who may send what to whom. One loop is enough:
//!
//! ```text
//! loop {
//!     while let Some(event) = session.next_event(&mut input) { decide, and answer if the event waits for it }
//!     write session.output(), clear it            // the replies to all that was pipelined, in one write
//!     if session.is_closed() { break }
//!     read more into input
//! }
//! ```

mod auth;
mod bdat;
mod command;
mod config;
mod data;
mod ehlo;
mod event;
mod help;
mod mail;
mod noop;
mod parameters;
mod path;
mod quit;
mod rcpt;
mod rset;
mod starttls;
mod vrfy;

use std::mem;
use std::sync::Arc;

use bytes::{Buf, BytesMut};

pub use self::config::{AuthPolicy, FutureRelease, Limits, Protocol, ServerConfig, TlsFacts};
pub use self::event::{Event, MailCommand, RcptCommand, Verdict};
use crate::sasl::{Exchange, ScramKeys};
pub use crate::smtp::envelope::{BodyType, DsnReturn, Hold, Notify};
use crate::smtp::reply::Reply;
use crate::smtp::text::line_end;

/// Capacity that an output buffer may keep while the session waits for the client.
const OUTPUT_IDLE_BYTES_MAX: usize = 512;

/// One SMTP session, seen from the server.
#[derive(Debug)]
pub struct Session {
    config: Arc<ServerConfig>,
    tls: Option<TlsFacts>,
    hello: Option<Hello>,
    user: Option<Box<str>>,
    state: State,
    output: BytesMut,
    /// Comes out before anything else is read.
    announced: Option<Box<Event>>,
    /// [`Event::Closed`] came out.
    closed_told: bool,
    /// A line that grew too long is dropped up to its end.
    skipping_line: bool,
    errors: usize,
    refused_recipients: usize,
    /// In place of a success of the exchange that goes on.
    login_denial: Option<Reply>,
    /// `None`: FUTURERELEASE is not offered.
    future_release: Option<FutureRelease>,
}

/// Where a session stands, as its driver and the table of commands see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// None of HELO, EHLO and LHLO was accepted.
    Connected,
    /// No transaction is open.
    Greeted,
    /// MAIL was accepted, and no recipient yet.
    Mail,
    /// At least one recipient was accepted.
    Recipients,
    /// Between two chunks of a message.
    Chunks,
    /// Amid a message's bytes.
    Data,
    /// Amid an AUTH exchange.
    Authenticating,
    /// An event waits for its answer.
    Waiting,
    /// Between the answer to STARTTLS and [`Session::tls_started`].
    StartTls,
    Closed,
}

/// What was being read is not there yet.
#[derive(Debug)]
struct NeedsInput;

/// What the client called itself.
#[derive(Debug)]
struct Hello {
    name: Box<str>,
    extended: bool,
}

/// A state owns what lives only as long as it: a transition takes it out and puts another in.
#[derive(Debug)]
enum State {
    /// Reads commands; no transaction is open.
    Ready,
    /// Reads commands; MAIL was accepted.
    Transaction(Box<Transaction>),
    /// Reads commands; a message has begun to come in chunks.
    Chunks(Box<bdat::Chunked>),
    /// Reads the bytes of DATA.
    Data(Box<data::Receiving>),
    /// Reads the bytes of a chunk.
    Chunk(Box<bdat::Chunk>),
    /// Throws the bytes of a chunk away.
    Drain(Box<bdat::Drain>),
    /// Reads lines of an AUTH exchange.
    Auth(Box<Exchange>),
    /// Reads nothing until the driver has answered.
    Waiting(Question),
    StartTls,
    Closed,
}

/// What MAIL opened.
#[derive(Debug)]
struct Transaction {
    recipients: usize,
    smtputf8: bool,
    size: Option<u64>,
}

/// What the driver was asked, and what the session goes on with.
#[derive(Debug)]
enum Question {
    Hello(Hello),
    Mail(Transaction),
    Recipient(Box<Transaction>),
    Data(Box<Transaction>),
    FirstChunk(Box<Transaction>, bdat::ChunkSize),
    Message { replies: usize },
    Password { user: String },
    ScramLookup(Box<Exchange>),
}

impl Session {
    /// A session whose greeting is in the output already. `tls`: what is known where TLS began with the first byte.
    pub fn new(config: Arc<ServerConfig>, tls: Option<TlsFacts>) -> Self {
        let mut session = Self {
            tls,
            hello: None,
            user: None,
            state: State::Ready,
            output: BytesMut::with_capacity(OUTPUT_IDLE_BYTES_MAX / 2),
            announced: None,
            closed_told: false,
            skipping_line: false,
            errors: 0,
            refused_recipients: 0,
            login_denial: None,
            future_release: None,
            config,
        };
        let protocol = match session.config.protocol {
            Protocol::Smtp => "ESMTP",
            Protocol::Lmtp => "LMTP",
        };
        let greeting = format!("{} {protocol} {}", session.config.hostname, session.config.banner);
        session.say(&Reply::plain(220, greeting.trim_end().to_owned()));
        session
    }

    /// Offers FUTURERELEASE (RFC 4865) from the next EHLO on.
    pub fn offer_future_release(&mut self, limits: FutureRelease) {
        self.future_release = Some(limits);
    }

    /// Reads on. `None`: more input is needed, an event waits for its answer, or the session is closed; this is the time
    /// to write the output. What was read is taken out of `input`.
    pub fn next_event(&mut self, input: &mut BytesMut) -> Option<Event> {
        if self.output.is_empty() && self.output.capacity() > OUTPUT_IDLE_BYTES_MAX {
            self.output = BytesMut::new();
        }
        loop {
            if let Some(event) = self.announced.take() {
                return Some(*event);
            }
            let read = match &self.state {
                State::Waiting(_) | State::StartTls => return None,
                State::Closed => {
                    input.clear();
                    return (!mem::replace(&mut self.closed_told, true)).then_some(Event::Closed);
                }
                State::Data(_) => self.read_data(input),
                State::Chunk(_) | State::Drain(_) => self.read_chunk(input),
                State::Auth(_) => self.read_line(input).map(|line| self.read_auth_response(&line)),
                State::Ready | State::Transaction(_) | State::Chunks(_) => {
                    self.read_line(input).map(|line| self.read_command(&line))
                }
            };
            match read {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(NeedsInput) => return None,
            }
        }
    }

    /// The replies so far. The driver writes them and clears this, or takes it.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Answers the event that waits. Without one, or after [`Session::close`], it does nothing. A message of LMTP gets this
    /// verdict for each of its recipients.
    pub fn respond(&mut self, verdict: Verdict) {
        match mem::replace(&mut self.state, State::Ready) {
            State::Waiting(question) => self.go_on(question, verdict),
            other => self.state = other,
        }
    }

    /// Answers [`Event::Message`] of LMTP: one verdict for each recipient that was accepted, in the order of RCPT, also where
    /// two have the same address (RFC 2033 section 4.2). A verdict that is missing is told as a failure for now; what is too
    /// many goes unsaid.
    pub fn respond_each(&mut self, verdicts: Vec<Verdict>) {
        match mem::replace(&mut self.state, State::Ready) {
            State::Waiting(Question::Message { replies }) => self.answer_message_each(replies, verdicts),
            other => self.state = other,
        }
    }

    /// Answers [`Event::DataStart`]: the client may send. `prefix` is what stands on top of the message, trace fields;
    /// the message's bytes are appended to this very buffer, which need not have room for them.
    pub fn begin_message(&mut self, prefix: BytesMut) {
        match mem::replace(&mut self.state, State::Ready) {
            State::Waiting(Question::Data(transaction)) => self.begin_data(&transaction, prefix),
            State::Waiting(Question::FirstChunk(transaction, size)) => self.begin_chunks(&transaction, size, prefix),
            other => self.state = other,
        }
    }

    /// Bytes of a message held now, with what it was begun with.
    pub fn message_bytes(&self) -> usize {
        self.receiving().map_or(0, data::Receiving::held_bytes)
    }

    /// While a message is read: drops what is held, reads on to the end of the data or of the chunk, answers `reply`
    /// there. [`Event::MessageRefused`] tells when.
    pub fn refuse_message(&mut self, reply: Reply) {
        let receiving = match &mut self.state {
            State::Data(receiving) => receiving,
            State::Chunks(chunked) => chunked.receiving_mut(),
            State::Chunk(chunk) => chunk.receiving_mut(),
            _ => return,
        };
        receiving.refuse(reply);
    }

    /// Ends [`Event::StartTls`]: the handshake is done. The session forgets all that was said in the clear, and `input`,
    /// which may hold what somebody slipped in before the handshake, is dropped unread (RFC 3207 sections 4.2 and 5).
    pub fn tls_started(&mut self, facts: TlsFacts, input: &mut BytesMut) {
        input.clear();
        if matches!(self.state, State::StartTls) {
            self.tls = Some(facts);
            self.hello = None;
            self.user = None;
            self.state = State::Ready;
        }
    }

    /// Answers [`Event::ScramLookup`]. `None`: nobody has this name; the exchange goes on with made-up keys and fails at
    /// its end, so that names cannot be probed.
    pub fn scram_keys(&mut self, keys: Option<ScramKeys>) {
        match mem::replace(&mut self.state, State::Ready) {
            State::Waiting(Question::ScramLookup(exchange)) => self.go_on_with_keys(exchange, keys),
            other => self.state = other,
        }
    }

    /// To be called before [`Session::scram_keys`]: who proves to be the user is answered so, and is not logged in.
    /// [`Event::AuthFailed`] follows.
    pub fn deny_login(&mut self, reply: Reply) {
        self.login_denial = Some(reply);
    }

    /// Ends the session with a 421 reply: at once, whatever it was doing, and in place of any answer that was due. Only
    /// where the client has begun a TLS handshake nothing is said.
    pub fn close(&mut self, reply: Reply) {
        match mem::replace(&mut self.state, State::Closed) {
            State::Closed | State::StartTls => {}
            _ => self.say(&reply),
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Ready if self.hello.is_none() => Phase::Connected,
            State::Ready => Phase::Greeted,
            State::Transaction(transaction) if transaction.recipients == 0 => Phase::Mail,
            State::Transaction(_) => Phase::Recipients,
            State::Chunks(_) => Phase::Chunks,
            State::Data(_) | State::Chunk(_) | State::Drain(_) => Phase::Data,
            State::Auth(_) => Phase::Authenticating,
            State::Waiting(_) => Phase::Waiting,
            State::StartTls => Phase::StartTls,
            State::Closed => Phase::Closed,
        }
    }

    /// Amid a message's bytes: RFC 5321 section 4.5.3.2 has a time-out of its own for this.
    pub fn in_data(&self) -> bool {
        self.phase() == Phase::Data
    }

    /// What the client called itself in HELO, EHLO or LHLO.
    pub fn hello_name(&self) -> Option<&str> {
        self.hello.as_ref().map(|hello| &*hello.name)
    }

    /// Whether the client said EHLO or LHLO.
    pub fn is_extended(&self) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.extended)
    }

    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Who has authenticated.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    fn receiving(&self) -> Option<&data::Receiving> {
        match &self.state {
            State::Data(receiving) => Some(receiving),
            State::Chunks(chunked) => Some(chunked.receiving()),
            State::Chunk(chunk) => Some(chunk.receiving()),
            _ => None,
        }
    }

    fn go_on(&mut self, question: Question, verdict: Verdict) {
        match (question, verdict) {
            (Question::Hello(hello), verdict) => self.answer_hello(hello, verdict),
            (Question::Mail(transaction), verdict) => self.answer_mail(transaction, verdict),
            (Question::Recipient(transaction), verdict) => self.answer_rcpt(transaction, verdict),
            (Question::Data(_), Verdict::Reject(reply)) => self.reject(&reply, 1),
            (Question::Data(transaction), _) => self.begin_data(&transaction, BytesMut::new()),
            (Question::FirstChunk(transaction, size), Verdict::Reject(reply)) => {
                self.reject_chunk(&transaction, size, reply);
            }
            (Question::FirstChunk(transaction, size), _) => self.begin_chunks(&transaction, size, BytesMut::new()),
            (Question::Message { replies }, verdict) => self.answer_message(replies, verdict),
            (Question::Password { user }, verdict) => self.answer_password(user, verdict),
            (Question::ScramLookup(_), Verdict::Reject(reply)) => self.reject(&reply, 1),
            (Question::ScramLookup(exchange), _) => self.go_on_with_keys(exchange, None),
        }
    }

    fn go_on_with_keys(&mut self, mut exchange: Box<Exchange>, keys: Option<ScramKeys>) {
        let step = exchange.keys(keys);
        self.announced = self.follow_auth(exchange, step).map(Box::new);
    }

    /// Takes the next line out of the input, with its CRLF. An empty buffer stands for a line that was too long: it has
    /// been skipped.
    fn read_line(&mut self, input: &mut BytesMut) -> Result<BytesMut, NeedsInput> {
        let line_bytes_max = self.line_bytes_max(input);
        if let Some(end) = line_end(input) {
            let line = input.split_to(end);
            let too_long = mem::take(&mut self.skipping_line) || end > line_bytes_max;
            return Ok(if too_long { BytesMut::new() } else { line });
        }
        if self.skipping_line || input.len() > line_bytes_max {
            self.skipping_line = true;
            // The last byte may be the CR of the line's end.
            input.advance(input.len().saturating_sub(1));
        }
        Err(NeedsInput)
    }

    fn line_bytes_max(&self, line: &[u8]) -> usize {
        let limits = &self.config.limits;
        // An initial response makes AUTH's own line as long as those that follow (RFC 4954 section 4).
        let is_auth = matches!(self.state, State::Auth(_))
            || line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        if is_auth { limits.auth_line_bytes_max } else { limits.command_line_bytes_max }
    }

    fn say(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
    }

    /// Says a refusal of the driver's, as often as what is refused gets replies; it counts as one.
    fn reject(&mut self, reply: &Reply, replies: usize) {
        if !self.closes_for_errors(reply) {
            (0..replies).for_each(|_| self.say(reply));
        }
    }

    /// Says a refusal of the session's own, and tells the driver.
    fn refuse(&mut self, reply: Reply) -> Option<Event> {
        self.refuse_each(reply, 1)
    }

    fn refuse_each(&mut self, reply: Reply, replies: usize) -> Option<Event> {
        self.reject(&reply, replies);
        (!self.is_closed()).then_some(Event::Violation { reply })
    }

    /// How many replies come after the message of a transaction (RFC 2033 sections 4.2 and 4.3).
    fn message_replies(&self, transaction: &Transaction) -> usize {
        match self.config.protocol {
            Protocol::Smtp => 1,
            Protocol::Lmtp => transaction.recipients,
        }
    }

    /// Counts a refusal; one too many ends the session instead of being told.
    fn closes_for_errors(&mut self, reply: &Reply) -> bool {
        self.errors += usize::from(reply.is_permanent());
        let closes = self.errors > self.config.limits.errors_max;
        if closes {
            self.close(Reply::TOO_MANY_ERRORS);
        }
        closes
    }
}
