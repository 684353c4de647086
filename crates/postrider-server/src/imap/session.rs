//! One IMAP session: drives the protocol machine over a connection and has commands carried out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postrider_core::mailbox::UidSet;
use postrider_core::{Address, Timestamp};
use postrider_store::{Store, StoreError, UserId};
use postrider_wire::imap::flag::Flag;
use postrider_wire::imap::response::{Code, Status};
use postrider_wire::imap::server::{self as wire, Event, ServerConfig, Verdict};
use tokio::net::TcpStream;
use tracing::{debug, info, warn};

use super::compress::Codec;
use super::listener::Listener;
use super::selected::{Selected, Telling};
use super::watch::Watch;
use super::{Connection, Context};
use crate::clock::timeout;
use crate::handshake::{channel_binding, handshake};
use crate::login::{Admission, ScramTry, Standing};
use crate::memory::MemoryShare;
use crate::stream::Stream;
use crate::users::{Checked, Turn};

/// Asked of the system at once while a command is awaited, and while a message comes.
const COMMAND_READ_BYTES: usize = 4 << 10;
const MESSAGE_READ_BYTES: usize = 64 << 10;

/// Responses are written to the connection when so many bytes of them are ready.
pub(super) const OUTPUT_BYTES: usize = 64 << 10;

/// So many bytes a client must read within the time that it has for that.
const WRITE_BYTES_MAX: usize = 256 << 10;

/// How long the goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a session to its end.
pub(super) async fn run(
    context: Arc<Context>,
    listener: Listener,
    config: Arc<ServerConfig>,
    tcp: TcpStream,
    peer: IpAddr,
) {
    let stream = if listener.has_implicit_tls() {
        match handshake(&context.common, tcp).await {
            Some(stream) => stream,
            None => return,
        }
    } else {
        Stream::Clear(tcp)
    };
    let facts = listener.has_implicit_tls().then(|| wire::TlsFacts { channel_binding: channel_binding(&stream) });
    let now = context.common.clock.now();
    let mut session = Session {
        peer,
        stream,
        codec: None,
        input: BytesMut::new(),
        wire: wire::Session::new(config, facts),
        user: None,
        selected: None,
        watch: None,
        condstore: false,
        qresync: false,
        saved: UidSet::new(),
        share: None,
        turn: None,
        scram: None,
        answered_at: now,
        heard_at: now,
        context,
    };
    match session.converse().await {
        Ok(()) => debug!("session ended"),
        Err(End::Lost(error)) => debug!(%error, "connection lost"),
        Err(End::HandshakeFailed) => {}
        Err(End::Closed) => debug!("the client closed the connection"),
    }
    session.unselect().await;
    let clock = session.context.common.clock.clone();
    let _ = timeout(clock.as_ref(), GOODBYE_TIMEOUT, session.stream.shutdown()).await;
}

/// A session, as its commands see it.
pub(super) struct Session {
    pub(super) context: Arc<Context>,
    peer: IpAddr,
    stream: Stream,
    /// Where the connection is compressed.
    pub(super) codec: Option<Box<Codec>>,
    pub(super) input: BytesMut,
    pub(super) wire: wire::Session,
    user: Option<LoggedIn>,
    pub(super) selected: Option<Selected>,
    /// What the client wants to hear of without asking (RFC 5465).
    pub(super) watch: Option<Box<Watch>>,
    /// CONDSTORE and QRESYNC (RFC 7162), enabled by ENABLE or by use.
    pub(super) condstore: bool,
    pub(super) qresync: bool,
    /// What the last SEARCH with SAVE found (RFC 5182).
    pub(super) saved: UidSet,
    /// The messages that are being appended, of the memory budget.
    pub(super) share: Option<MemoryShare>,
    /// Of the log-in whose outcome comes next.
    turn: Option<Turn>,
    scram: Option<ScramTry>,
    /// When the last responses were written.
    answered_at: Timestamp,
    /// When the client was last heard of.
    heard_at: Timestamp,
}

/// Of a user who is disabled, or removed, while a session is open.
const LOCKED_OUT: Status = Status::bye("This account was disabled or removed, ask the administrator of this server");

/// Who a session belongs to.
struct LoggedIn {
    id: UserId,
    address: Address,
    standing: Standing,
    _connection: Connection,
}

/// How a session ended other than in good order.
pub(super) enum End {
    Closed,
    Lost(std::io::Error),
    HandshakeFailed,
}

/// What ended a wait for input.
enum Woken {
    Input,
    /// Something may have happened in the selected mailbox, or where NOTIFY watches.
    News,
    TimedOut,
    Draining,
}

