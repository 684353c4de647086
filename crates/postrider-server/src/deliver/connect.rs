//! A connection to a host that takes mail: found, opened, encrypted, greeted (RFC 5321 sections 3.1, 3.2 and 5.1).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postrider_core::delivery::Exchange;
use postrider_core::{Attempt, Category, Clock, Outcome, Reply, TlsInfo};
use postrider_wire::smtp::client::{
    Client, ClientLimits, ClientOptions, ConnectionFailure, Credentials, Event, FailureCause, Stage, TlsUse,
};
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, TlsStream};
use tracing::debug;

use super::Delivery;
use super::route::{MxHost, NoRoute, Route, TlsMode};
use crate::clock::timeout;
use crate::stream::Stream;

/// Addresses tried in one attempt; a host with many must not hold a delivery up for an hour.
const ADDRESSES_MAX: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// For the greeting and the replies to all commands but the end of data (RFC 5321 section 4.5.3.2).
const REPLY_TIMEOUT: Duration = Duration::from_secs(300);
/// For the reply to the end of data (RFC 5321 section 4.5.3.2.6).
const DATA_END_TIMEOUT: Duration = Duration::from_secs(600);
/// For the other side to take another piece of the message (RFC 5321 section 4.5.3.2.5).
const DATA_BLOCK_TIMEOUT: Duration = Duration::from_secs(180);
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 4096;

/// An open connection on which a transaction can begin.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    input: BytesMut,
    pub(crate) client: Client,
    pub(crate) peer: Peer,
    pub(crate) messages: u32,
}

/// Who is at the other end, as attempts record it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    pub(crate) mx: Option<String>,
    pub(crate) mx_ip: Option<IpAddr>,
    pub(crate) source_ip: Option<IpAddr>,
    pub(crate) tls: Option<TlsInfo>,
}

/// No host of a route could be brought to the point where a transaction begins.
#[derive(Debug, Clone)]
pub(crate) struct ConnectFailure {
    pub(crate) outcome: Outcome,
    peer: Peer,
    exchanges: Vec<Exchange>,
}

impl ConnectFailure {
    /// Writes into an attempt who was tried last and what was said.
    pub(crate) fn describe(&self, attempt: &mut Attempt) {
        self.peer.describe(attempt);
        attempt.exchanges.clone_from(&self.exchanges);
    }

    fn deferred(category: Category, reason: String, peer: &Peer) -> Self {
        Self { outcome: Outcome::Deferred { category, reply: None, reason }, peer: peer.clone(), exchanges: Vec::new() }
    }

    fn from_resolving(name: &str, error: &postrider_core::ResolveError) -> Self {
        let NoRoute { permanent, category, enhanced_code, reason } = NoRoute::from_resolving(name, error);
        let peer = Peer { mx: Some(name.to_owned()), ..Peer::default() };
        if !permanent {
            return Self::deferred(category, reason, &peer);
        }
        let reply = Reply { code: 550, enhanced_code: Some(enhanced_code.to_owned()), text: reason.clone() };
        let outcome = Outcome::Failed { category, reply: Some(reply), reason };
        Self { outcome, peer, exchanges: Vec::new() }
    }
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
    Io(std::io::Error),
    TimedOut,
}

impl Broken {
    pub(crate) fn category(&self) -> Category {
        match self {
            Self::TimedOut => Category::Timeout,
            Self::Closed | Self::Io(_) => Category::Connection,
        }
    }

    /// In words, after the name of the other side.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Closed => "closed the connection".to_owned(),
            Self::Io(error) => format!("lost the connection: {error}"),
            Self::TimedOut => "did not answer in time".to_owned(),
        }
    }
}

