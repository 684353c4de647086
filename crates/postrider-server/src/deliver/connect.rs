//! To a host that takes mail: found, connected to, encrypted, greeted (RFC 5321 sections 3.1, 3.2 and 5.1).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postrider_core::delivery::Exchange;
use postrider_core::{Attempt, Category, Domain, Outcome, ResolveError, Timestamp, TlsInfo, dsn};
use postrider_wire::smtp::client::{Client, ClientLimits, ClientOptions, Credentials, Event, FailureCause};
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, TlsStream};
use tracing::debug;

use super::Delivery;
pub(crate) use super::conversation::Connection;
use super::conversation::{ATTEMPT_TIME_MAX, Peer, exchange_record, explain};
use super::protection::{Check, Protection};
use super::route::{MxHost, NoRoute, Route, TlsMode};
use super::seen::{Seen, result_of};
use crate::clock::timeout;
use crate::policy::source::SourceKey;
use crate::stream::Stream;
use crate::tls_reports::ResultType;

/// Addresses tried in one attempt; a host with many must not hold a delivery up for an hour.
const ADDRESSES_MAX: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// No host of a route could be brought to the point where a transaction begins.
#[derive(Debug, Clone)]
pub(crate) struct ConnectFailure {
    pub(crate) outcome: Outcome,
    /// The source address, where it is none of this host after all.
    pub(crate) unbound: Option<IpAddr>,
    peer: Peer,
    exchanges: Vec<Exchange>,
    /// What stood in the way of TLS, at all hosts.
    pub(crate) seen: Vec<Seen>,
    started_at: Timestamp,
    duration: Duration,
}

impl ConnectFailure {
    /// Writes into an attempt who was tried, what was said, and how long it all took.
    pub(crate) fn describe(&self, attempt: &mut Attempt) {
        self.peer.describe(attempt);
        attempt.exchanges.clone_from(&self.exchanges);
        attempt.started_at = self.started_at;
        attempt.duration = self.duration;
    }
}

/// One host, or one of its addresses, that could not be used.
#[derive(Debug)]
struct HostFailure {
    outcome: Outcome,
    peer: Peer,
    exchanges: Vec<Exchange>,
    obstacle: Obstacle,
    seen: Option<Seen>,
}

/// Where the fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Name,
    Host,
    /// This machine has no way there, whoever the other side is.
    NoWay,
    /// The host has no address of the source address's family.
    OtherFamily,
    /// The source address is none of this host.
    Source,
    /// The host is this server.
    Ourselves,
}

impl HostFailure {
    fn deferred(category: Category, reason: String, peer: &Peer) -> Self {
        let outcome = Outcome::Deferred { category, reply: None, reason };
        Self { outcome, peer: peer.clone(), exchanges: Vec::new(), obstacle: Obstacle::Host, seen: None }
    }

    fn from_resolving(name: &str, error: &ResolveError) -> Self {
        let outcome = NoRoute::from_resolving(name, error).outcome();
        let peer = Peer { mx: Some(name.to_owned()), ..Peer::default() };
        Self { outcome, peer, exchanges: Vec::new(), obstacle: Obstacle::Name, seen: None }
    }

    fn unprotected(host: &MxHost, outcome: Outcome) -> Self {
        let peer = Peer { mx: Some(host.name.clone()), ..Peer::default() };
        let result = match outcome.category() {
            Some(Category::Dns) => ResultType::DnssecInvalid,
            // The domain's policy does not name it.
            _ => ResultType::ValidationFailure,
        };
        let seen = Some(Seen::failure(result, None, &peer));
        Self { outcome, peer, exchanges: Vec::new(), obstacle: Obstacle::Name, seen }
    }

    /// The message cannot be protected there as it has to be (RFC 8689 section 4.2.1).
    fn refused(host: &MxHost, enhanced_code: &str, reason: &str, connection: &Connection) -> Self {
        let outcome = dsn::refused_here(Category::Tls, enhanced_code, reason);
        Self { peer: connection.peer.clone(), seen: None, ..Self::unprotected(host, outcome) }
    }

