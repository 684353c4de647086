//! The conversation with another mail server: reading and writing at once, with a deadline for every stage.
//!
//! Drives the wire client's state machine over a stream. It knows no route and no message.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postrider_core::delivery::Exchange;
use postrider_core::{Attempt, Category, Clock, Domain, Reply, Timestamp, TlsInfo};
use postrider_wire::smtp::client::{self, Client, ConnectionFailure, Event, FailureCause, Stage};

use super::dane::TlsaSet;
use super::seen::Seen;
use crate::clock::timeout;
use crate::policy::source::SourceKey;
use crate::stream::{Stream, Transfer};

/// One attempt in all, from the first connection on: a server that keeps within every other time-out is given up then. Only
/// the answer to the end of data is waited for beyond it, for without it the message would be sent twice.
pub(super) const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(3600);
/// For the greeting and the replies to all commands but the end of data, each whole (RFC 5321 section 4.5.3.2).
const REPLY_TIMEOUT: Duration = Duration::from_secs(300);
/// For the reply to the end of data (RFC 5321 section 4.5.3.2.6).
const DATA_END_TIMEOUT: Duration = Duration::from_secs(600);
/// For the other side to take another piece of the message (RFC 5321 section 4.5.3.2.5).
const DATA_BLOCK_TIMEOUT: Duration = Duration::from_secs(180);
/// For what the other side said before it stopped taking what we write.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 4096;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) stream: Stream,
    pub(super) input: BytesMut,
    pub(crate) client: Client,
    /// From where, and as whom, it was made: what is to be sent so may go over it.
    pub(crate) source: SourceKey,
    pub(crate) peer: Peer,
    /// The records that its certificate was judged by.
    pub(super) tlsa: Option<Arc<TlsaSet>>,
    /// Whose mail alone it may carry: it proved itself by this domain's name.
    pub(crate) only_for: Option<Domain>,
    /// What stood in the way of TLS at other hosts, before it was made.
    pub(crate) seen_before: Vec<Seen>,
    pub(crate) messages: u32,
    /// It carries no more messages than that.
    pub(crate) messages_max: u32,
    /// When the first attempt on it began to connect, until that attempt has taken it: the time is part of it.
    opened_from: Option<Timestamp>,
    attempt_ends_at: Timestamp,
    /// Why nothing more can be written.
    write_error: Option<io::Error>,
}

/// Who is at the other end, as attempts record it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    pub(crate) mx: Option<String>,
    pub(crate) mx_ip: Option<IpAddr>,
    pub(crate) source_ip: Option<IpAddr>,
    pub(crate) tls: Option<TlsInfo>,
}

impl Peer {
    pub(crate) fn describe(&self, attempt: &mut Attempt) {
        attempt.mx.clone_from(&self.mx);
        attempt.mx_ip = self.mx_ip;
        attempt.source_ip = self.source_ip;
        attempt.tls.clone_from(&self.tls);
    }
}

/// Why a conversation ended.
#[derive(Debug)]
pub(crate) enum Broken {
    Closed,
    Io(io::Error),
    TimedOut,
    /// By ourselves: what was to be written may not be written any more.
    Revoked,
}

/// Whether what is being sent may still be sent.
pub(super) type MaySend<'a> = dyn Fn() -> bool + Send + Sync + 'a;

impl Broken {
    pub(crate) fn category(&self) -> Category {
        match self {
            Self::TimedOut => Category::Timeout,
            Self::Closed | Self::Io(_) | Self::Revoked => Category::Connection,
        }
    }

    /// In words, after the name of the other side.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Closed => "closed the connection".to_owned(),
            Self::Io(error) => format!("lost the connection: {error}"),
            Self::TimedOut => "did not answer in time".to_owned(),
            Self::Revoked => "was not to be told more".to_owned(),
        }
    }
}

