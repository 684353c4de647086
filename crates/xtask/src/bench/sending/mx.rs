//! All the MX hosts of a small Internet: one listener for every address of 127.0.0.0/8, which takes mail at some of them and is
//! silent at the others.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bench::mx;

/// The second octet of hosts that say nothing.
const DEAD: u8 = 66;

/// Running hosts. They end with the process.
pub(super) struct Hosts {
    pub(super) port: u16,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    messages: AtomicU64,
    connections: AtomicU64,
}

/// The address of a host.
pub(super) fn host(number: u64, is_dead: bool) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, if is_dead { DEAD } else { 1 }, high, low)
}

impl Hosts {
    pub(super) fn start() -> Result<Self, String> {
        let refuse = |error: std::io::Error| format!("the MX hosts: {error}");
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(refuse)?;
        let port = listener.local_addr().map_err(refuse)?.port();
        let counts = Arc::new(Counts::default());
        let accepting = counts.clone();
        std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { port, counts })
    }

    pub(super) fn messages(&self) -> u64 {
        self.counts.messages.load(Ordering::Acquire)
    }

    /// To hosts that take mail.
    pub(super) fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Acquire)
    }

    /// Waits until they have taken `messages` in all. Fails when nothing moves any more.
    pub(super) fn wait_for(&self, messages: u64) -> Result<(), String> {
        mx::wait_for(messages, "the MX hosts", || self.messages())
    }
}

fn accept(listener: &TcpListener, counts: &Arc<Counts>) {
    for stream in listener.incoming() {
        let (Ok(stream), counts) = (stream, counts.clone()) else { continue };
        // Who is cut off comes again, or has ended: it is no matter of the hosts.
        std::thread::spawn(move || drop(converse(stream, &counts)));
    }
}

fn converse(stream: TcpStream, counts: &Counts) -> std::io::Result<()> {
    let is_dead = matches!(stream.local_addr()?.ip(), IpAddr::V4(ip) if ip.octets()[1] == DEAD);
    if is_dead {
        // Until the other side has had enough.
        return std::io::copy(&mut stream.take(1 << 20), &mut std::io::sink()).map(drop);
    }
    counts.connections.fetch_add(1, Ordering::AcqRel);
    mx::converse(stream, || {
        counts.messages.fetch_add(1, Ordering::AcqRel);
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;
    use crate::bench::process::POLL;

    #[test]
    fn some_take_mail_and_some_are_silent() {
        let hosts = Hosts::start().unwrap();
        let mut alive = TcpStream::connect((host(700, false), hosts.port)).unwrap();
        alive.write_all(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\na\r\n.\r\nQUIT\r\n").unwrap();
        let replies: Vec<String> = BufReader::new(alive).lines().map(Result::unwrap).collect();
        assert_eq!((replies.len(), replies.last().unwrap().as_str()), (9, "221 bye"));
        let mut dead = TcpStream::connect((host(700, true), hosts.port)).unwrap();
        dead.set_read_timeout(Some(POLL)).unwrap();
        assert!(dead.read(&mut [0]).is_err());
        assert_eq!((hosts.messages(), hosts.connections()), (1, 1));
    }
}