/// Opens a connection to the first host of the route that takes one: by preference, in random order among equals.
pub(crate) async fn connect(
    delivery: &Delivery,
    route: &Route,
    avoid_tls: bool,
) -> Result<Box<Connection>, ConnectFailure> {
    let mut failures: Vec<ConnectFailure> = Vec::new();
    let mut tried = 0;
    for host in in_random_order_among_equals(&route.hosts) {
        let mut addresses = match host.address {
            Some(address) => vec![address],
            None => match delivery.resolver.addresses(&host.name).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    failures.push(ConnectFailure::from_resolving(&host.name, &error));
                    continue;
                }
            },
        };
        shuffle(&mut addresses);
        for ip in addresses {
            if tried == ADDRESSES_MAX {
                break;
            }
            tried += 1;
            match open(delivery, route, host, ip, avoid_tls).await {
                Ok(connection) => return Ok(Box::new(connection)),
                Err(failure) => {
                    debug!(mx = host.name, %ip, reason = failure.outcome.error(), "no connection");
                    failures.push(failure);
                }
            }
        }
    }
    // What may be better tomorrow decides over what is wrong for good.
    let deferred = failures.iter().rposition(|failure| matches!(failure.outcome, Outcome::Deferred { .. }));
    let index = deferred.unwrap_or(failures.len().saturating_sub(1));
    Err(failures.into_iter().nth(index).unwrap_or_else(|| {
        ConnectFailure::deferred(Category::Dns, "there is no host to deliver to".to_owned(), &Peer::default())
    }))
}

async fn open(
    delivery: &Delivery,
    route: &Route,
    host: &MxHost,
    ip: IpAddr,
    avoid_tls: bool,
) -> Result<Connection, ConnectFailure> {
    let mut peer = Peer { mx: Some(host.name.clone()), mx_ip: Some(ip), ..Peer::default() };
    let clock = delivery.clock.as_ref();
    let tcp = timeout(clock, CONNECT_TIMEOUT, connect_tcp(SocketAddr::new(ip, route.port)))
        .await
        .map_err(|_| ConnectFailure::deferred(Category::Timeout, format!("{} does not answer", host.name), &peer))?
        .map_err(|error| {
            ConnectFailure::deferred(Category::Connection, format!("{} cannot be reached: {error}", host.name), &peer)
        })?;
    peer.source_ip = tcp.local_addr().ok().map(|address| address.ip());
    let stream = match route.tls {
        TlsMode::Implicit { verified } => encrypt(delivery, tcp, host, verified, &peer).await?,
        _ => Stream::Clear(tcp),
    };
    peer.tls = stream.tls_info();
    let options = ClientOptions {
        helo_name: delivery.hostname.clone(),
        tls: match route.tls {
            TlsMode::Opportunistic if !avoid_tls => TlsUse::IfOffered,
            TlsMode::StartTlsVerified => TlsUse::Required,
            TlsMode::Never | TlsMode::Opportunistic | TlsMode::Implicit { .. } => TlsUse::Never,
        },
        tls_active: peer.tls.is_some(),
        credentials: route
            .credentials
            .as_ref()
            .map(|c| Credentials { user: c.user.clone(), password: c.password.clone() }),
        limits: ClientLimits::default(),
    };
    let client = Client::new(options);
    let connection = Connection { stream, input: BytesMut::new(), client, peer, messages: 0 };
    greet(delivery, route, host, connection).await
}

async fn connect_tcp(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// From the greeting to the point where a transaction can begin.
async fn greet(
    delivery: &Delivery,
    route: &Route,
    host: &MxHost,
    mut connection: Connection,
) -> Result<Connection, ConnectFailure> {
    loop {
        let event = connection.next_event(delivery.clock.as_ref()).await;
        match event {
            Ok(Event::Ready) => return Ok(connection),
            Ok(Event::StartTls) => {
                let verified = route.tls == TlsMode::StartTlsVerified;
                let Connection { stream, mut input, mut client, mut peer, messages } = connection;
                let tcp = stream.into_clear().ok_or_else(|| {
                    ConnectFailure::deferred(Category::Protocol, "STARTTLS within TLS".to_owned(), &peer)
                })?;
                let stream = encrypt(delivery, tcp, host, verified, &peer).await?;
                peer.tls = stream.tls_info();
                client.tls_started(&mut input);
                connection = Connection { stream, input, client, peer, messages };
            }
            Ok(Event::Failed(failure)) => {
                return Err(ConnectFailure {
                    outcome: refused(&failure, &host.name),
                    peer: connection.peer,
                    exchanges: exchanges(connection.client.connection_lost().exchanges),
                });
            }
            Ok(Event::Finished(_) | Event::Closed) => {
                let reason = format!("{} ended the session before it began", host.name);
                return Err(ConnectFailure::deferred(Category::Connection, reason, &connection.peer));
            }
            Err(broken) => {
                let reason = format!("{} {}", host.name, broken.reason());
                let mut failure = ConnectFailure::deferred(broken.category(), reason, &connection.peer);
                failure.exchanges = exchanges(connection.client.connection_lost().exchanges);
                return Err(failure);
            }
        }
    }
}

async fn encrypt(
    delivery: &Delivery,
    tcp: TcpStream,
    host: &MxHost,
    verified: bool,
    peer: &Peer,
) -> Result<Stream, ConnectFailure> {
    let failure = |reason: String| ConnectFailure::deferred(Category::Tls, format!("{}: {reason}", host.name), peer);
    let config = if verified { &delivery.verifying_tls } else { &delivery.opportunistic_tls };
    let name = match host.address {
        Some(address) => ServerName::from(address),
        None => ServerName::try_from(host.name.clone()).map_err(|error| failure(error.to_string()))?,
    };
    let handshake = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
    match timeout(delivery.clock.as_ref(), HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(TlsStream::Client(stream)))),
        Ok(Err(error)) => Err(failure(format!("the TLS handshake failed: {error}"))),
        Err(_) => Err(failure("the TLS handshake took too long".to_owned())),
    }
}