    fn unreachable(host: &MxHost, error: &io::Error, peer: &Peer) -> Self {
        let reason = format!("{} cannot be reached: {error}", host.name);
        let is_ours = matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable);
        let obstacle = if is_ours { Obstacle::NoWay } else { Obstacle::Host };
        Self { obstacle, ..Self::deferred(Category::Connection, reason, peer) }
    }

    fn of_other_family(host: &MxHost, source: IpAddr) -> Self {
        let family = if source.is_ipv4() { "IPv4" } else { "IPv6" };
        let reason = format!("{} has no {family} address, and {source} was chosen to send from", host.name);
        let peer = Peer { mx: Some(host.name.clone()), ..Peer::default() };
        Self { obstacle: Obstacle::OtherFamily, ..Self::deferred(Category::Connection, reason, &peer) }
    }

    fn unbound(source: IpAddr, error: &io::Error, peer: &Peer) -> Self {
        let reason = format!("{source} was chosen to send from and is no address of this host: {error}");
        Self { obstacle: Obstacle::Source, ..Self::deferred(Category::Connection, reason, peer) }
    }

    fn ourselves(host: &MxHost, target: SocketAddr, peer: &Peer) -> Self {
        let reason = format!("the mail would come back here: {} is this server ({target})", host.name);
        let outcome = dsn::refused_here(Category::BadDomain, "5.4.6", &reason);
        Self { outcome, peer: peer.clone(), exchanges: Vec::new(), obstacle: Obstacle::Ourselves, seen: None }
    }

    /// Of several failures, the weightiest says what becomes of the mail; of equals, the last.
    fn weight(&self) -> u8 {
        match (&self.outcome, self.obstacle) {
            // Known, or TLS would be tried for ever: see `avoid_tls`.
            (Outcome::Deferred { category: Category::Tls, .. }, _) => 4,
            (Outcome::Deferred { .. }, Obstacle::NoWay | Obstacle::OtherFamily) => 1,
            // What may be better tomorrow decides over what is wrong for good.
            (Outcome::Deferred { .. }, _) => 3,
            (_, Obstacle::Ourselves) => 2,
            _ => 0,
        }
    }
}

/// Opens a connection to the first host of the route that takes one: by preference, in random order among equals.
///
/// `source`: from where, and as whom; where no host has an address of that family, from where the system chooses.
///
/// `avoid_tls`: in clear where TLS is a matter of choice, because it failed before.
///
/// `next_hop`: the recipients' domain, where all are of one.
pub(crate) async fn connect(
    delivery: &Delivery,
    route: &Route,
    source: &SourceKey,
    avoid_tls: bool,
    next_hop: Option<&Domain>,
) -> Result<Box<Connection>, ConnectFailure> {
    let started_at = delivery.clock.now();
    let mut way = Way { delivery, route, source, source_ip: source.ip, avoid_tls, next_hop, started_at };
    let mut tried = way.first_host().await;
    let is_of_other_family = |failure: &HostFailure| failure.obstacle == Obstacle::OtherFamily;
    if tried.as_ref().is_err_and(|failures| !failures.is_empty() && failures.iter().all(is_of_other_family)) {
        way.source_ip = None;
        tried = way.first_host().await;
    }
    let mut failures = match tried {
        Ok(connection) => return Ok(Box::new(connection)),
        Err(failures) => failures,
    };
    let seen = failures.iter_mut().filter_map(|failure| failure.seen.take()).collect();
    let is_unbound = failures.iter().any(|failure| failure.obstacle == Obstacle::Source);
    let unbound = way.source_ip.filter(|_| is_unbound);
    let failure = failures.into_iter().max_by_key(HostFailure::weight).unwrap_or_else(|| {
        HostFailure::deferred(Category::Dns, "there is no host to deliver to".to_owned(), &Peer::default())
    });
    let HostFailure { outcome, peer, exchanges, .. } = failure;
    let duration = delivery.clock.now().since(started_at);
    Err(ConnectFailure { outcome, unbound, peer, exchanges, seen, started_at, duration })
}

