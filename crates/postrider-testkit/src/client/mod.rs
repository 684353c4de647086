//! An SMTP client for tests that sends exactly what it is told, and keeps a transcript.
//!
//! It is written apart from the project's own protocol code, so that the two cannot share an error.

mod script;

use std::io;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use memchr::memmem;
use tokio::net::{TcpSocket, TcpStream};

use crate::scram::ScramExchange;
use crate::stream::LineStream;
use crate::tls::TlsFacts;
use crate::wait::guarded;

/// A reply as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientReply {
    pub code: u16,
    /// With codes, without line ends.
    pub lines: Vec<String>,
}

impl ClientReply {
    /// The lines, parted by line feeds.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// The first 24 hex digits in a row: the id that a server gave a message.
    pub fn id(&self) -> Option<String> {
        let text = self.text();
        text.split(|c: char| !c.is_ascii_hexdigit()).find(|word| word.len() == 24).map(str::to_owned)
    }
}

/// A client on one connection.
///
/// Its methods panic where the server breaks the protocol or is silent for [`GUARD_SECONDS`](crate::GUARD_SECONDS) of real time: that is a
/// failed test.
pub struct LineClient {
    stream: LineStream,
    transcript: Vec<String>,
    /// Of an encrypted session.
    tls: Option<TlsFacts>,
}

impl LineClient {
    /// Connects. The greeting is not read yet.
    pub async fn connect(server: SocketAddr) -> io::Result<Self> {
        Self::connect_from(server.ip(), server).await
    }