impl Session {
    pub(super) fn store(&self) -> &dyn Store {
        self.context.common.store.as_ref()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.context.common.clock.now()
    }

    /// Always there once a command that needs a log-in is carried out.
    pub(super) fn user_id(&self) -> Option<UserId> {
        self.user.as_ref().map(|user| user.id)
    }

    /// As [`Session::user_id`].
    pub(super) fn user_address(&self) -> Option<&Address> {
        self.user.as_ref().map(|user| &user.address)
    }

    /// How the client wants to be told of changes.
    pub(super) fn telling(&self, expunges: bool) -> Telling {
        let dialect = self.wire.dialect();
        Telling { dialect, condstore: self.condstore, qresync: self.qresync, expunges, flags: true }
    }

    /// What the client is told when the store did not do what it should. The cause goes to the log.
    pub(super) fn store_failed(&self, what: &'static str, error: &StoreError) -> Status {
        match error {
            StoreError::OverQuota => return Status::refusal(Code::OverQuota, "The quota is full"),
            StoreError::Missing(_) => return super::select::no_such_mailbox(),
            StoreError::Exists(_) => return Status::refusal(Code::AlreadyExists, "It exists already"),
            StoreError::Limit(_) => return Status::refusal(Code::Limit, "That would be more than this server keeps"),
            StoreError::Overloaded => return Status::refusal(Code::InUse, "Too much to do, try again soon"),
            StoreError::Full(_) | StoreError::Unavailable(_) | StoreError::Corrupt(_) => {}
        }
        self.context.common.queue.store_failed(what, error);
        Status::UNAVAILABLE
    }

