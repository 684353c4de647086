//! Whether the relay of `DELIVERY_MODE=relay` is there and greets. Nothing is sent to it, no password either.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postrider_config::{DeliveryMode, Relay, Settings};
use postrider_core::Resolver as _;
use postrider_server::dns::DnsResolver;
use postrider_server::tls;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Finding;
use crate::cli::selftest::smtp::Dialogue;

const AREA: &str = "relay";

/// For one address: connection, TLS and greeting together.
const TIMEOUT: Duration = Duration::from_secs(5);

/// For a goodbye.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// A relay with more is tried at the first ones.
const ADDRESSES_MAX: usize = 4;

pub(super) async fn check(settings: &Settings, findings: &mut Vec<Finding>) {
    if settings.delivery_mode != DeliveryMode::Relay {
        return;
    }
    if let Some(relay) = &settings.relay {
        findings.push(check_relay(relay, settings.tls_extra_ca_file.as_deref(), &settings.dns_servers).await);
    }
}

async fn check_relay(relay: &Relay, ca_file: Option<&Path>, dns_servers: &[SocketAddr]) -> Finding {
    let addresses = match addresses(&relay.host, dns_servers).await {
        Ok(addresses) => addresses,
        Err(error) => {
            let message = format!("{} is not found: {error}", relay.host);
            return Finding::fail(AREA, message, "no mail leaves: look at the host in RELAY_URL, and at DNS_SERVERS");
        }
    };
    let mut errors = Vec::new();
    for ip in addresses.into_iter().take(ADDRESSES_MAX) {
        let address = SocketAddr::new(ip, relay.port);
        match tokio::time::timeout(TIMEOUT, greet(relay, ca_file, address)).await {
            Ok(Ok((mut dialogue, greeting))) => {
                // It greeted, which is what was asked; how it says goodbye does not matter.
                let _ = tokio::time::timeout(QUIT_TIMEOUT, dialogue.command("QUIT", 221)).await;
                return Finding::ok(AREA, format!("{} at {address} greets: {greeting}", relay.host));
            }
            Ok(Err(error)) => errors.push(format!("{address}: {error}")),
            Err(_) => errors.push(format!("{address}: no greeting within {} s", TIMEOUT.as_secs())),
        }
    }
    Finding::fail(AREA, format!("{} does not answer: {}", relay.host, errors.join("; ")), advice(relay))
}

fn advice(relay: &Relay) -> &'static str {
    if relay.implicit_tls {
        "no mail leaves: look at host and port in RELAY_URL and at firewalls; a relay that starts without TLS (port 25 or \
         587) is smtp://"
    } else {
        "no mail leaves: look at host and port in RELAY_URL and at firewalls; a relay that wants TLS from the first byte \
         (port 465) is smtps://"
    }
}

async fn addresses(host: &str, dns_servers: &[SocketAddr]) -> Result<Vec<IpAddr>, String> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    DnsResolver::new(dns_servers)?.addresses(host).await.map_err(|error| error.to_string())
}

/// Connects, with TLS where it comes first, and reads the greeting.
async fn greet(
    relay: &Relay,
    ca_file: Option<&Path>,
    address: SocketAddr,
) -> Result<(Dialogue<Box<dyn Stream>>, String), String> {
    let plain = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let stream: Box<dyn Stream> = if relay.implicit_tls {
        let name = ServerName::try_from(relay.host.clone()).map_err(|error| error.to_string())?;
        let connected = TlsConnector::from(tls_client(relay, ca_file)?).connect(name, plain).await;
        Box::new(connected.map_err(|error| format!("TLS handshake: {error}"))?)
    } else {
        Box::new(plain)
    };
    let mut dialogue = Dialogue::new(stream);
    let greeting = dialogue.greeting().await?.to_string();
    Ok((dialogue, greeting))
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// As delivery does: a relay that gets a password has to prove its name, but for this machine.
fn tls_client(relay: &Relay, ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let is_loopback = relay.host == "localhost" || relay.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if relay.credentials.is_none() || is_loopback {
        return Ok(tls::opportunistic_client());
    }
    tls::verifying_client(ca_file).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::super::Level;
    use super::*;

    fn relay(port: u16, implicit_tls: bool) -> Relay {
        Relay { implicit_tls, host: "127.0.0.1".to_owned(), port, credentials: None }
    }

    /// Says one line to whoever connects.
    async fn server(line: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(line).await.unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn a_relay_that_greets_is_well() {
        let finding = check_relay(&relay(server(b"220 relay.example ESMTP\r\n").await, false), None, &[]).await;
        assert_eq!(finding.level, Level::Ok, "{finding:?}");
        assert!(finding.message.ends_with("greets: 220 relay.example ESMTP"), "{finding:?}");
    }

    #[tokio::test]
    async fn a_relay_that_does_not_greet_fails() {
        let finding = check_relay(&relay(server(b"554 5.3.2 No service\r\n").await, false), None, &[]).await;
        assert!(finding.level == Level::Fail && finding.message.contains("554 5.3.2"), "{finding:?}");

        let finding = check_relay(&relay(server(b"220 relay.example ESMTP\r\n").await, true), None, &[]).await;
        assert!(finding.level == Level::Fail && finding.message.contains("TLS handshake"), "{finding:?}");

        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let finding = check_relay(&relay(free, false), None, &[]).await;
        assert!(finding.level == Level::Fail && finding.message.contains("refused"), "{finding:?}");
    }

    #[tokio::test]
    async fn a_relay_that_is_silent_is_not_waited_for() {
        // It is accepted by the kernel, and nobody speaks.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let finding = check_relay(&relay(port, false), None, &[]).await;
        assert!(finding.level == Level::Fail && finding.message.contains("no greeting within 5 s"), "{finding:?}");
    }
}
