//! The client: a connection to another server, and transactions on it (RFC 5321 section 3).
//!
//! A state machine without a socket. The driver feeds it what was read, writes what it wants written, makes the TLS
//! handshake when asked, and keeps the time. Which server, which source address, and what a refusal means for the queue is
//! not known here.
//!
//! The driver reads and writes at the same time: with PIPELINING up to a window of about a hundred commands is under way,
//! and a server that answers while it reads must find its answers read.
//!
//! Greeting, EHLO (or HELO), STARTTLS and AUTH pass without the driver's help; [`Event::Ready`] tells of their end. Then
//! [`Client::transact`] begins a transaction and [`Event::Finished`] ends it, any number of times. After
//! [`Event::Failed`], or when the connection breaks or a time runs out, [`Client::connection_lost`] tells what is known.

mod auth;
mod capabilities;
mod output;
mod reply;
mod run;
mod transaction;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::BytesMut;

use self::auth::AuthExchange;
pub use self::auth::Credentials;
pub use self::capabilities::{AuthMechanisms, Capabilities};
use self::output::Output;
pub use self::reply::{ReplyError, ReplyParser};
use self::run::{Run, Step};
pub use self::transaction::{
    Exchange, RecipientResult, TransactError, Transaction, TransactionRecipient, TransactionResult,
};
pub use crate::smtp::envelope::{DsnReturn, Notify};
use crate::smtp::reply::Reply;

/// How a connection is to be made.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// What EHLO says: a host name or an address literal.
    pub helo_name: String,
    pub tls: TlsUse,
    /// Whether TLS is active from the first byte.
    pub tls_active: bool,
    /// Log in with these, or fail. They go in clear where TLS is not active: with credentials for a host that is not
    /// this one, say [`TlsUse::Required`].
    pub credentials: Option<Credentials>,
    pub limits: ClientLimits,
}

/// When to say STARTTLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsUse {
    Never,
    /// Where offered; where the server then refuses, go on without.
    IfOffered,
    /// Without it the connection fails.
    Required,
}

/// How much a server may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// With the line end. RFC 5321 section 4.5.3.1.5 allows 512; real servers exceed it.
    pub reply_line_bytes_max: usize,
    pub reply_lines_max: usize,
    /// Text that is kept of one reply; the rest is read and dropped.
    pub reply_text_bytes_max: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { reply_line_bytes_max: 2048, reply_lines_max: 128, reply_text_bytes_max: 4096 }
    }
}

/// What the driver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Make the TLS handshake now, then call [`Client::tls_started`].
    StartTls,
    /// A transaction may begin. Comes once.
    Ready,
    /// A transaction has ended. If the connection is still usable, the next may begin at once.
    Finished(TransactionResult),
    /// The connection is of no more use: close it. [`Client::connection_lost`] tells the rest.
    Failed(ConnectionFailure),
    /// QUIT was answered: close the connection.
    Closed,
}

/// Why a connection is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFailure {
    pub stage: Stage,
    pub cause: FailureCause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureCause {
    /// The server said no.
    Refused(Reply),
    /// What the server said makes no sense.
    Protocol(Cow<'static, str>),
    /// The server does not offer what is required.
    NotOffered(&'static str),
    /// The options hold what cannot be sent.
    Options(&'static str),
}

/// Where a connection stands: which reply it waits for. Each has its time-out in RFC 5321 section 4.5.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Greeting,
    Hello,
    StartTls,
    Auth,
    /// Between transactions: no reply is due.
    Idle,
    Reset,
    Mail,
    Recipient,
    Data,
    /// The message is being sent, or, with nothing left in [`Client::output`], its end was and the answer is due.
    EndOfData,
    Quit,
}

/// What is known of a connection that ended before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostResult {
    pub stage: Stage,
    /// In the order of the transaction's recipients; `None` where the server had not decided. Empty outside of a
    /// transaction.
    pub recipients: Vec<Option<RecipientResult>>,
    /// Whether the end of data had been sent: the server may have taken the message for every recipient without a
    /// result.
    pub end_of_data_sent: bool,
    /// What was said since the last [`Event::Finished`].
    pub exchanges: Vec<Exchange>,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    options: ClientOptions,
    parser: ReplyParser,
    capabilities: Capabilities,
    output: Output,
    exchanges: Vec<Exchange>,
    replies_read: u64,
    state: State,
    /// An event that comes before anything is read.
    pending: Option<Event>,
    /// Whether the last transaction left the server with something to forget.
    needs_reset: bool,
    /// Nothing more is read or written.
    over: bool,
    /// Where it failed, if that was before a command that should have come.
    failed_before: Option<Stage>,
}

#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    /// The driver makes the handshake.
    Handshake,
    Auth(Box<AuthExchange>),
    Ready,
    Running(Box<Run>),
    Quit,
}