    /// Writes the responses so far where they are many. Commands with long answers call this now and then.
    pub(super) async fn flush_if_large(&mut self) -> Result<(), End> {
        if self.wire.output().len() >= OUTPUT_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn converse(&mut self) -> Result<(), End> {
        loop {
            loop {
                self.await_proofs_turn().await;
                let Some(event) = self.wire.next_event(&mut self.input) else { break };
                if matches!(event, Event::Command(_)) {
                    self.end_if_locked_out().await;
                    if self.wire.is_closed() {
                        return self.flush().await;
                    }
                }
                if matches!(event, Event::Closed) {
                    return self.flush().await;
                }
                // In a box, so that a session that waits takes no room for what commands need.
                Box::pin(self.handle(event)).await?;
                self.flush_if_large().await?;
            }
            self.turn = None;
            self.flush().await?;
            if self.wire.is_closed() {
                return Ok(());
            }
            match self.read().await? {
                Woken::Input => {}
                Woken::News => {
                    self.end_if_locked_out().await;
                    if !self.wire.is_closed() {
                        Box::pin(self.tell_news()).await?;
                    }
                }
                Woken::TimedOut => {
                    self.timed_out();
                    self.end_if_locked_out().await;
                }
                Woken::Draining => self.wire.close(&Status::bye("The server shuts down").with_code(Code::Unavailable)),
            }
        }
    }

    /// Waits for more from the client, and in IDLE for news.
    async fn read(&mut self) -> Result<Woken, End> {
        let patience = self.patience();
        let holds_message = self.wire.held_bytes() > COMMAND_READ_BYTES;
        let bytes = if holds_message { MESSAGE_READ_BYTES } else { COMMAND_READ_BYTES };
        if self.inflate()? > 0 {
            return Ok(Woken::Input);
        }
        let mut draining = self.context.common.draining.clone();
        let hears = self.hears_selected();
        let Self { stream, input, codec, selected, watch, context, .. } = self;
        let input = codec.as_mut().map_or(input, |codec| &mut codec.input);
        let news = async {
            let selected = async {
                match selected {
                    Some(selected) if hears => selected.changed().await,
                    _ => std::future::pending().await,
                }
            };
            match watch {
                Some(watch) => Box::pin(watch.changed(selected)).await,
                None => selected.await,
            }
        };
        let woken = timeout(context.common.clock.as_ref(), patience, async {
            tokio::select! {
                biased;
                count = stream.read(input, bytes) => Ok(count),
                () = news => Err(Woken::News),
                _ = draining.wait_for(|&draining| draining) => Err(Woken::Draining),
            }
        });
        match woken.await {
            Ok(Ok(Ok(0))) => Err(End::Closed),
            Ok(Ok(Ok(_))) => {
                self.heard_at = self.now();
                self.inflate()?;
                Ok(Woken::Input)
            }
            Ok(Ok(Err(error))) => Err(End::Lost(error)),
            Ok(Err(woken)) => Ok(woken),
            Err(_) => Ok(Woken::TimedOut),
        }
    }

    /// Takes what came compressed into the input.
    fn inflate(&mut self) -> Result<usize, End> {
        match &mut self.codec {
            Some(codec) => codec.inflate(&mut self.input).map_err(End::Lost),
            None => Ok(0),
        }
    }

    /// How long the client may be silent from now on.
    fn patience(&self) -> Duration {
        let limits = &self.context.common.limits;
        let silent_for = self.now().since(self.heard_at);
        if self.user.is_none() {
            return limits.imap_login_timeout.saturating_sub(self.now().since(self.answered_at));
        }
        let left = limits.imap_idle_timeout.saturating_sub(silent_for);
        if !self.wire.is_idle() {
            return left;
        }
        left.min(limits.imap_idle_notice.saturating_sub(self.now().since(self.answered_at)))
    }

    fn timed_out(&mut self) {
        let limits = &self.context.common.limits;
        if self.wire.is_idle() && self.now().since(self.heard_at) < limits.imap_idle_timeout {
            // Keeps the ways in between open, and finds out whether the client is still there.
            Status::ok("Still here").write_untagged(self.wire.output());
            return;
        }
        self.wire.close(&Status::bye("Silent for too long").with_code(Code::Unavailable));
    }

    /// Writes what there is to say.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if self.wire.output().is_empty() {
            return Ok(());
        }
        let output = self.wire.output().split();
        self.write(&output).await?;
        // The buffers of an idle session are given back.
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        *self.wire.output() = BytesMut::new();
        Ok(())
    }

    /// Writes past the output, which is empty.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let deflated = match &mut self.codec {
            Some(codec) => Some(codec.deflate(bytes).map_err(End::Lost)?),
            None => None,
        };
        let bytes = deflated.as_deref().unwrap_or(bytes);
        let (clock, limit) = (self.context.common.clock.clone(), self.context.common.limits.write_timeout);
        // A slow client takes long for a large message; what counts is that it goes on reading.
        for bytes in bytes.chunks(WRITE_BYTES_MAX) {
            match timeout(clock.as_ref(), limit, self.stream.write_all(bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(End::Lost(error)),
                Err(_) => return Err(End::Closed),
            }
        }
        self.answered_at = self.now();
        Ok(())
    }

    async fn handle(&mut self, event: Event) -> Result<(), End> {
        // A turn ends when the outcome has been counted.
        let is_outcome = matches!(event, Event::Authenticated { .. } | Event::AuthFailed { .. });
        let _turn = self.turn.take().filter(|_| is_outcome);
        self.scram = None;
        match event {
            Event::Command(command) => {
                let status = self.execute(command).await?;
                self.wire.finish(&status);
            }
            Event::Literal(offer) => {
                let verdict = self.literal(offer).await;
                self.wire.respond(verdict);
            }
            Event::Idle { .. } => {
                self.close_message();
                self.tell_news().await?;
            }
            Event::IdleDone => {
                self.tell_news().await?;
                self.wire.finish(&Status::IDLE_DONE);
            }
            Event::StartTls => self.start_tls().await?,
            Event::Compress => self.compress().await?,
            Event::AuthPassword { user, password } => {
                let now = self.now();
                if self.take_turn(&user, now).await {
                    let verdict = match self.context.common.logins.check(&user, password.as_str()).await {
                        Ok(Checked::Right) => Verdict::Accept,
                        Ok(Checked::Wrong) => Verdict::Reject(Status::LOGIN_FAILED),
                        Ok(Checked::Disabled) => {
                            info!(user, "a disabled user wanted to log in");
                            Verdict::Reject(Status::ACCOUNT_DISABLED)
                        }
                        Err(error) => Verdict::Reject(self.store_failed("a password could not be checked", &error)),
                    };
                    self.wire.respond(verdict);
                }
            }
            Event::ScramLookup { user } => {
                let began_at = self.now();
                if self.take_turn(&user, began_at).await {
                    self.turn = None;
                    let failures_known = self.context.common.logins.failures(&user, self.peer);
                    match self.context.common.logins.scram_keys(&user).await {
                        Ok(known) => {
                            if known.as_ref().is_some_and(|known| !known.is_enabled) {
                                self.wire.deny_login(Status::ACCOUNT_DISABLED);
                            }
                            self.wire.scram_keys(known.map(|known| known.keys));
                        }
                        Err(error) => {
                            let status = self.store_failed("a user could not be looked up", &error);
                            self.wire.respond(Verdict::Reject(status));
                        }
                    }
                    self.scram = Some(ScramTry { user, began_at, failures_known });
                }
            }
            Event::Authenticated { user } => self.authenticated(user).await,
            Event::AuthFailed { user } => {
                warn!(user, peer = %self.peer, "log-in failed");
                self.context.common.stats.auth_failures.inc();
                self.context.common.logins.failed(&user, self.peer);
            }
            Event::Violation { status } => {
                // What was offered with it does not come any more.
                self.share = None;
                if matches!(status.code, Some(Code::BadCharset(_))) {
                    // RFC 5182 section 2.1: a search that is answered NO saves nothing.
                    self.saved = UidSet::new();
                }
                debug!(%status, "command refused");
            }
            // The caller ends the session on it.
            Event::Closed => {}
        }
        Ok(())
    }

    /// Forgets the message that was kept open for a client that reads it piece by piece.
    pub(super) fn close_message(&mut self) {
        if let Some(selected) = &mut self.selected {
            selected.opened = None;
        }
    }

    async fn authenticated(&mut self, user: String) {
        let common = &self.context.common;
        common.logins.succeeded(&user);
        let standing = Standing::new(common);
        let known = match Address::parse(&user) {
            Ok(address) => common.store.user(&address).await,
            Err(_) => Ok(None),
        };
        let known = match known {
            Ok(Some(known)) if known.is_enabled => known,
            Ok(_) => return self.wire.close(&LOCKED_OUT),
            Err(error) => {
                self.store_failed("a user could not be looked up", &error);
                return self
                    .wire
                    .close(&Status::bye("Not possible for now, try again later").with_code(Code::Unavailable));
            }
        };
        let max = common.limits.imap_connections_per_user_max;
        let Some(connection) = self.context.connections.enter(known.id, max) else {
            info!(user, "too many connections");
            let status = Status::bye("Too many connections of this user; close some first").with_code(Code::Limit);
            return self.wire.close(&status);
        };
        info!(user, "logged in");
        common.stats.auth_successes.inc();
        self.user = Some(LoggedIn { id: known.id, address: known.address, standing, _connection: connection });
    }

    /// Ends the session where an administrator has disabled or removed its user since the log-in. While the store does not
    /// answer it goes on: nothing that it asks for is answered either.
    async fn end_if_locked_out(&mut self) {
        let Some(user) = &mut self.user else { return };
        match user.standing.holds(&self.context.common, &user.address).await {
            Ok(true) => {}
            Ok(false) => self.wire.close(&LOCKED_OUT),
            Err(error) => self.context.common.queue.store_failed("a user could not be looked up", &error),
        }
    }

    /// Lets a log-in wait for its turn. `false`: it is answered already.
    async fn take_turn(&mut self, user: &str, began_at: Timestamp) -> bool {
        match crate::login::admit(&self.context.common, user, self.peer, began_at).await {
            Admission::Turn(turn) => {
                self.turn = Some(turn);
                return true;
            }
            Admission::Draining => self.wire.close(&Status::bye("The server shuts down").with_code(Code::Unavailable)),
            Admission::PutOff => self.wire.respond(Verdict::Reject(Status::UNAVAILABLE)),
        }
        false
    }

    /// SCRAM is guessed at with the client's proof: see [`ScramTry`].
    async fn await_proofs_turn(&mut self) {
        let has_proof = self.scram.is_some() && memchr::memchr(b'\n', &self.input).is_some();
        if !has_proof {
            return;
        }
        let Some(scram) = self.scram.take() else { return };
        let began_at = scram.proof_began_at(&self.context.common, self.peer);
        match crate::login::admit(&self.context.common, &scram.user, self.peer, began_at).await {
            Admission::Turn(turn) => self.turn = Some(turn),
            // Amid an exchange nothing else can be answered.
            Admission::Draining | Admission::PutOff => {
                self.wire.close(&Status::bye("Too many log-ins have failed").with_code(Code::Unavailable));
            }
        }
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        self.flush().await?;
        let clear = std::mem::replace(&mut self.stream, Stream::Closed).into_clear();
        let Some(tcp) = clear else { return Err(End::Closed) };
        self.stream = handshake(&self.context.common, tcp).await.ok_or(End::HandshakeFailed)?;
        let facts = wire::TlsFacts { channel_binding: channel_binding(&self.stream) };
        self.wire.tls_started(facts, &mut self.input);
        Ok(())
    }
}

/// A flag by its name on the wire.
pub(super) fn wire_flag(name: &str) -> Flag {
    let system = name.strip_prefix('\\').and_then(Flag::system);
    system.unwrap_or_else(|| Flag::Keyword(name.to_owned()))
}