    /// Connects from an address of this machine: so a test may be another host.
    pub async fn connect_from(source: IpAddr, server: SocketAddr) -> io::Result<Self> {
        let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(source, 0))?;
        let stream: TcpStream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: LineStream::new(stream), transcript: Vec::new(), tls: None })
    }

    /// Connects and speaks TLS from the first byte.
    pub async fn connect_tls(server: SocketAddr) -> io::Result<Self> {
        let mut client = Self::connect(server).await?;
        client.handshake().await?;
        Ok(client)
    }

    /// Connects, reads the greeting and says EHLO.
    pub async fn hello(server: SocketAddr) -> Self {
        let mut client = Self::connect(server).await.unwrap_or_else(|error| panic!("{server}: {error}"));
        client.expect(220).await;
        client.command("EHLO client.test").await;
        client
    }

    /// Sends a line and reads the reply.
    pub async fn command(&mut self, line: &str) -> ClientReply {
        self.send(line).await;
        self.reply().await
    }

    /// Sends a line and reads the reply, which must have this code.
    #[track_caller]
    pub fn demand(&mut self, line: &str, code: u16) -> impl Future<Output = ClientReply> {
        let caller = std::panic::Location::caller();
        let line = line.to_owned();
        async move {
            let reply = self.command(&line).await;
            assert_eq!(reply.code, code, "{caller}: {line} was answered {}", reply.text());
            reply
        }
    }

    /// Sends a line with its CRLF. A broken connection is no error here: the next read tells of it.
    pub async fn send(&mut self, line: &str) {
        self.transcript.push(format!("C: {line}"));
        let _ = self.stream.write(format!("{line}\r\n").as_bytes()).await;
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.transcript.push(format!("C: {}", bytes.escape_ascii()));
        let _ = self.stream.write(bytes).await;
    }

    /// Sends bytes as they are and leaves them out of the transcript.
    pub async fn send_quietly(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write(bytes).await
    }

    /// Sends lines together in one write: a pipelined batch.
    pub async fn send_batch(&mut self, lines: &[&str]) {
        self.transcript.extend(lines.iter().map(|line| format!("C: {line}")));
        let _ = self.stream.write(format!("{}\r\n", lines.join("\r\n")).as_bytes()).await;
    }

    /// Reads a reply.
    pub async fn reply(&mut self) -> ClientReply {
        let reply = self.try_reply().await;
        reply.unwrap_or_else(|| panic!("the connection ended instead of a reply:\n{}", self.transcript.join("\n")))
    }

    /// Reads a reply; `None` if the connection has ended.
    pub async fn try_reply(&mut self) -> Option<ClientReply> {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let line = self.line().await?;
            let code: u16 =
                line.get(..3).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{line:?} is no reply"));
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !more {
                return Some(ClientReply { code, lines });
            }
        }
    }

    /// Reads a reply, which must have this code.
    #[track_caller]
    pub fn expect(&mut self, code: u16) -> impl Future<Output = ClientReply> {
        let caller = std::panic::Location::caller();
        async move {
            let reply = self.reply().await;
            assert_eq!(reply.code, code, "{caller}: {}", reply.text());
            reply
        }
    }

    /// Waits for the server to close the connection.
    ///
    /// # Panics
    ///
    /// When it sends anything before.
    pub async fn expect_end(&mut self) {
        if let Some(line) = self.line().await {
            panic!("the server said {line:?} instead of closing");
        }
    }

    /// Everything that the server still sends until it closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let rest = guarded("the end of the connection", self.stream.rest()).await;
        let lines = String::from_utf8_lossy(&rest);
        self.transcript.extend(lines.lines().map(|line| format!("S: {line}")));
        rest
    }

    /// STARTTLS and the handshake, with any certificate.
    pub async fn starttls(&mut self) {
        self.demand("STARTTLS", 220).await;
        self.handshake().await.unwrap_or_else(|error| panic!("the handshake failed: {error}"));
    }

    /// The TLS handshake alone.
    pub async fn handshake(&mut self) -> io::Result<()> {
        self.tls = Some(crate::tls::handshake(&mut self.stream).await?);
        self.transcript.push("-- TLS".to_owned());
        Ok(())
    }

    /// The server's certificate (DER) in an encrypted session.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.certificate.as_deref()
    }

    /// AUTH PLAIN with an initial response (RFC 4616).
    pub async fn auth_plain(&mut self, user: &str, password: &str) -> ClientReply {
        let response = BASE64.encode(format!("\0{user}\0{password}"));
        self.command(&format!("AUTH PLAIN {response}")).await
    }

    /// AUTH SCRAM-SHA-256. Checks the server's proof too.
    ///
    /// # Panics
    ///
    /// When the server breaks the mechanism's rules.
    pub async fn auth_scram(&mut self, user: &str, password: &str) -> ClientReply {
        self.scram(ScramExchange::new(user, password, None)).await
    }

    /// AUTH SCRAM-SHA-256-PLUS, bound to the TLS session.
    ///
    /// # Panics
    ///
    /// When the session is not encrypted, or the server breaks the mechanism's rules.
    pub async fn auth_scram_plus(&mut self, user: &str, password: &str) -> ClientReply {
        let binding = self.tls.as_ref().expect("channel binding needs TLS").channel_binding;
        self.scram(ScramExchange::new(user, password, Some(&binding))).await
    }

    /// SCRAM-SHA-256-PLUS with a binding that belongs to another session, as a man in the middle has it.
    pub async fn auth_scram_plus_elsewhere(&mut self, user: &str, password: &str) -> ClientReply {
        self.scram(ScramExchange::new(user, password, Some(&[7; 32]))).await
    }

    async fn scram(&mut self, mut exchange: ScramExchange) -> ClientReply {
        let mut reply = self.command(&format!("AUTH {} {}", exchange.mechanism(), exchange.first())).await;
        if reply.code == 334 {
            reply = self.command(&exchange.proof(&challenge(&reply))).await;
        }
        if reply.code == 334 {
            exchange.check(&challenge(&reply));
            reply = self.command("").await;
        }
        reply
    }

    /// AUTH LOGIN.
    pub async fn auth_login(&mut self, user: &str, password: &str) -> ClientReply {
        for said in ["AUTH LOGIN".to_owned(), BASE64.encode(user)] {
            let reply = self.command(&said).await;
            if reply.code != 334 {
                return reply;
            }
        }
        self.command(&BASE64.encode(password)).await
    }

    /// Sends one message; gives the reply to the end of data. `data` is stuffed here and ends with CRLF.
    pub async fn send_mail(&mut self, sender: &str, recipients: &[&str], data: &[u8]) -> ClientReply {
        self.demand(&format!("MAIL FROM:<{sender}>"), 250).await;
        for recipient in recipients {
            self.demand(&format!("RCPT TO:<{recipient}>"), 250).await;
        }
        self.send_data(data).await
    }

    /// DATA and the message; gives the reply to the end of data.
    pub async fn send_data(&mut self, data: &[u8]) -> ClientReply {
        self.demand("DATA", 354).await;
        self.transcript.push("C: <data>".to_owned());
        let _ = self.stream.write(&stuffed(data)).await;
        self.reply().await
    }

    /// What was said so far, with what differs from run to run made plain ([`crate::scrub`]).
    pub fn transcript(&self) -> String {
        crate::scrub(&self.transcript.join("\n"))
    }

    async fn line(&mut self) -> Option<String> {
        // A reset is an end like any other: the server closed while bytes were on their way to it.
        let line = guarded("a reply", self.stream.line()).await.ok().flatten();
        let Some(line) = line else {
            self.transcript.push("S: <close>".to_owned());
            return None;
        };
        let text = String::from_utf8_lossy(&line).into_owned();
        let text = text.strip_suffix("\r\n").unwrap_or_else(|| panic!("the server sent {text:?} without CRLF"));
        self.transcript.push(format!("S: {text}"));
        Some(text.to_owned())
    }
}

impl std::fmt::Debug for LineClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineClient").field("transcript", &self.transcript).finish_non_exhaustive()
    }
}

/// A message as DATA carries it: with dot-stuffing and the final dot (RFC 5321 section 4.5.2). Only a true CRLF ends a
/// line.
pub fn stuffed(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 64);
    let mut rest = data;
    while !rest.is_empty() {
        if rest[0] == b'.' {
            out.push(b'.');
        }
        let line_end = memmem::find(rest, b"\r\n").map_or(rest.len(), |at| at + 2);
        out.extend_from_slice(&rest[..line_end]);
        rest = &rest[line_end..];
    }
    if !data.is_empty() && !data.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// What a 334 reply carries (RFC 4954 section 4).
fn challenge(reply: &ClientReply) -> String {
    reply.lines.first().and_then(|line| line.get(4..)).unwrap_or_default().to_owned()
}
