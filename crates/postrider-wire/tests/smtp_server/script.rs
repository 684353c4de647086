//! A driver for tests: plays a script of what the client sends against a session, decides by simple rules, and writes down
//! what was said and what happened.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::BytesMut;
use postrider_wire::sasl::{ChannelBinding, ScramKeys};
use postrider_wire::smtp::reply::Reply;
use postrider_wire::smtp::server::{AuthPolicy, Event, Limits, Protocol, ServerConfig, Session, TlsFacts, Verdict};

/// What a driver puts on top of each message.
pub(crate) const PREFIX: &str = "Received: x\r\n";
pub(crate) const CHANNEL_BINDING: &[u8] = b"exported by the handshake";
/// RFC 7677 section 3: the keys of `user` are those of `pencil`.
pub(crate) const SALT: [u8; 16] =
    [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];

pub(crate) fn config() -> ServerConfig {
    ServerConfig {
        banner: "Postrider".to_owned(),
        starttls: true,
        auth: AuthPolicy::TlsOnly,
        limits: Limits { message_bytes_max: 1000, ..Limits::default() },
        scram_decoy_key: [1; 32],
        ..ServerConfig::new("mx.example.org")
    }
}

pub(crate) fn tls() -> TlsFacts {
    TlsFacts { channel_binding: Some(ChannelBinding { name: "tls-exporter", data: CHANNEL_BINDING.to_vec() }) }
}

/// A session under test with what it has said and done.
pub(crate) struct Script {
    pub(crate) session: Session,
    input: BytesMut,
    pub(crate) transcript: String,
    /// All that was said.
    pub(crate) said: Vec<u8>,
    /// All messages that came whole, without prefix.
    pub(crate) messages: Vec<Vec<u8>>,
    /// The next DATA or first BDAT gets this.
    refusal: Option<Reply>,
    /// LMTP: the recipients of the open transaction.
    recipients: Option<Vec<String>>,
}

