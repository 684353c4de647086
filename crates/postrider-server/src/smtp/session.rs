//! One SMTP session: drives the protocol machine over a connection and answers what it asks.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postrider_core::envelope::{BodyType, DsnReturn, Notify};
use postrider_core::trace::Received;
use postrider_core::{Address, Envelope, Recipient, ReversePath, Timestamp, TlsInfo};
use postrider_wire::sasl::Password;
use postrider_wire::smtp::reply::Reply;
use postrider_wire::smtp::server::{self as wire, Event, MailCommand, RcptCommand, TlsFacts, Verdict};
use tokio::net::TcpStream;
use tracing::{debug, info, warn};

use super::Context;
use super::accept::{self, Refusal, Taken, Transaction};
use super::instructions::{Wishes, future_release};
use super::policy::{self, Policy};
use super::sender;
use crate::clock::timeout;
use crate::handshake::{channel_binding, handshake};
use crate::login::{self, Admission, ScramTry, Standing};
use crate::memory::MemoryShare;
use crate::stream::Stream;
use crate::users::{Checked, Turn};
use crate::verify::Findings;

/// Asked of the system at once while a message is read; between messages commands are short.
const DATA_READ_BYTES: usize = 64 << 10;
const COMMAND_READ_BYTES: usize = 4 << 10;

/// How long the goodbye may take. Nothing is lost with it, and a peer that does not read must not hold the session.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a session to its end.
pub(crate) async fn run(context: Arc<Context>, policy: Policy, tcp: TcpStream, peer: IpAddr) {
    let mut stream = if policy.listener.has_implicit_tls() {
        match handshake(&context, tcp).await {
            Some(stream) => stream,
            None => return,
        }
    } else {
        Stream::Clear(tcp)
    };
    if let Err(reply) = policy.may_connect() {
        context.stats.session_refused(policy.listener.name());
        info!(%reply, "refused");
        return turn_away(&context, &mut stream, &reply).await;
    }
    let facts = policy.listener.has_implicit_tls().then(|| tls_facts(&stream));
    let mut wire = wire::Session::new(policy.wire.clone(), facts);
    let tls = stream.tls_info();
    let started_at = context.clock.now();
    if policy.takes_instructions() {
        wire.offer_future_release(future_release(context.limits.hold_max, started_at));
    }
    let mut session = Session {
        context: context.clone(),
        policy,
        peer,
        stream,
        input: BytesMut::new(),
        wire,
        helo: String::new(),
        findings: Findings::default(),
        is_extended: false,
        tls,
        user: None,
        standing: None,
        turn: None,
        scram: None,
        transaction: None,
        share: None,
        message_began_at: None,
        started_at,
        answered_at: started_at,
    };
    match session.converse().await {
        Ok(()) => debug!("session ended"),
        Err(End::Lost(error)) => debug!(%error, "connection lost"),
        Err(End::HandshakeFailed) => {}
        Err(End::Closed) => debug!("the client closed the connection"),
    }
    let _ = timeout(context.clock.as_ref(), GOODBYE_TIMEOUT, session.stream.shutdown()).await;
}

/// Says in place of the greeting why there is none (RFC 5321 section 3.1).
async fn turn_away(context: &Context, stream: &mut Stream, reply: &Reply) {
    let mut line = Vec::new();
    reply.write(&mut line);
    let goodbye = async {
        let _ = stream.write_all(&line).await;
        let _ = stream.shutdown().await;
    };
    let _ = timeout(context.clock.as_ref(), GOODBYE_TIMEOUT, goodbye).await;
}

struct Session {
    context: Arc<Context>,
    policy: Policy,
    peer: IpAddr,
    stream: Stream,
    input: BytesMut,
    wire: wire::Session,
    helo: String,
    findings: Findings,
    is_extended: bool,
    tls: Option<TlsInfo>,
    user: Option<String>,
    /// Of that user, from before the log-in was checked.
    standing: Option<Standing>,
    /// Of the log-in whose outcome comes next.
    turn: Option<Turn>,
    scram: Option<ScramTry>,
    transaction: Option<Box<Transaction>>,
    /// The message being read, of the memory budget.
    share: Option<MemoryShare>,
    /// Set from the permission to send a message to its end.
    message_began_at: Option<Timestamp>,
    started_at: Timestamp,
    /// When the last replies were written. Every command is answered: what came since is one command, or a part of it.
    answered_at: Timestamp,
}

