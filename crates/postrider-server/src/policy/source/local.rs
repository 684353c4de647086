//! The addresses of this host.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use postrider_core::Timestamp;
use tracing::warn;

/// Addresses told to the service; a host with more has its own ideas anyway.
const CANDIDATES_MAX: usize = 256;

/// The addresses that mail to the world can come from: neither loopback nor of one link only. Where there is none (a
/// machine without a network), all but those of one link.
pub(super) fn candidates() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        warn!(%error, "the addresses of this host cannot be read");
        Vec::new()
    });
    let mut all: Vec<IpAddr> =
        interfaces.iter().map(|interface| interface.ip()).filter(|ip| !is_link_local(*ip)).collect();
    all.sort_unstable();
    all.dedup();
    if all.iter().any(|ip| !ip.is_loopback()) {
        all.retain(|ip| !ip.is_loopback());
    }
    all.truncate(CANDIDATES_MAX);
    all
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether connections can come from this address. Nothing is sent to find out.
pub(super) fn can_bind(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// An address that could not be bound is not tried again for so long.
const REJECTION: Duration = Duration::from_secs(60);
const REJECTIONS_MAX: usize = 1_000;

/// Addresses that connections could not come from, whatever they were taken for.
#[derive(Debug, Default)]
pub(super) struct Rejections(HashMap<IpAddr, Timestamp>);

impl Rejections {
    pub(super) fn add(&mut self, ip: IpAddr, now: Timestamp) {
        if self.0.len() >= REJECTIONS_MAX {
            self.0.clear();
        }
        self.0.insert(ip, now + REJECTION);
    }

    pub(super) fn has(&self, ip: IpAddr, now: Timestamp) -> bool {
        self.0.get(&ip).is_some_and(|until| now < *until)
    }

    pub(super) fn remove(&mut self, ip: IpAddr) {
        self.0.remove(&ip);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use postrider_core::source::is_of_one_host;

    use super::*;

    #[test]
    fn own_addresses_can_be_bound_and_others_cannot() {
        let candidates = candidates();
        assert!(!candidates.is_empty());
        for ip in candidates {
            assert!(can_bind(ip) && is_of_one_host(ip), "{ip}");
        }
        for ip in ["192.0.2.1", "2001:db8::1"] {
            assert!(!can_bind(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            assert!(!is_of_one_host(ip.parse().unwrap()), "{ip}");
        }
    }
}