impl Script {
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self::with_tls(config, None)
    }

    pub(crate) fn with_tls(config: ServerConfig, tls: Option<TlsFacts>) -> Self {
        let mut script = Self {
            recipients: (config.protocol == Protocol::Lmtp).then(Vec::new),
            session: Session::new(Arc::new(config), tls),
            input: BytesMut::new(),
            transcript: String::new(),
            said: Vec::new(),
            messages: Vec::new(),
            refusal: None,
        };
        script.write_output();
        script
    }

    /// Sends bytes in one piece; what the session says to all of it is written down behind it.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            let _ = writeln!(self.transcript, "C: {}", shown(line));
        }
        self.input.extend_from_slice(bytes);
        self.play();
        self
    }

    /// Sends each line in a piece of its own.
    pub(crate) fn lines(&mut self, lines: &[&str]) -> &mut Self {
        for line in lines {
            self.send(format!("{line}\r\n"));
        }
        self
    }

    /// Says EHLO and opens a transaction with one recipient.
    pub(crate) fn begin(&mut self) -> &mut Self {
        self.lines(&["EHLO client.example", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>"])
    }

    pub(crate) fn refuse_next_message(&mut self, reply: Reply) -> &mut Self {
        self.refusal = Some(reply);
        self
    }

    pub(crate) fn close(&mut self, reply: Reply) -> &mut Self {
        self.session.close(reply);
        self.play();
        self
    }

    /// The last line that was said.
    pub(crate) fn last_reply(&self) -> &str {
        self.transcript.trim_end().rsplit("S: ").next().unwrap_or_default()
    }

    fn play(&mut self) {
        while let Some(event) = self.session.next_event(&mut self.input) {
            self.answer(event);
        }
        self.write_output();
    }

    fn answer(&mut self, event: Event) {
        match event {
            Event::Message { raw, bare_line_ends_repaired } => {
                let message = raw.strip_prefix(PREFIX.as_bytes()).expect("the prefix stands on top");
                self.messages.push(message.to_vec());
                let repaired = if bare_line_ends_repaired { ", repaired" } else { "" };
                let _ = writeln!(self.transcript, "E: Message of {} bytes{repaired}", message.len());
                if let Some(recipients) = &mut self.recipients {
                    let verdicts = recipients.drain(..).filter_map(|recipient| match recipient.split_once('@')?.0 {
                        "full" => Some(Verdict::Reject(Reply::MAILBOX_FULL)),
                        "forgotten" => None,
                        _ => Some(Verdict::AcceptAs(Reply::new(250, (2, 0, 0), format!("Kept for {recipient}")))),
                    });
                    return self.session.respond_each(verdicts.collect());
                }
                let is_unwanted = message.starts_with(b"Subject: defer");
                self.verdict(is_unwanted.then_some(Reply::STORE_UNAVAILABLE));
                return;
            }
            Event::MessageRefused { ref reply } | Event::Violation { ref reply } => {
                let name = if matches!(event, Event::Violation { .. }) { "Violation" } else { "MessageRefused" };
                let _ = writeln!(self.transcript, "E: {name} {reply}");
                return;
            }
            ref other => {
                let _ = writeln!(self.transcript, "E: {other:?}");
            }
        }
        match event {
            Event::Hello { name, .. } => self.verdict((name == "forbidden").then_some(Reply::BAD_HELLO_NAME)),
            Event::Mail(mail) => {
                self.recipients.iter_mut().for_each(Vec::clear);
                self.verdict((mail.reverse_path == "denied@example.com").then_some(Reply::SENDER_NOT_ALLOWED));
            }
            Event::Recipient(rcpt) => {
                if let Some(recipients) = &mut self.recipients
                    && !rcpt.forward_path.starts_with("nobody@")
                {
                    recipients.push(rcpt.forward_path.clone());
                }
                self.verdict(rcpt.forward_path.starts_with("nobody@").then_some(Reply::NO_SUCH_MAILBOX));
            }
            Event::DataStart => match self.refusal.take() {
                Some(reply) => self.verdict(Some(reply)),
                None => self.session.begin_message(BytesMut::from(PREFIX)),
            },
            Event::AuthPassword { user, password } => self.verdict(match (user.as_str(), password.as_str()) {
                ("user", "pencil") => None,
                ("unlucky", _) => Some(Reply::AUTH_UNAVAILABLE),
                _ => Some(Reply::AUTH_FAILED),
            }),
            Event::ScramLookup { user } if user == "unlucky" => self.verdict(Some(Reply::AUTH_UNAVAILABLE)),
            Event::ScramLookup { user } => {
                self.session.scram_keys((user == "user").then(|| ScramKeys::derive("pencil", &SALT, 4096)));
            }
            Event::StartTls => {
                self.write_output();
                self.transcript.push_str("-- handshake --\n");
                self.session.tls_started(tls(), &mut self.input);
            }
            _ => {}
        }
    }

    fn verdict(&mut self, refusal: Option<Reply>) {
        self.session.respond(refusal.map_or(Verdict::Accept, Verdict::Reject));
    }

    fn write_output(&mut self) {
        let output = std::mem::take(self.session.output());
        for line in output.split_inclusive(|&b| b == b'\n') {
            let _ = writeln!(self.transcript, "S: {}", shown(line));
        }
        self.said.extend_from_slice(&output);
    }
}

/// A line without its CRLF, with all that is not printable escaped; long ones cut.
fn shown(line: &[u8]) -> String {
    let (line, end) = match line.strip_suffix(b"\r\n") {
        Some(line) => (line, ""),
        None => (line, "\u{23ce}"),
    };
    let mut text = String::new();
    for c in String::from_utf8_lossy(line).chars() {
        if c.is_control() { text.extend(c.escape_debug()) } else { text.push(c) }
    }
    if text.len() > 200 { format!("{}...({} bytes){end}", &text[..60], line.len()) } else { format!("{text}{end}") }
}