impl Connection {
    /// `opened_from`: when connecting began.
    pub(super) fn new(stream: Stream, client: Client, source: SourceKey, peer: Peer, opened_from: Timestamp) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            client,
            source,
            peer,
            tlsa: None,
            only_for: None,
            seen_before: Vec::new(),
            messages: 0,
            messages_max: u32::MAX,
            opened_from: Some(opened_from),
            attempt_ends_at: opened_from + ATTEMPT_TIME_MAX,
            write_error: None,
        }
    }

    /// One over which nothing can be said.
    #[cfg(test)]
    pub(crate) fn unused(source: SourceKey) -> Box<Self> {
        let options = client::ClientOptions {
            helo_name: "us.example".to_owned(),
            tls: client::TlsUse::Never,
            tls_active: false,
            credentials: None,
            limits: client::ClientLimits::default(),
        };
        let now = Timestamp::default();
        Box::new(Self::new(Stream::Closed, Client::new(options), source, Peer::default(), now))
    }

    /// Begins an attempt. Returns since when: the first on a connection began with connecting.
    pub(super) fn begin_attempt(&mut self, now: Timestamp) -> Timestamp {
        let started_at = self.opened_from.take().unwrap_or(now);
        self.attempt_ends_at = started_at + ATTEMPT_TIME_MAX;
        started_at
    }

    /// Writes what there is to say, and reads what is answered meanwhile, until something is to be decided.
    pub(crate) async fn next_event(&mut self, clock: &dyn Clock) -> Result<Event, Broken> {
        self.next_event_while(clock, &|| true).await
    }

    /// The same, as long as `may_send` says so: asked right before each piece is written, so that no end of data is sent
    /// after a no.
    pub(super) async fn next_event_while(
        &mut self,
        clock: &dyn Clock,
        may_send: &MaySend<'_>,
    ) -> Result<Event, Broken> {
        // Time-outs count from the last whole reply and from the last piece that the other side took, not from the last
        // byte: who says one byte now and then would keep us for ever.
        let mut since = clock.now();
        let mut replies_read = self.client.replies_read();
        loop {
            if let Some(event) = self.client.next_event(&mut self.input) {
                return Ok(event);
            }
            if self.client.replies_read() != replies_read {
                replies_read = self.client.replies_read();
                since = clock.now();
            }
            let stage = self.client.stage();
            let output = if self.write_error.is_none() { self.client.output() } else { &[] };
            let ends_at = if self.write_error.is_some() {
                since + LAST_WORDS_TIMEOUT
            } else if !output.is_empty() {
                self.attempt_ends_at.min(since + DATA_BLOCK_TIMEOUT)
            } else if stage == Stage::EndOfData {
                since + DATA_END_TIMEOUT
            } else {
                self.attempt_ends_at.min(since + REPLY_TIMEOUT)
            };
            let transfer = self.stream.transfer(&mut self.input, READ_BYTES, output, may_send);
            match timeout(clock, ends_at.since(clock.now()), transfer).await {
                Ok(Transfer::Read(Ok(0))) => return Err(self.write_error.take().map_or(Broken::Closed, Broken::Io)),
                Ok(Transfer::Read(Ok(_))) => {}
                Ok(Transfer::Read(Err(error))) => return Err(Broken::Io(error)),
                Ok(Transfer::Wrote(Ok(bytes))) => {
                    self.client.wrote(bytes);
                    since = clock.now();
                }
                // A server that refuses and hangs up has said why before: that is read still.
                Ok(Transfer::Wrote(Err(error))) => {
                    self.write_error = Some(error);
                    since = clock.now();
                }
                Ok(Transfer::Barred) => return Err(Broken::Revoked),
                Err(_) => return Err(self.write_error.take().map_or(Broken::TimedOut, Broken::Io)),
            }
        }
    }

    /// Whether it may carry mail to these recipients. `next_hop`: their domain, where all are of one.
    pub(crate) fn may_carry(&self, next_hop: Option<&Domain>) -> bool {
        self.only_for.is_none() || self.only_for.as_ref() == next_hop
    }

    /// Whether nothing was said, and nobody hung up, since the last transaction: what the other side says unasked is no
    /// answer to what we say next.
    pub(crate) fn is_quiet(&self) -> bool {
        self.input.is_empty() && self.stream.is_quiet()
    }

    /// Says goodbye, without insisting on an answer.
    pub(crate) async fn quit(mut self, clock: Arc<dyn Clock>) {
        self.client.quit();
        self.attempt_ends_at = clock.now() + QUIT_TIMEOUT;
        let goodbye = async {
            while let Ok(event) = self.next_event(clock.as_ref()).await {
                if matches!(event, Event::Closed | Event::Failed(_)) {
                    break;
                }
            }
            self.stream.shutdown().await;
        };
        let _ = timeout(clock.as_ref(), QUIT_TIMEOUT, goodbye).await;
    }
}

/// What a failed connection comes to: category, the reply if one was the cause, and what happened in words.
pub(super) fn explain(failure: &ConnectionFailure, host: &str) -> (Category, Option<Reply>, String) {
    match &failure.cause {
        FailureCause::Refused(reply) => {
            let reply = reply_record(reply);
            (Category::of_reply(&reply), Some(reply.clone()), reply.text)
        }
        FailureCause::Protocol(text) => (Category::Protocol, None, format!("{host} does not speak SMTP: {text}")),
        FailureCause::NotOffered(what) => {
            let category = if failure.stage == Stage::Auth { Category::Policy } else { Category::Tls };
            (category, None, format!("{host} does not offer {what}"))
        }
        FailureCause::Options(text) => (Category::Other, None, (*text).to_owned()),
    }
}

/// A reply as the records keep it.
pub(crate) fn reply_record(reply: &postrider_wire::smtp::reply::Reply) -> Reply {
    Reply {
        code: reply.code,
        enhanced_code: reply.enhanced.map(|(class, subject, detail)| format!("{class}.{subject}.{detail}")),
        text: reply.text.clone().into_owned(),
    }
}

pub(super) fn exchange_record(exchange: &client::Exchange) -> Exchange {
    Exchange { command: exchange.command.to_string(), reply: reply_record(&exchange.reply) }
}