/// How a session ended other than in good order.
enum End {
    Closed,
    Lost(std::io::Error),
    HandshakeFailed,
}

/// What ended a wait for input.
enum Woken {
    Input,
    TimedOut,
    Draining,
}

impl Session {
    async fn converse(&mut self) -> Result<(), End> {
        loop {
            loop {
                self.await_proofs_turn().await;
                let Some(event) = self.wire.next_event(&mut self.input) else { break };
                if matches!(event, Event::Closed) {
                    return self.flush().await;
                }
                self.handle(event).await?;
            }
            self.turn = None;
            self.watch_memory();
            self.flush().await?;
            if self.wire.is_closed() {
                return Ok(());
            }
            let woken = self.read().await?;
            let is_too_long = self.context.clock.now().since(self.started_at) > self.context.limits.session_time_max;
            match woken {
                Woken::Input if !is_too_long => {}
                Woken::Input | Woken::TimedOut => self.wire.close(Reply::IDLE_TOO_LONG),
                Woken::Draining => self.wire.close(Reply::SHUTTING_DOWN),
            }
        }
    }

    /// Waits for more from the client. Amid a message a shutdown waits for its end, or that of its chunk.
    async fn read(&mut self) -> Result<Woken, End> {
        let patience = self.patience();
        let bytes = if self.message_began_at.is_some() { DATA_READ_BYTES } else { COMMAND_READ_BYTES };
        let mut draining = self.context.draining.clone();
        let may_drain = !self.wire.in_data() || self.message_began_at.is_none();
        let read = self.stream.read(&mut self.input, bytes);
        let read = timeout(self.context.clock.as_ref(), patience, async {
            tokio::select! {
                biased;
                count = read => Some(count),
                _ = draining.wait_for(|&draining| draining), if may_drain => None,
            }
        });
        match read.await {
            Ok(Some(Ok(0))) => Err(End::Closed),
            Ok(Some(Ok(count))) => {
                self.context.stats.bytes_received.inc_by(count as u64);
                Ok(Woken::Input)
            }
            Ok(Some(Err(error))) => Err(End::Lost(error)),
            Ok(None) => Ok(Woken::Draining),
            Err(_) => Ok(Woken::TimedOut),
        }
    }

    /// How long the client has for its next bytes. Sending one now and then gains it nothing: a command has a time to be
    /// whole, and so has a message.
    fn patience(&self) -> Duration {
        let limits = &self.context.limits;
        let now = self.context.clock.now();
        let left = |from: Timestamp, time_max: Duration| time_max.saturating_sub(now.since(from));
        let patience = if self.wire.in_data() {
            limits.data_timeout.min(left(self.answered_at, limits.message_time_max))
        } else {
            left(self.answered_at, limits.command_timeout)
        };
        let message_left = self.message_began_at.map(|began_at| left(began_at, limits.message_time_max));
        message_left.map_or(patience, |left| left.min(patience))
    }