impl Connection {
    /// Writes what there is to say and reads what is answered, until something is to be decided.
    pub(crate) async fn next_event(&mut self, clock: &dyn Clock) -> Result<Event, Broken> {
        loop {
            if let Some(event) = self.client.next_event(&mut self.input) {
                return Ok(event);
            }
            let output = self.client.output();
            if !output.is_empty() {
                let written = timeout(clock, DATA_BLOCK_TIMEOUT, self.stream.write(output)).await;
                let bytes = written.map_err(|_| Broken::TimedOut)?.map_err(Broken::Io)?;
                self.client.wrote(bytes);
                continue;
            }
            let patience = if self.client.stage() == Stage::EndOfData { DATA_END_TIMEOUT } else { REPLY_TIMEOUT };
            match timeout(clock, patience, self.stream.read(&mut self.input, READ_BYTES)).await {
                Ok(Ok(0)) => return Err(Broken::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Broken::Io(error)),
                Err(_) => return Err(Broken::TimedOut),
            }
        }
    }

    /// Whether nothing was said, and nobody hung up, since the last transaction: what the other side says unasked is no
    /// answer to what we say next.
    pub(crate) fn is_quiet(&self) -> bool {
        self.input.is_empty() && self.stream.is_quiet()
    }

    /// Says goodbye, without insisting on an answer.
    pub(crate) async fn quit(mut self, clock: Arc<dyn Clock>) {
        self.client.quit();
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

/// A host that takes no mail from us now. It may at another time, or another host of the domain may.
fn refused(failure: &ConnectionFailure, host: &str) -> Outcome {
    let (category, reply, reason) = match &failure.cause {
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
    };
    Outcome::Deferred { category, reply, reason }
}

/// A reply as the records keep it.
pub(crate) fn reply_record(reply: &postrider_wire::smtp::reply::Reply) -> Reply {
    Reply {
        code: reply.code,
        enhanced_code: reply.enhanced.map(|(class, subject, detail)| format!("{class}.{subject}.{detail}")),
        text: reply.text.clone().into_owned(),
    }
}

fn exchanges(exchanges: Vec<postrider_wire::smtp::client::Exchange>) -> Vec<Exchange> {
    exchanges
        .into_iter()
        .map(|exchange| Exchange { command: exchange.command.into_owned(), reply: reply_record(&exchange.reply) })
        .collect()
}

fn in_random_order_among_equals(hosts: &[MxHost]) -> Vec<&MxHost> {
    let mut ordered: Vec<&MxHost> = hosts.iter().collect();
    for equals in ordered.chunk_by_mut(|a, b| a.preference == b.preference) {
        shuffle(equals);
    }
    ordered
}

fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let other = (crate::random_fraction() * (last + 1) as f64) as usize;
        items.swap(last, other.min(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_shuffled_and_preferences_kept() {
        let host = |preference, name: &str| MxHost { preference, name: name.to_owned(), address: None };
        let hosts = [host(10, "a"), host(10, "b"), host(10, "c"), host(20, "d")];
        let mut firsts = std::collections::HashSet::new();
        for _ in 0..200 {
            let order = in_random_order_among_equals(&hosts);
            assert_eq!(order[3].name, "d");
            firsts.insert(order[0].name.clone());
        }
        assert_eq!(firsts.len(), 3);
    }
}