/// One attempt to connect.
struct Way<'a> {
    delivery: &'a Delivery,
    route: &'a Route,
    source: &'a SourceKey,
    source_ip: Option<IpAddr>,
    avoid_tls: bool,
    next_hop: Option<&'a Domain>,
    started_at: Timestamp,
}

impl Way<'_> {
    async fn first_host(&self) -> Result<Connection, Vec<HostFailure>> {
        let mut failures = Vec::new();
        let mut tried = 0;
        for host in in_random_order_among_equals(&self.route.hosts) {
            if self.delivery.clock.now() >= self.started_at + ATTEMPT_TIME_MAX {
                break;
            }
            let addresses = match self.addresses(host).await {
                Ok(addresses) => addresses,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            let protection = match Protection::of(self.delivery, self.route, host, self.next_hop, self.avoid_tls).await
            {
                Ok(protection) => protection,
                Err(outcome) => {
                    failures.push(HostFailure::unprotected(host, outcome));
                    continue;
                }
            };
            for ip in addresses {
                let failure = match self.open(host, ip, &protection).await {
                    Ok(mut connection) => {
                        connection.seen_before = failures.into_iter().filter_map(|failure| failure.seen).collect();
                        return Ok(connection);
                    }
                    Err(failure) => failure,
                };
                debug!(mx = host.name, %ip, reason = failure.outcome.error(), "no connection");
                let obstacle = failure.obstacle;
                failures.push(failure);
                // It costs no time to find out that there is no way, nor does it say anything of the host.
                tried += usize::from(obstacle != Obstacle::NoWay);
                // RFC 5321 section 5.1: from hosts behind ourselves the mail would only come back.
                if tried == ADDRESSES_MAX || matches!(obstacle, Obstacle::Ourselves | Obstacle::Source) {
                    return Err(failures);
                }
            }
        }
        Err(failures)
    }

    /// The addresses of a host that can be reached from the source address.
    async fn addresses(&self, host: &MxHost) -> Result<Vec<IpAddr>, HostFailure> {
        let mut addresses = match host.address {
            Some(address) => vec![address],
            None => {
                let found = self.delivery.resolver.addresses(&host.name).await;
                found.map_err(|error| HostFailure::from_resolving(&host.name, &error))?
            }
        };
        if let Some(source) = self.source_ip {
            addresses.retain(|address| address.is_ipv4() == source.is_ipv4());
            if addresses.is_empty() {
                return Err(HostFailure::of_other_family(host, source));
            }
        }
        shuffle(&mut addresses);
        Ok(addresses)
    }

    async fn open(&self, host: &MxHost, ip: IpAddr, protection: &Protection) -> Result<Connection, HostFailure> {
        let Self { delivery, route, .. } = self;
        let mut peer = Peer { mx: Some(host.name.clone()), mx_ip: Some(ip), ..Peer::default() };
        let target = SocketAddr::new(ip, route.port);
        if delivery.listens_at(target) {
            return Err(HostFailure::ourselves(host, target, &peer));
        }
        peer.source_ip = self.source_ip;
        let socket = socket(target).map_err(|error| HostFailure::unreachable(host, &error, &peer))?;
        if let Some(source) = self.source_ip {
            let bound = socket.bind(SocketAddr::new(source, 0));
            bound.map_err(|error| HostFailure::unbound(source, &error, &peer))?;
        }
        let tcp = timeout(delivery.clock.as_ref(), CONNECT_TIMEOUT, socket.connect(target))
            .await
            .map_err(|_| HostFailure::deferred(Category::Timeout, format!("{} does not answer", host.name), &peer))?
            .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
            .map_err(|error| HostFailure::unreachable(host, &error, &peer))?;
        peer.source_ip = tcp.local_addr().ok().map(|address| address.ip());
        let stream = match route.tls {
            TlsMode::Implicit { .. } => self.encrypt(tcp, host, protection, &peer).await?,
            _ => Stream::Clear(tcp),
        };
        peer.tls = tls_info(&stream, protection);
        let client = Client::new(self.client_options(protection, peer.tls.is_some()));
        let tlsa = protection.check.tlsa().cloned();
        let mut connection = Connection::new(stream, client, self.source.clone(), peer, self.started_at);
        let per_connection_max = delivery.limits.messages_per_connection_max;
        connection.tlsa = tlsa;
        connection.messages_max = route.profile.messages_per_connection.unwrap_or(per_connection_max);
        self.greet(host, protection, connection).await
    }

    fn client_options(&self, protection: &Protection, tls_active: bool) -> ClientOptions {
        let credentials = self.route.credentials.as_ref();
        ClientOptions {
            helo_name: self.source.ehlo.as_deref().unwrap_or(&self.delivery.hostname).to_owned(),
            tls: protection.starttls,
            tls_active,
            credentials: credentials.map(|c| Credentials { user: c.user.clone(), password: c.password.clone() }),
            limits: ClientLimits::default(),
        }
    }

    /// From the greeting to the point where a transaction can begin.
    async fn greet(
        &self,
        host: &MxHost,
        protection: &Protection,
        mut connection: Connection,
    ) -> Result<Connection, HostFailure> {
        loop {
            let event = connection.next_event(self.delivery.clock.as_ref()).await;
            let failure = match event {
                Ok(Event::Ready) if self.route.requires_tls && !connection.client.capabilities().require_tls => {
                    let reason =
                        format!("the message requires TLS all the way, and {} does not offer REQUIRETLS", host.name);
                    let failure = HostFailure::refused(host, "5.7.30", &reason, &connection);
                    tokio::spawn(connection.quit(self.delivery.clock.clone()));
                    return Err(failure);
                }
                Ok(Event::Ready) => return Ok(connection),
                Ok(Event::Failed(failure))
                    if self.route.requires_tls && matches!(failure.cause, FailureCause::NotOffered(_)) =>
                {
                    let reason = format!("the message requires TLS, and {} does not offer it", host.name);
                    HostFailure::refused(host, "5.7.10", &reason, &connection)
                }
                Ok(Event::StartTls) => {
                    let clear = std::mem::replace(&mut connection.stream, Stream::Closed).into_clear();
                    let tcp = clear.ok_or_else(|| {
                        HostFailure::deferred(Category::Protocol, "STARTTLS within TLS".to_owned(), &connection.peer)
                    })?;
                    connection.stream = self.encrypt(tcp, host, protection, &connection.peer).await?;
                    connection.peer.tls = tls_info(&connection.stream, protection);
                    let is_for_next_hop = protection.check.tlsa().is_some_and(|set| set.is_for_next_hop());
                    connection.only_for = self.next_hop.filter(|_| is_for_next_hop).cloned();
                    connection.client.tls_started(&mut connection.input);
                    continue;
                }
                Ok(Event::Failed(failure)) => {
                    // A host that takes no mail from us now may at another time, or another host of the domain may.
                    let (category, reply, reason) = explain(&failure, &host.name);
                    let outcome = Outcome::Deferred { category, reply, reason };
                    let is_missing = matches!(failure.cause, FailureCause::NotOffered(_)) && category == Category::Tls;
                    let result = ResultType::StarttlsNotSupported;
                    let seen = is_missing.then(|| Seen::failure(result, connection.tlsa.as_ref(), &connection.peer));
                    HostFailure { outcome, seen, ..HostFailure::deferred(category, String::new(), &connection.peer) }
                }
                Ok(Event::Finished(_) | Event::Closed) => {
                    let reason = format!("{} ended the session before it began", host.name);
                    HostFailure::deferred(Category::Connection, reason, &connection.peer)
                }
                Err(broken) => {
                    let reason = format!("{} {}", host.name, broken.reason());
                    HostFailure::deferred(broken.category(), reason, &connection.peer)
                }
            };
            let said = connection.client.connection_lost().exchanges;
            return Err(HostFailure { exchanges: said.iter().map(exchange_record).collect(), ..failure });
        }
    }

    async fn encrypt(
        &self,
        tcp: TcpStream,
        host: &MxHost,
        protection: &Protection,
        peer: &Peer,
    ) -> Result<Stream, HostFailure> {
        let delivery = self.delivery;
        let failure = |reason: String| HostFailure::deferred(Category::Tls, format!("{}: {reason}", host.name), peer);
        let (config, name) = match &protection.check {
            Check::None => (delivery.opportunistic_tls.clone(), host.name.as_str()),
            Check::Name => (delivery.verifying_tls.clone(), host.name.as_str()),
            Check::Tlsa(set) => (set.client(), set.base.as_str()),
        };
        let name = match host.address {
            Some(address) => ServerName::from(address),
            None => ServerName::try_from(name.to_owned()).map_err(|error| failure(error.to_string()))?,
        };
        let handshake = TlsConnector::from(config).connect(name, tcp);
        match timeout(delivery.clock.as_ref(), HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(TlsStream::Client(stream)))),
            Ok(Err(error)) => {
                let tlsa = protection.check.tlsa();
                let seen = Some(Seen::failure(result_of(&error, tlsa.is_some()), tlsa, peer));
                Err(HostFailure { seen, ..failure(format!("the TLS handshake failed: {error}")) })
            }
            Err(_) => Err(failure("the TLS handshake took too long".to_owned())),
        }
    }
}