    /// Writes what there is to say: the answers to all that was read, in one go.
    async fn flush(&mut self) -> Result<(), End> {
        if self.wire.output().is_empty() {
            return Ok(());
        }
        let output = self.wire.output().split();
        let written =
            timeout(self.context.clock.as_ref(), self.context.limits.write_timeout, self.stream.write_all(&output));
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(End::Lost(error)),
            Err(_) => return Err(End::Closed),
        }
        self.answered_at = self.context.clock.now();
        // The buffers of an idle session are given back.
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        Ok(())
    }

    async fn handle(&mut self, event: Event) -> Result<(), End> {
        // A turn ends when the outcome has been counted.
        let is_outcome = matches!(event, Event::Authenticated { .. } | Event::AuthFailed { .. });
        let _turn = self.turn.take().filter(|_| is_outcome);
        self.scram = None;
        match event {
            Event::Hello { name, extended } => {
                self.helo = name;
                self.findings.forget_ehlo();
                self.is_extended = extended;
                self.forget_transaction();
                self.wire.respond(Verdict::Accept);
            }
            Event::Mail(command) => {
                let verdict = self.mail(command).await;
                self.wire.respond(verdict);
            }
            Event::Recipient(command) => {
                let verdict = self.recipient(command).await;
                if let Verdict::Reject(reply) = &verdict {
                    self.context.stats.recipients_refused.inc();
                    info!(%reply, "recipient refused");
                }
                self.wire.respond(verdict);
            }
            Event::DataStart => self.begin_message(),
            Event::Message { raw, bare_line_ends_repaired } => {
                if bare_line_ends_repaired {
                    debug!("line ends were repaired");
                }
                self.message(raw).await;
            }
            Event::MessageRefused { reply } => {
                info!(%reply, "message refused");
                self.context.stats.message_ended(false, self.context.clock.now());
                self.forget_transaction();
            }
            Event::Reset => self.forget_transaction(),
            Event::StartTls => self.start_tls().await?,
            Event::AuthPassword { user, password } => {
                let now = self.context.clock.now();
                if let Some(turn) = self.turn(&user, now).await {
                    let verdict = self.password(&user, &password).await;
                    self.turn = Some(turn);
                    self.wire.respond(verdict);
                }
            }
            Event::ScramLookup { user } => {
                let began_at = self.context.clock.now();
                if self.turn(&user, began_at).await.is_some() {
                    let failures_known = self.context.logins.failures(&user, self.peer);
                    self.scram_lookup(&user).await;
                    self.scram = Some(ScramTry { user, began_at, failures_known });
                }
            }
            Event::Authenticated { user } => {
                info!(user, "logged in");
                self.context.stats.auth_successes.inc();
                self.context.logins.succeeded(&user);
                self.user = Some(user);
            }
            Event::AuthFailed { user } => {
                warn!(user, peer = %self.peer, "log-in failed");
                self.context.stats.auth_failures.inc();
                self.context.logins.failed(&user, self.peer);
            }
            Event::Violation { reply } => debug!(%reply, "command refused"),
            // The caller ends the session on it.
            Event::Closed => {}
        }
        Ok(())
    }

    /// Lets a log-in wait for its turn. `None`: it is answered already.
    async fn turn(&mut self, user: &str, began_at: Timestamp) -> Option<Turn> {
        match login::admit(&self.context, user, self.peer, began_at).await {
            Admission::Turn(turn) => return Some(turn),
            Admission::PutOff => self.wire.respond(Verdict::Reject(Reply::AUTH_UNAVAILABLE)),
            Admission::Draining => self.wire.close(Reply::SHUTTING_DOWN),
        }
        None
    }

    /// See [`ScramTry`].
    async fn await_proofs_turn(&mut self) {
        let has_proof =
            self.wire.phase() == wire::Phase::Authenticating && self.input.windows(2).any(|two| two == b"\r\n");
        if !has_proof {
            return;
        }
        let Some(scram) = self.scram.take() else { return };
        let began_at = scram.proof_began_at(&self.context, self.peer);
        self.turn = self.turn(&scram.user, began_at).await;
        if self.turn.is_none() {
            // Amid an exchange nothing else can be answered.
            self.wire.close(Reply::TOO_MANY_ERRORS);
        }
    }

    async fn password(&mut self, user: &str, password: &Password) -> Verdict {
        self.standing = Some(Standing::new(&self.context));
        match self.context.logins.check(user, password.as_str()).await {
            Ok(Checked::Right) => Verdict::Accept,
            Ok(Checked::Wrong) => Verdict::Reject(Reply::AUTH_FAILED),
            Ok(Checked::Disabled) => {
                info!(user, "a disabled user wanted to log in");
                Verdict::Reject(Reply::ACCOUNT_DISABLED)
            }
            Err(error) => {
                self.context.queue.store_failed("a password could not be checked", &error);
                Verdict::Reject(Reply::AUTH_UNAVAILABLE)
            }
        }
    }

    async fn scram_lookup(&mut self, user: &str) {
        self.standing = Some(Standing::new(&self.context));
        match self.context.logins.scram_keys(user).await {
            Ok(known) => {
                if known.as_ref().is_some_and(|known| !known.is_enabled) {
                    self.wire.deny_login(Reply::ACCOUNT_DISABLED);
                }
                self.wire.scram_keys(known.map(|known| known.keys));
            }
            Err(error) => {
                self.context.queue.store_failed("a user could not be looked up", &error);
                self.wire.respond(Verdict::Reject(Reply::AUTH_UNAVAILABLE));
            }
        }
    }

    async fn mail(&mut self, command: MailCommand) -> Verdict {
        if let Err(reply) = self.policy.may_send(self.user.is_some()) {
            return Verdict::Reject(reply);
        }
        let wishes = match Wishes::of_command(&command, self.context.limits.hold_max, self.context.clock.now()) {
            Ok(wishes) => wishes,
            Err(reply) => return Verdict::Reject(reply),
        };
        let Ok(reverse_path) = ReversePath::parse(&command.reverse_path) else {
            return Verdict::Reject(Reply::BAD_REVERSE_PATH);
        };
        if let Err(reply) = self.may_stay().await {
            return Verdict::Reject(reply);
        }
        if let (Some(user), Some(sender)) = (&self.user, &reverse_path.0)
            && let Err(reply) = sender::check(&self.context, user, sender).await
        {
            return Verdict::Reject(reply);
        }
        let envelope = Envelope {
            reverse_path,
            body: match command.body {
                wire::BodyType::SevenBit => BodyType::SevenBit,
                wire::BodyType::EightBitMime => BodyType::EightBitMime,
            },
            smtputf8: command.smtputf8,
            dsn_return: command.dsn_return.map(|dsn_return| match dsn_return {
                wire::DsnReturn::Full => DsnReturn::Full,
                wire::DsnReturn::Headers => DsnReturn::Headers,
            }),
            envelope_id: command.envelope_id,
            require_tls: command.require_tls,
        };
        self.transaction = Some(Box::new(Transaction::new(envelope, wishes, command.size.unwrap_or(0))));
        Verdict::Accept
    }

    /// Whether who logged in is still to send: an administrator may have disabled or removed that user since.
    async fn may_stay(&mut self) -> Result<(), Reply> {
        let (Some(user), Some(standing)) = (&self.user, &mut self.standing) else { return Ok(()) };
        let Ok(address) = Address::parse(user) else { return Err(Reply::ACCOUNT_DISABLED) };
        match standing.holds(&self.context, &address).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reply::ACCOUNT_DISABLED),
            Err(error) => {
                self.context.queue.store_failed("a user could not be looked up", &error);
                Err(Reply::STORE_UNAVAILABLE)
            }
        }
    }

    async fn recipient(&mut self, command: RcptCommand) -> Verdict {
        match self.try_recipient(command).await {
            Ok(()) => Verdict::Accept,
            Err(reply) => Verdict::Reject(reply),
        }
    }

    async fn try_recipient(&mut self, command: RcptCommand) -> Result<(), Reply> {
        let address = if command.forward_path.eq_ignore_ascii_case("postmaster") {
            policy::postmaster(&self.context).await?
        } else {
            Address::parse(&command.forward_path).ok()
        };
        let address = address.ok_or(Reply::BAD_FORWARD_PATH)?;
        if self.policy.checks_client(&address) {
            self.context.client_checks.refuse(self.peer, &self.helo, &self.findings).await?;
        }
        let bytes = self.transaction.as_ref().map_or(0, |transaction| transaction.message_bytes);
        let destination = self.policy.destination(&self.context, &address, bytes, self.user.is_some()).await?;
        let recipient = Recipient {
            address,
            notify: command.notify.map(|notify| Notify {
                success: notify.success,
                failure: notify.failure,
                delay: notify.delay,
            }),
            original_recipient: command.original_recipient,
        };
        let transaction = self.transaction.as_mut().ok_or(Reply::MAIL_FIRST)?;
        if transaction.wishes.not_before.is_some() && destination.is_here() {
            return Err(Reply::NOT_HELD_HERE);
        }
        transaction.add(recipient, destination);
        Ok(())
    }

    fn begin_message(&mut self) {
        let share = self.context.memory.share();
        if share.is_exhausted() {
            warn!("a message was put off: no memory is left for messages");
            return self.wire.respond(Verdict::Reject(Reply::OVERLOADED));
        }
        let Some(mut transaction) = self.transaction.take() else {
            return self.wire.respond(Verdict::Reject(Reply::MAIL_FIRST));
        };
        let now = self.context.clock.now();
        let top = transaction.begin(now, |transaction| self.received(transaction, now));
        self.transaction = Some(transaction);
        self.share = Some(share);
        self.message_began_at = Some(now);
        self.wire.begin_message(top);
    }

    /// The Received field for the message that begins now.
    fn received(&self, transaction: &Transaction, now: postrider_core::Timestamp) -> Vec<u8> {
        let mut field = Vec::with_capacity(256);
        let only_recipient = match &transaction.recipients[..] {
            [(recipient, _)] => Some(&recipient.address),
            _ => None,
        };
        Received {
            client: Some((&self.helo, self.peer)),
            hostname: &self.context.hostname,
            protocol: self.protocol(transaction.envelope.smtputf8),
            tls: self.tls.as_ref().map(|tls| (tls.version.as_str(), tls.cipher.as_str())),
            id: transaction.id,
            recipient: only_recipient,
            at: now,
        }
        .write(&mut field);
        field
    }

    /// The "with" of a Received field (RFC 3848, RFC 6531 section 4.3).
    fn protocol(&self, smtputf8: bool) -> &'static str {
        if self.policy.listener.is_lmtp() {
            return match (smtputf8, self.tls.is_some()) {
                (false, false) => "LMTP",
                (false, true) => "LMTPS",
                (true, false) => "UTF8LMTP",
                (true, true) => "UTF8LMTPS",
            };
        }
        match (smtputf8, self.tls.is_some(), self.user.is_some()) {
            _ if !self.is_extended => "SMTP",
            (false, false, false) => "ESMTP",
            (false, true, false) => "ESMTPS",
            (false, false, true) => "ESMTPA",
            (false, true, true) => "ESMTPSA",
            (true, false, false) => "UTF8SMTP",
            (true, true, false) => "UTF8SMTPS",
            (true, false, true) => "UTF8SMTPA",
            (true, true, true) => "UTF8SMTPSA",
        }
    }

    /// Takes what is held of the message out of the memory budget; where that has no more, the message is put off.
    fn watch_memory(&mut self) {
        if let Some(share) = &mut self.share
            && !share.resize(self.wire.message_bytes())
        {
            warn!("a message was put off: no memory is left for messages");
            self.wire.refuse_message(Reply::OVERLOADED);
            share.resize(0);
        }
    }

    /// Keeps a message and answers for it: for all recipients together, or with LMTP for each.
    async fn message(&mut self, raw: BytesMut) {
        let taken = self.take(raw).await;
        let is_kept = taken.as_ref().is_ok_and(|taken| taken.outcomes.iter().any(Result::is_ok));
        self.context.stats.message_ended(is_kept, self.context.clock.now());
        match taken {
            Err(reply) => self.wire.respond(Verdict::Reject(reply)),
            Ok(Taken { id, outcomes, .. }) if self.policy.listener.is_lmtp() => {
                let verdict = |outcome: Result<(), Reply>| match outcome {
                    Ok(()) => Verdict::AcceptAs(Reply::accepted_as(id)),
                    Err(reply) => Verdict::Reject(reply),
                };
                self.wire.respond_each(outcomes.into_iter().map(verdict).collect());
            }
            Ok(Taken { id, .. }) if is_kept => self.wire.respond(Verdict::AcceptAs(Reply::accepted_as(id))),
            // Whom it was for has gone since RCPT: asked again, that says what now becomes of such mail.
            Ok(_) => self.wire.respond(Verdict::Reject(Reply::STORE_UNAVAILABLE)),
        }
    }

    async fn take(&mut self, raw: BytesMut) -> Result<Taken, Reply> {
        self.message_began_at = None;
        let mut share = self.share.take().unwrap_or_else(|| self.context.memory.share());
        let transaction = self.transaction.take().ok_or(Reply::MAIL_FIRST)?;
        if !share.resize(raw.len()) {
            return Err(Reply::OVERLOADED);
        }
        let user = self.user.as_deref();
        let client = accept::Client { peer: self.peer, helo: &self.helo, user, findings: &self.findings };
        accept::accept(&self.context, *transaction, client, raw, share, &self.policy).await.map_err(|refusal| {
            match refusal {
                Refusal::Reply(reply) => reply,
                // Sessions have no requests with keys.
                Refusal::Known => Reply::STORE_UNAVAILABLE,
            }
        })
    }

    fn forget_transaction(&mut self) {
        self.transaction = None;
        self.share = None;
        self.message_began_at = None;
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        self.flush().await?;
        // Whatever was sent along in clear may be from anyone on the way (RFC 3207 section 6).
        self.input.clear();
        let placeholder = Stream::Closed;
        let Some(tcp) = std::mem::replace(&mut self.stream, placeholder).into_clear() else { return Err(End::Closed) };
        self.stream = handshake(&self.context, tcp).await.ok_or(End::HandshakeFailed)?;
        self.tls = self.stream.tls_info();
        self.user = None;
        self.forget_transaction();
        self.wire.tls_started(tls_facts(&self.stream), &mut self.input);
        Ok(())
    }
}

fn tls_facts(stream: &Stream) -> TlsFacts {
    TlsFacts { channel_binding: channel_binding(stream) }
}
