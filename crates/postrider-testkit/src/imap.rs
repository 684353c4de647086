//! An IMAP client for tests that sends exactly what it is told, and keeps a transcript.
//!
//! Like the one for SMTP it is written apart from the project's own protocol code. It understands as much as it needs to find
//! the end of a response: literals, and the tag.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::net::TcpStream;

use crate::scram::ScramExchange;
use crate::stream::LineStream;
use crate::tls::TlsFacts;
use crate::wait::guarded;

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImapReply {
    /// What came before the tagged line: each response whole, with its literals, without the line's end.
    pub untagged: Vec<Vec<u8>>,
    /// The tagged line without its tag: `OK ...`.
    pub tagged: String,
}

impl ImapReply {
    pub fn is_ok(&self) -> bool {
        self.tagged.starts_with("OK")
    }

    /// The untagged responses as text.
    pub fn lines(&self) -> Vec<String> {
        self.untagged.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    /// The responses that begin so behind `* `.
    pub fn starting(&self, prefix: &str) -> Vec<String> {
        let lines = self.lines().into_iter();
        lines
            .filter_map(|line| line.strip_prefix("* ").filter(|rest| rest.starts_with(prefix)).map(str::to_owned))
            .collect()
    }

    /// All of it as text, parted by line feeds.
    pub fn text(&self) -> String {
        let mut lines = self.lines();
        lines.push(self.tagged.clone());
        lines.join("\n")
    }
}

/// A client on one connection.
///
/// Its methods panic where the server breaks the protocol or is silent for [`GUARD_SECONDS`](crate::GUARD_SECONDS) of real
/// time: that is a failed test.
pub struct ImapClient {
    stream: LineStream,
    transcript: Vec<String>,
    commands: u32,
    /// Of an encrypted session.
    tls: Option<TlsFacts>,
}

impl ImapClient {
    /// Connects and reads the greeting.
    pub async fn connect(server: SocketAddr) -> Self {
        let mut client = Self::connect_silently(server).await;
        client.response().await;
        client
    }

    /// Connects, speaks TLS from the first byte and reads the greeting.
    pub async fn connect_tls(server: SocketAddr) -> Self {
        let mut client = Self::connect_silently(server).await;
        client.handshake().await;
        client.response().await;
        client
    }

    /// Connects and logs in.
    pub async fn log_in(server: SocketAddr, user: &str, password: &str) -> Self {
        let mut client = Self::connect(server).await;
        client.demand(&format!("LOGIN {user} \"{password}\"")).await;
        client
    }

    async fn connect_silently(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap_or_else(|error| panic!("{server}: {error}"));
        stream.set_nodelay(true).unwrap_or_else(|error| panic!("{server}: {error}"));
        Self::on(stream)
    }

    fn on(stream: TcpStream) -> Self {
        Self { stream: LineStream::new(stream), transcript: Vec::new(), commands: 0, tls: None }
    }

    /// Sends a command with a tag of its own and reads the answer.
    pub async fn command(&mut self, command: &str) -> ImapReply {
        let tag = self.send_command(command).await;
        self.answer(&tag).await
    }

    /// Connects and logs in; `None` where the server is gone before that is answered with OK.
    pub async fn try_log_in(server: SocketAddr, user: &str, password: &str) -> Option<Self> {
        let stream = TcpStream::connect(server).await.ok()?;
        let mut client = Self::on(stream);
        client.try_response().await?;
        let reply = client.try_command(&format!("LOGIN {user} \"{password}\"")).await?;
        reply.is_ok().then_some(client)
    }

    /// As [`ImapClient::command`]; `None` where the connection ends before the answer.
    pub async fn try_command(&mut self, command: &str) -> Option<ImapReply> {
        let tag = self.send_command(command).await;
        self.try_answer(&tag).await
    }

    /// Sends a command, which must be answered OK.
    #[track_caller]
    pub fn demand(&mut self, command: &str) -> impl Future<Output = ImapReply> {
        let caller = std::panic::Location::caller();
        let command = command.to_owned();
        async move {
            let reply = self.command(&command).await;
            assert!(reply.is_ok(), "{caller}: {command} was answered {}", reply.text());
            reply
        }
    }

    /// Sends a command and does not wait; gives its tag.
    pub async fn send_command(&mut self, command: &str) -> String {
        self.commands += 1;
        let tag = format!("a{}", self.commands);
        self.send(&format!("{tag} {command}")).await;
        tag
    }