/// How a connection is encrypted, and what proves that it ends at the right host.
fn tls_info(stream: &Stream, protection: &Protection) -> Option<TlsInfo> {
    let authentication = protection.check.authentication();
    stream.tls_info().map(|tls| TlsInfo { authentication, ..tls })
}

fn socket(target: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    // A machine without IPv6 has no such sockets.
    socket.map_err(|error| io::Error::new(io::ErrorKind::NetworkUnreachable, error))
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
        let host = |preference, name: &str| MxHost::new(preference, name.to_owned(), None);
        let hosts = [host(10, "a"), host(10, "b"), host(10, "c"), host(20, "d")];
        let mut firsts = std::collections::HashSet::new();
        for _ in 0..200 {
            let order = in_random_order_among_equals(&hosts);
            assert_eq!(order[3].name, "d");
            firsts.insert(order[0].name.clone());
        }
        assert_eq!(firsts.len(), 3);
    }

    #[tokio::test]
    async fn an_address_that_is_not_ours_is_told_apart_from_a_host_that_does_not_answer() {
        let delivery = crate::deliver::tests::delivery(&[]);
        let address = Some([127, 0, 0, 1].into());
        let host = MxHost::new(0, "mx.example".to_owned(), address);
        // Nobody listens on the port that is reserved.
        let route = Route {
            key: "a".into(),
            hosts: vec![host],
            port: 1,
            tls: TlsMode::Opportunistic,
            requires_tls: false,
            credentials: None,
            profile: Default::default(),
        };
        let unbound = async |ip: [u8; 4]| {
            let source = SourceKey { ip: Some(ip.into()), ehlo: None };
            connect(&delivery, &route, &source, false, None).await.unwrap_err().unbound
        };
        assert_eq!(unbound([192, 0, 2, 1]).await, Some([192, 0, 2, 1].into()));
        assert_eq!(unbound([127, 0, 0, 1]).await, None);
    }
}
