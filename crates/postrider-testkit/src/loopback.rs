//! Addresses of 127.0.0.0/8, each given to one user only: so that tests, and test runs, share fixed ports without races.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// The port that stands for an address being taken (discard, RFC 863): nothing else of a test uses it.
const CLAIM_PORT: u16 = 19_009;

/// Every octet behind the 127 is one of these: always three digits, so that texts with addresses are equally long.
const OCTETS: std::ops::RangeInclusive<u8> = 100..=254;
const OCTET_VALUES: u32 = (*OCTETS.end() - *OCTETS.start() + 1) as u32;

/// An address of this machine that nobody else uses while this lives.
#[derive(Debug)]
pub struct LoopbackIp {
    ip: Ipv4Addr,
    _claim: UdpSocket,
}

impl LoopbackIp {
    /// Claims an address that no other [`LoopbackIp`], in this process or another, holds.
    ///
    /// # Panics
    ///
    /// When there is none: the machine has no loopback network.
    pub fn claim() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Processes start far apart, so that they seldom meet and the search is short.
        let start = std::process::id().wrapping_mul(65_003);
        for _ in 0..10_000 {
            let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % OCTET_VALUES.pow(3);
            let octet = |power: u32| OCTETS.start() + (n / OCTET_VALUES.pow(power) % OCTET_VALUES) as u8;
            let ip = Ipv4Addr::new(127, octet(2), octet(1), octet(0));
            if let Ok(claim) = UdpSocket::bind((ip, CLAIM_PORT)) {
                return Self { ip, _claim: claim };
            }
        }
        panic!("no free address in 127.0.0.0/8");
    }

    pub fn ip(&self) -> IpAddr {
        IpAddr::V4(self.ip)
    }

    pub fn v4(&self) -> Ipv4Addr {
        self.ip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_given_twice() {
        let claims: Vec<_> = (0..600).map(|_| LoopbackIp::claim()).collect();
        let mut ips: Vec<_> = claims.iter().map(LoopbackIp::v4).collect();
        ips.sort();
        ips.dedup();
        assert_eq!(ips.len(), 600);
        assert!(ips.iter().all(|ip| ip.is_loopback() && ip.to_string().len() == "127.100.100.100".len()));
    }
}
