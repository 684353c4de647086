//! Delivery: from a recipient's domain to an outcome. Which host takes the mail ([`route`]), the way to it ([`connect`]),
//! the talk with it ([`conversation`]), the transaction ([`transaction`]), and the notifications that follow ([`report`]).
//!
//! Nothing here knows the queue: a delivery is a function of a message, a route and perhaps a connection, and ends in
//! attempts to be settled.

pub(crate) mod connect;
mod conversation;
mod dane;
mod protection;
pub(crate) mod report;
pub(crate) mod route;
pub(crate) mod seen;
pub(crate) mod transaction;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use postrider_core::{Clock, Resolver};
use rustls::ClientConfig;

use crate::bounces::return_path::ReturnPaths;
use crate::dkim::Signers;
use crate::dnssec::Dnssec;
use crate::limits::Limits;
use crate::tls_reports::Ledger;

/// What every delivery needs.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) resolver: Arc<dyn Resolver>,
    /// Where DANE is obeyed.
    pub(crate) dnssec: Option<Arc<Dnssec>>,
    pub(crate) limits: Limits,
    /// Our name, in EHLO and in reports.
    pub(crate) hostname: String,
    /// Where this server itself takes mail: what is sent there would come back.
    pub(crate) own_listeners: Vec<SocketAddr>,
    pub(crate) opportunistic_tls: Arc<ClientConfig>,
    pub(crate) verifying_tls: Arc<ClientConfig>,
    /// Where recipient domains are told how well the way to them was protected.
    pub(crate) tls_ledger: Option<Arc<Ledger>>,
    /// Where mail leaves with return paths of its own.
    pub(crate) return_paths: Option<Arc<ReturnPaths>>,
    /// For messages that are changed on the way out; `None` where nothing is signed.
    pub(crate) signers: Option<Arc<Signers>>,
}

impl Delivery {
    /// Whether a connection to `target` would reach a listener of this server. Behind an address translation that cannot be
    /// known; there the count of Received fields ends the round.
    fn listens_at(&self, target: SocketAddr) -> bool {
        let ip = target.ip().to_canonical();
        self.own_listeners.iter().any(|own| {
            let own_ip = own.ip();
            own.port() == target.port()
                && own_ip.is_ipv4() == ip.is_ipv4()
                && (own_ip == ip
                    || (own_ip.is_unspecified() && is_of_this_host(ip))
                    // The system takes 0.0.0.0 and :: for this host.
                    || (ip.is_unspecified() && own_ip.is_loopback()))
        })
    }
}

/// Whether the address is this host's own: what is sent there comes from there, too. Nothing is sent to find out.
fn is_of_this_host(ip: IpAddr) -> bool {
    if ip.is_loopback() || ip.is_unspecified() {
        return true;
    }
    let any = SocketAddr::new(if ip.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(SocketAddr::new(ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::{dns::DnsResolver, tls};

    pub(super) fn delivery(own_listeners: &[&str]) -> Delivery {
        Delivery {
            clock: Arc::new(SystemClock),
            resolver: Arc::new(DnsResolver::new(&[SocketAddr::from(([127, 0, 0, 1], 53))]).unwrap()),
            dnssec: None,
            tls_ledger: None,
            limits: Limits::default(),
            hostname: "us.example".to_owned(),
            own_listeners: own_listeners.iter().map(|text| text.parse().unwrap()).collect(),
            opportunistic_tls: tls::opportunistic_client(),
            return_paths: None,
            signers: None,
            verifying_tls: tls::verifying_client(None).unwrap(),
        }
    }

    #[tokio::test]
    async fn own_listeners_are_known_by_all_their_addresses() {
        let on_all = delivery(&["0.0.0.0:25", "[::]:25"]);
        for own in ["127.0.0.1:25", "127.9.9.9:25", "0.0.0.0:25", "[::1]:25", "[::]:25", "[::ffff:127.0.0.1]:25"] {
            assert!(on_all.listens_at(own.parse().unwrap()), "{own}");
        }
        for other in ["127.0.0.1:2500", "192.0.2.1:25", "[2001:db8::1]:25"] {
            assert!(!on_all.listens_at(other.parse().unwrap()), "{other}");
        }
        let on_one = delivery(&["127.0.0.5:25"]);
        for own in ["127.0.0.5:25", "0.0.0.0:25", "[::ffff:127.0.0.5]:25"] {
            assert!(on_one.listens_at(own.parse().unwrap()), "{own}");
        }
        for other in ["127.0.0.1:25", "[::1]:25", "127.0.0.5:26"] {
            assert!(!on_one.listens_at(other.parse().unwrap()), "{other}");
        }
    }
}