impl Client {
    /// A connection that was just opened.
    pub fn new(options: ClientOptions) -> Self {
        // A name from outside (configuration, the source-IP service) must not bring commands of its own.
        let name_holds = !options.helo_name.is_empty() && options.helo_name.bytes().all(|b| b.is_ascii_graphic());
        let pending = (!name_holds).then(|| {
            let cause = FailureCause::Options("the name for EHLO has a character that cannot be sent");
            Event::Failed(ConnectionFailure { stage: Stage::Greeting, cause })
        });
        Self {
            parser: ReplyParser::new(options.limits),
            capabilities: Capabilities::default(),
            output: Output::default(),
            exchanges: Vec::new(),
            replies_read: 0,
            state: State::Greeting,
            over: !name_holds,
            pending,
            needs_reset: false,
            failed_before: None,
            options,
        }
    }

    /// The next thing that the driver must know. `None`: write [`Client::output`], read more, or begin a transaction.
    pub fn next_event(&mut self, input: &mut BytesMut) -> Option<Event> {
        if let Some(event) = self.pending.take() {
            return Some(event);
        }
        while !self.over && !matches!(self.state, State::Handshake) {
            let event = match self.parser.next_reply(input) {
                Ok(Some(reply)) => {
                    self.replies_read += 1;
                    self.on_reply(reply)
                }
                Ok(None) => return None,
                Err(error) => Some(self.fail(FailureCause::Protocol(error.to_string().into()))),
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// What to write; empty when there is nothing now. At most about 128 KiB of a message stand here at a time.
    pub fn output(&mut self) -> &[u8] {
        if self.over {
            return &[];
        }
        self.output.pending()
    }

    /// Says that the first `bytes` of the output are written.
    pub fn wrote(&mut self, bytes: usize) {
        self.output.wrote(bytes);
    }

    /// The handshake that [`Event::StartTls`] asked for is done. What came before it in clear, and what the server said
    /// that it offers, is forgotten (RFC 3207 section 4.2): anyone on the way could have put it there.
    pub fn tls_started(&mut self, input: &mut BytesMut) {
        if !matches!(self.state, State::Handshake) {
            return;
        }
        input.clear();
        self.parser = ReplyParser::new(self.options.limits);
        self.capabilities = Capabilities::default();
        self.options.tls_active = true;
        self.say_ehlo();
    }

    /// Begins a transaction. An error means that nothing was sent and the connection stands as before.
    ///
    /// On a connection that has been idle, first give [`Client::next_event`] what was read meanwhile: the server may have
    /// said goodbye.
    pub fn transact(&mut self, transaction: Transaction) -> Result<(), TransactError> {
        if self.over || !matches!(self.state, State::Ready) {
            return Err(TransactError::NotReady);
        }
        transaction.check(&self.capabilities)?;
        let mut run = Box::new(Run::new(transaction, self.capabilities, self.needs_reset));
        run.fill(&mut self.output);
        self.state = State::Running(run);
        Ok(())
    }

    /// Ends the connection in good order: says QUIT between transactions, otherwise closes it as it is.
    pub fn quit(&mut self) {
        if !self.over && matches!(self.state, State::Ready) {
            self.say(format_args!("QUIT"), State::Quit);
        } else {
            self.over = true;
            self.pending = Some(Event::Closed);
        }
    }

    /// What the server offers, as it said last.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Whether the connection is encrypted.
    pub fn tls_active(&self) -> bool {
        self.options.tls_active
    }

    /// How many whole replies have been read: a driver's time-outs count from the last one, not from the last byte.
    pub fn replies_read(&self) -> u64 {
        self.replies_read
    }

    /// Which reply the connection waits for.
    pub fn stage(&self) -> Stage {
        if let Some(stage) = self.failed_before {
            return stage;
        }
        match &self.state {
            State::Greeting => Stage::Greeting,
            State::Ehlo | State::Helo => Stage::Hello,
            State::StartTls | State::Handshake => Stage::StartTls,
            State::Auth(_) => Stage::Auth,
            State::Ready => Stage::Idle,
            State::Running(run) => run.stage(),
            State::Quit => Stage::Quit,
        }
    }

    /// The connection broke, a time ran out, or it failed: what is known of the transaction that was under way.
    pub fn connection_lost(self) -> LostResult {
        let stage = self.stage();
        let (recipients, end_of_data_sent) = match self.state {
            State::Running(run) => {
                let end_of_data_sent = run.message_sent() && self.output.is_empty();
                (run.into_results(), end_of_data_sent)
            }
            _ => (Vec::new(), false),
        };
        LostResult { stage, recipients, end_of_data_sent, exchanges: self.exchanges }
    }
}

/// The transitions.
impl Client {
    fn on_reply(&mut self, reply: Reply) -> Option<Event> {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Greeting => self.on_greeting(reply),
            State::Ehlo => self.on_ehlo(reply),
            State::Helo => self.on_helo(reply),
            State::StartTls => self.on_starttls(reply),
            State::Auth(exchange) => self.on_auth(exchange, reply),
            State::Running(run) => self.on_transaction_reply(run, reply),
            // Said unasked: 421 before closing, or confusion. Either way the connection is not to be used.
            State::Ready if reply.code == 421 => Some(self.refused(reply)),
            State::Ready => Some(self.fail(FailureCause::Protocol("a reply to no command".into()))),
            State::Handshake | State::Quit => {
                self.over = true;
                Some(Event::Closed)
            }
        }
    }

    fn on_greeting(&mut self, reply: Reply) -> Option<Event> {
        self.state = State::Greeting;
        self.note("connect", &reply);
        // RFC 5321 section 3.1: 220, or 554 and the like; any other positive code is no SMTP server's.
        match reply.code {
            220 => self.say_ehlo(),
            400.. => return Some(self.refused(reply)),
            code => return Some(self.fail(FailureCause::Protocol(format!("greeting with code {code}").into()))),
        }
        None
    }

    fn on_ehlo(&mut self, reply: Reply) -> Option<Event> {
        self.state = State::Ehlo;
        self.note("EHLO", &reply);
        if reply.is_positive() {
            self.capabilities = Capabilities::parse(&reply);
            return self.after_hello();
        }
        // RFC 5321 section 3.2: a server that knows no EHLO may know HELO.
        if reply.is_permanent() {
            self.say(format_args!("HELO {}", self.options.helo_name.clone()), State::Helo);
            return None;
        }
        Some(self.refused(reply))
    }

    fn on_helo(&mut self, reply: Reply) -> Option<Event> {
        self.state = State::Helo;
        self.note("HELO", &reply);
        if reply.is_positive() { self.after_hello() } else { Some(self.refused(reply)) }
    }

    fn after_hello(&mut self) -> Option<Event> {
        if self.options.tls_active || self.options.tls == TlsUse::Never {
            return self.authenticate();
        }
        if self.capabilities.starttls {
            self.say(format_args!("STARTTLS"), State::StartTls);
            return None;
        }
        if self.options.tls == TlsUse::Required {
            return Some(self.fail_before(Stage::StartTls, FailureCause::NotOffered("STARTTLS")));
        }
        self.authenticate()
    }

    fn on_starttls(&mut self, reply: Reply) -> Option<Event> {
        self.state = State::StartTls;
        self.note("STARTTLS", &reply);
        match reply.code {
            220 => {
                self.state = State::Handshake;
                Some(Event::StartTls)
            }
            421 => Some(self.refused(reply)),
            400.. if self.options.tls == TlsUse::IfOffered => self.authenticate(),
            _ => Some(self.refused(reply)),
        }
    }

    fn authenticate(&mut self) -> Option<Event> {
        let Some(credentials) = self.options.credentials.clone() else { return self.ready() };
        match AuthExchange::begin(self.capabilities.auth, credentials) {
            Some(Ok((exchange, command))) => {
                self.say(format_args!("{command}"), State::Auth(Box::new(exchange)));
                None
            }
            Some(Err(error)) => Some(self.fail_before(Stage::Auth, FailureCause::Protocol(error.into()))),
            None => {
                let cause = FailureCause::NotOffered("AUTH with SCRAM-SHA-256, PLAIN or LOGIN");
                Some(self.fail_before(Stage::Auth, cause))
            }
        }
    }

    fn on_auth(&mut self, mut exchange: Box<AuthExchange>, reply: Reply) -> Option<Event> {
        if reply.code == 334 {
            return match exchange.respond(&reply.text) {
                Ok(response) => {
                    self.say(format_args!("{response}"), State::Auth(exchange));
                    None
                }
                Err(error) => {
                    self.state = State::Auth(exchange);
                    Some(self.fail_auth(error))
                }
            };
        }
        self.note("AUTH", &reply);
        let success = exchange.check_success();
        self.state = State::Auth(exchange);
        if !reply.is_positive() {
            return Some(self.refused(reply));
        }
        match success {
            Ok(()) => self.ready(),
            Err(error) => Some(self.fail_auth(error)),
        }
    }

    fn ready(&mut self) -> Option<Event> {
        self.state = State::Ready;
        Some(Event::Ready)
    }

    fn on_transaction_reply(&mut self, mut run: Box<Run>, reply: Reply) -> Option<Event> {
        let step = run.on_reply(reply, &mut self.output, &mut self.exchanges);
        if let Step::Finished { message_accepted, usable } = step {
            self.needs_reset = !message_accepted;
            self.over = !usable;
            return Some(Event::Finished(TransactionResult {
                // Only a finished run gets here, and it has decided every recipient.
                recipients: run.into_results().into_iter().flatten().collect(),
                exchanges: std::mem::take(&mut self.exchanges),
                usable,
            }));
        }
        self.state = State::Running(run);
        match step {
            Step::Violation(text) => Some(self.fail(FailureCause::Protocol(text))),
            Step::ResetRefused(reply) => Some(self.refused(reply)),
            Step::More | Step::Finished { .. } => None,
        }
    }

    fn say_ehlo(&mut self) {
        self.say(format_args!("EHLO {}", self.options.helo_name.clone()), State::Ehlo);
    }

    /// Hands one line to the output and waits for its reply in `state`.
    fn say(&mut self, line: std::fmt::Arguments<'_>, state: State) {
        self.output.line(line);
        self.state = state;
    }

    fn note(&mut self, command: &'static str, reply: &Reply) {
        self.exchanges.push(Exchange { command: command.into(), recipient: None, reply: reply.clone() });
    }

    fn refused(&mut self, reply: Reply) -> Event {
        match reply.code {
            400.. => self.fail(FailureCause::Refused(reply)),
            code => self.fail(FailureCause::Protocol(format!("unexpected reply code {code}").into())),
        }
    }

    fn fail_auth(&mut self, error: &'static str) -> Event {
        self.fail(FailureCause::Protocol(error.into()))
    }

    /// Ends the connection because a command cannot be said.
    fn fail_before(&mut self, stage: Stage, cause: FailureCause) -> Event {
        self.failed_before = Some(stage);
        self.fail(cause)
    }

    /// Ends the connection, keeping the state for [`Client::connection_lost`].
    fn fail(&mut self, cause: FailureCause) -> Event {
        self.over = true;
        Event::Failed(ConnectionFailure { stage: self.stage(), cause })
    }
}
