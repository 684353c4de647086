//! A name server on loopback that answers from a [`Zone`], over UDP and TCP: so that tests exercise the real resolver.
//!
//! It knows records, and nothing of mail.

mod signing;
mod zone;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Edns, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

pub use zone::{Asked, Failure, Transport, Zone};

/// The port that a test's name server listens on.
pub const DNS_PORT: u16 = 5300;

/// Bytes of an answer over UDP when the question carries no EDNS (RFC 1035 section 4.2.1).
const UDP_PAYLOAD_BYTES_MAX: usize = 512;

/// A running name server; dropping it stops it.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    zone: Zone,
    tasks: [JoinHandle<()>; 2],
}

impl DnsServer {
    /// Starts a server for `zone` on [`DNS_PORT`] of `ip`.
    pub async fn start(ip: IpAddr, zone: Zone) -> io::Result<Self> {
        let address = SocketAddr::new(ip, DNS_PORT);
        let udp = UdpSocket::bind(address).await?;
        let tcp = TcpListener::bind(address).await?;
        let tasks = [tokio::spawn(serve_udp(udp, zone.clone())), tokio::spawn(serve_tcp(tcp, zone.clone()))];
        Ok(Self { address, zone, tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn zone(&self) -> &Zone {
        &self.zone
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve_udp(socket: UdpSocket, zone: Zone) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; 64 * 1024];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..length], &zone, Transport::Udp) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Zone) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_tcp_connection(stream, zone.clone()));
    }
}

async fn serve_tcp_connection(mut stream: TcpStream, zone: Zone) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await?;
        if let Some(answer) = answer(&question, &zone, Transport::Tcp) {
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_u16(length).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// The answer to a question; `None` where the zone says to be silent, or the question is no DNS message.
fn answer(question: &[u8], zone: &Zone, transport: Transport) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let mut response = Message::response(question.metadata.id, question.metadata.op_code);
    response.metadata.recursion_desired = question.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_query(query.clone());
    let with_signatures = question.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    let found = zone.ask(query.name(), query.query_type(), transport, with_signatures)?;
    response.metadata.response_code = found.code;
    if found.truncated && transport == Transport::Udp {
        return response.truncate().to_vec().ok();
    }
    response.add_answers(found.answers);
    response.add_authorities(found.authorities);
    if let Some(asked) = question.edns.as_ref().filter(|_| with_signatures) {
        let mut edns = Edns::new();
        edns.set_max_payload(asked.max_payload()).enable_dnssec();
        response.edns = Some(edns);
    }
    let bytes = response.to_vec().ok()?;
    let payload_max =
        question.edns.as_ref().map_or(UDP_PAYLOAD_BYTES_MAX, |edns| usize::from(edns.max_payload()).max(512));
    if transport == Transport::Udp && bytes.len() > payload_max {
        return response.truncate().to_vec().ok();
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Query, ResponseCode};
    use hickory_proto::rr::{Name, RData, RecordType};

    use super::*;
    use crate::LoopbackIp;

    async fn ask(server: &DnsServer, name: &str, kind: RecordType) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&question.to_vec().unwrap(), server.address()).await.unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).await.unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.metadata.id, question.metadata.id);
        answer
    }

    #[tokio::test]
    async fn answers_what_the_zone_holds() {
        let ip = LoopbackIp::claim();
        let zone = Zone::new();
        zone.mx("example.org", 10, "mx.example.org").a("mx.example.org", "127.0.0.2".parse().unwrap());
        zone.null_mx("silent.example")
            .cname("www.example.org", "mx.example.org")
            .fail("broken.example", Failure::ServFail);
        let server = DnsServer::start(ip.ip(), zone).await.unwrap();

        let mx = ask(&server, "Example.ORG.", RecordType::MX).await;
        let RData::MX(record) = &mx.answers[0].data else { panic!("{mx:?}") };
        assert_eq!((record.preference, record.exchange.to_string().as_str()), (10, "mx.example.org."));

        let null = ask(&server, "silent.example.", RecordType::MX).await;
        let RData::MX(record) = &null.answers[0].data else { panic!("{null:?}") };
        assert!(record.exchange.is_root());

        let alias = ask(&server, "www.example.org.", RecordType::A).await;
        assert_eq!(alias.answers.len(), 2, "the alias and what it stands for");

        let none = ask(&server, "mx.example.org.", RecordType::AAAA).await;
        assert_eq!((none.metadata.response_code, none.answers.len()), (ResponseCode::NoError, 0));
        assert_eq!(
            ask(&server, "nowhere.example.", RecordType::A).await.metadata.response_code,
            ResponseCode::NXDomain
        );
        assert_eq!(
            ask(&server, "broken.example.", RecordType::MX).await.metadata.response_code,
            ResponseCode::ServFail
        );
        assert_eq!(server.zone().count("example.org", RecordType::MX), 1);
    }

    #[tokio::test]
    async fn a_truncated_answer_is_whole_over_tcp() {
        let ip = LoopbackIp::claim();
        let zone = Zone::new();
        zone.a("big.example", "127.0.0.3".parse().unwrap()).truncate("big.example");
        let server = DnsServer::start(ip.ip(), zone).await.unwrap();
        let cut = ask(&server, "big.example.", RecordType::A).await;
        assert!(cut.metadata.truncation && cut.answers.is_empty());

        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii("big.example.").unwrap(), RecordType::A));
        let question = question.to_vec().unwrap();
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_u16(question.len() as u16).await.unwrap();
        stream.write_all(&question).await.unwrap();
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().answers.len(), 1);
        let transports: Vec<_> = server.zone().asked().iter().map(|asked| asked.transport).collect();
        assert_eq!(transports, [Transport::Udp, Transport::Tcp]);
    }
}