    /// APPEND of one message with a synchronizing literal; `arguments` stand behind the command's name: `INBOX (\Seen)`.
    pub async fn append(&mut self, arguments: &str, message: &[u8]) -> ImapReply {
        let tag = self.send_command(&format!("APPEND {arguments} {{{}}}", message.len())).await;
        let response = self.response().await;
        if !response.starts_with(b"+") {
            let tagged = String::from_utf8_lossy(&response).into_owned();
            let tagged = tagged.strip_prefix(&format!("{tag} ")).unwrap_or(&tagged).to_owned();
            return ImapReply { untagged: Vec::new(), tagged };
        }
        self.send_bytes(message).await;
        self.send("").await;
        self.answer(&tag).await
    }

    /// Sends a line with its CRLF. A broken connection is no error here: the next read tells of it.
    pub async fn send(&mut self, line: &str) {
        self.transcript.push(format!("C: {line}"));
        let _ = self.stream.write(format!("{line}\r\n").as_bytes()).await;
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.transcript.push(format!("C: {}", bytes.escape_ascii()));
        let _ = self.stream.write(bytes).await;
    }

    /// Reads to the answer to the command of this tag.
    pub async fn answer(&mut self, tag: &str) -> ImapReply {
        let reply = self.try_answer(tag).await;
        reply.unwrap_or_else(|| panic!("the connection ended instead of an answer:\n{}", self.transcript.join("\n")))
    }

    /// As [`ImapClient::answer`]; `None` where the connection ends before.
    pub async fn try_answer(&mut self, tag: &str) -> Option<ImapReply> {
        let mut untagged = Vec::new();
        loop {
            let response = self.try_response().await?;
            let text = String::from_utf8_lossy(&response);
            if let Some(tagged) = text.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                return Some(ImapReply { untagged, tagged: tagged.to_owned() });
            }
            untagged.push(response);
        }
    }

    /// The next response, whatever it is, with its literals and without its line's end.
    pub async fn response(&mut self) -> Vec<u8> {
        let response = self.try_response().await;
        response
            .unwrap_or_else(|| panic!("the connection ended instead of a response:\n{}", self.transcript.join("\n")))
    }

    /// The next response; `None` if the connection has ended.
    pub async fn try_response(&mut self) -> Option<Vec<u8>> {
        let mut response = Vec::new();
        loop {
            let line = guarded("a response", self.stream.line()).await.ok().flatten();
            let Some(line) = line else {
                self.transcript.push("S: <close>".to_owned());
                return None;
            };
            // A line without its end is one that the server died in.
            let text = line.strip_suffix(b"\r\n")?;
            response.extend_from_slice(text);
            let Some(length) = literal_length(text) else { break };
            response.extend_from_slice(b"\r\n");
            response.extend(guarded("a literal", self.stream.exactly(length)).await.ok()?);
        }
        self.transcript.push(format!("S: {}", String::from_utf8_lossy(&response).replace("\r\n", "\n   ")));
        Some(response)
    }

    /// Waits for a response that begins so behind `* `; what comes before it is passed over.
    pub async fn wait_for(&mut self, prefix: &str) -> String {
        loop {
            let response = String::from_utf8_lossy(&self.response().await).into_owned();
            if response.strip_prefix("* ").is_some_and(|rest| rest.starts_with(prefix)) {
                return response;
            }
        }
    }

    /// IDLE, until the server says that it listens; gives the tag.
    pub async fn idle(&mut self) -> String {
        let tag = self.send_command("IDLE").await;
        let response = self.response().await;
        assert!(response.starts_with(b"+"), "IDLE was answered {}", response.escape_ascii());
        tag
    }

    /// Ends IDLE; gives what came until its answer.
    pub async fn done(&mut self, tag: &str) -> ImapReply {
        self.send("DONE").await;
        self.answer(tag).await
    }

    /// AUTHENTICATE PLAIN with the initial response (RFC 4959) that is the whole of it.
    pub async fn auth_plain(&mut self, user: &str, password: &str) -> ImapReply {
        let response = BASE64.encode(format!("\0{user}\0{password}"));
        self.command(&format!("AUTHENTICATE PLAIN {response}")).await
    }

    /// AUTHENTICATE LOGIN.
    pub async fn auth_login(&mut self, user: &str, password: &str) -> ImapReply {
        let mut said = [user, password].into_iter();
        self.authenticate("LOGIN", |_| said.next().map(|said| BASE64.encode(said)).unwrap_or_default()).await
    }

    /// AUTHENTICATE SCRAM-SHA-256. Checks the server's proof too.
    ///
    /// # Panics
    ///
    /// When the server breaks the mechanism's rules.
    pub async fn auth_scram(&mut self, user: &str, password: &str) -> ImapReply {
        self.scram(ScramExchange::new(user, password, None)).await
    }

    /// AUTHENTICATE SCRAM-SHA-256-PLUS, bound to the TLS session.
    ///
    /// # Panics
    ///
    /// When the session is not encrypted, or the server breaks the mechanism's rules.
    pub async fn auth_scram_plus(&mut self, user: &str, password: &str) -> ImapReply {
        let binding = self.tls.as_ref().expect("channel binding needs TLS").channel_binding;
        self.scram(ScramExchange::new(user, password, Some(&binding))).await
    }

    async fn scram(&mut self, mut exchange: ScramExchange) -> ImapReply {
        let mut step = 0;
        self.authenticate(exchange.mechanism(), |challenge| {
            step += 1;
            match step {
                1 => exchange.first(),
                2 => exchange.proof(challenge),
                _ => {
                    exchange.check(challenge);
                    String::new()
                }
            }
        })
        .await
    }

    /// AUTHENTICATE, with a response to each challenge.
    async fn authenticate(&mut self, mechanism: &str, mut respond: impl FnMut(&str) -> String) -> ImapReply {
        let tag = self.send_command(&format!("AUTHENTICATE {mechanism}")).await;
        let mut untagged = Vec::new();
        loop {
            let response = String::from_utf8_lossy(&self.response().await).into_owned();
            if let Some(challenge) = response.strip_prefix('+') {
                self.send(&respond(challenge.trim_start())).await;
            } else if let Some(tagged) = response.strip_prefix(&format!("{tag} ")) {
                return ImapReply { untagged, tagged: tagged.to_owned() };
            } else {
                untagged.push(response.into_bytes());
            }
        }
    }

    /// STARTTLS and the handshake, with any certificate.
    pub async fn starttls(&mut self) {
        self.demand("STARTTLS").await;
        self.handshake().await;
    }

    /// COMPRESS=DEFLATE. All that is said from here on is compressed, both ways.
    pub async fn compress(&mut self) {
        self.demand("COMPRESS DEFLATE").await;
        assert!(self.stream.ahead().is_empty(), "something was said before the client spoke");
        let stream = self.stream.unwrap_stream().unwrap_or_else(|error| panic!("{error}"));
        self.stream.wrap(crate::deflate::deflated(stream));
        self.transcript.push("-- DEFLATE".to_owned());
    }

    /// The TLS handshake alone, with any certificate.
    pub async fn handshake(&mut self) {
        let facts = crate::tls::handshake(&mut self.stream).await;
        self.tls = Some(facts.unwrap_or_else(|error| panic!("the handshake failed: {error}")));
        self.transcript.push("-- TLS".to_owned());
    }

    /// What was said so far, with what differs from run to run made plain ([`crate::scrub`]).
    pub fn transcript(&self) -> String {
        let mut text = crate::scrub(&self.transcript.join("\n"));
        for name in ["UIDVALIDITY ", "APPENDUID ", "COPYUID "] {
            text = without_number(&text, name);
        }
        text
    }
}

impl std::fmt::Debug for ImapClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImapClient").field("transcript", &self.transcript).finish_non_exhaustive()
    }
}

/// The text without the numbers that stand behind a name: UIDVALIDITY is what the clock said.
fn without_number(text: &str, name: &str) -> String {
    let mut parts = text.split(name);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        out.push_str(name);
        out.push_str(if rest.len() < part.len() { "[uidvalidity]" } else { "" });
        out.push_str(rest);
    }
    out
}

/// How many bytes of a literal follow behind this line: it ends with `{n}`.
fn literal_length(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', inner)?;
    std::str::from_utf8(&inner[open + 1..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_differ_from_run_to_run_get_a_name() {
        let text = "[UIDVALIDITY 17] x STATUS a (UIDVALIDITY MESSAGES) UIDVALIDITY 18)";
        let expected = "[UIDVALIDITY [uidvalidity]] x STATUS a (UIDVALIDITY MESSAGES) UIDVALIDITY [uidvalidity])";
        assert_eq!(without_number(text, "UIDVALIDITY "), expected);
    }

    #[test]
    fn literals_are_announced_at_the_end_of_a_line() {
        assert_eq!(literal_length(b"* 1 FETCH (BODY[] {12}"), Some(12));
        assert_eq!(literal_length(b"* 1 FETCH (BINARY[1] ~{0}"), Some(0));
        assert_eq!(literal_length(b"* OK {12} here"), None);
        assert_eq!(literal_length(b"* OK {x}"), None);
    }
}
