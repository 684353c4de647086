//! A driver for tests: plays a script of what the client sends against a session, decides by simple rules, and writes down
//! what was said and what happened.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::BytesMut;
use postrider_wire::imap::command::{AppendData, Command, CommandBody};
use postrider_wire::imap::response::{self, Status};
use postrider_wire::imap::server::{AuthPolicy, Event, Limits, ServerConfig, Session, TlsFacts, Verdict};
use postrider_wire::sasl::{ChannelBinding, ScramKeys};

pub(crate) const CHANNEL_BINDING: &[u8] = b"exported by the handshake";
/// RFC 7677 section 3: the keys of `user` are those of `pencil`.
pub(crate) const SALT: [u8; 16] =
    [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];

pub(crate) fn config() -> ServerConfig {
    ServerConfig {
        starttls: true,
        auth: AuthPolicy::TlsOnly,
        compress: true,
        limits: Limits { message_bytes_max: 1000, append_bytes_max: 2000, ..Limits::default() },
        extensions: vec!["MOVE"],
        scram_decoy_key: [1; 32],
        ..ServerConfig::new("Postrider")
    }
}

/// As [`config`], for tests that make many errors.
pub(crate) fn patient() -> ServerConfig {
    let config = config();
    ServerConfig { limits: Limits { errors_max: 1000, ..config.limits.clone() }, ..config }
}

pub(crate) fn tls() -> TlsFacts {
    TlsFacts { channel_binding: Some(ChannelBinding { name: "tls-exporter", data: CHANNEL_BINDING.to_vec() }) }
}

/// A session under test with what it has said and done.
pub(crate) struct Script {
    pub(crate) session: Session,
    pub(crate) input: BytesMut,
    pub(crate) transcript: String,
    pub(crate) said: Vec<u8>,
    pub(crate) commands: Vec<Command>,
    /// The next literal of a message gets this.
    pub(crate) refusal: Option<Status>,
}

impl Script {
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self::with_tls(config, None)
    }

    pub(crate) fn with_tls(config: ServerConfig, tls: Option<TlsFacts>) -> Self {
        let mut script = Self {
            session: Session::new(Arc::new(config), tls),
            input: BytesMut::new(),
            transcript: String::new(),
            said: Vec::new(),
            commands: Vec::new(),
            refusal: None,
        };
        script.write_output();
        script
    }

    /// A session that is logged in, with a mailbox selected; nothing of that is in the transcript.
    pub(crate) fn selected(config: ServerConfig) -> Self {
        let mut script = Self::logged_in(config);
        script.send("0 SELECT INBOX\r\n").forget();
        script
    }

    pub(crate) fn logged_in(config: ServerConfig) -> Self {
        let mut script = Self::with_tls(config, Some(tls()));
        script.send("0 LOGIN user pencil\r\n").forget();
        script
    }

    /// Forgets what was said and done so far.
    pub(crate) fn forget(&mut self) {
        self.transcript.clear();
        self.said.clear();
        self.commands.clear();
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

    /// The last line that was said.
    pub(crate) fn last_line(&self) -> &str {
        self.transcript.trim_end_matches('\n').rsplit("S: ").next().unwrap_or_default()
    }

    pub(crate) fn close(&mut self, status: &Status) -> &mut Self {
        self.session.close(status);
        self.play();
        self
    }

    pub(crate) fn play(&mut self) {
        while let Some(event) = self.session.next_event(&mut self.input) {
            self.answer(event);
        }
        self.write_output();
    }

    fn answer(&mut self, event: Event) {
        match &event {
            Event::Command(command) => {
                let _ = writeln!(self.transcript, "E: {} {}", command.tag, described(&command.body));
            }
            Event::Violation { status } => {
                let _ = writeln!(self.transcript, "E: Violation {status}");
            }
            event => {
                let _ = writeln!(self.transcript, "E: {event:?}");
            }
        }
        match event {
            Event::Command(command) => self.carry_out(command),
            Event::Literal(_) => self.verdict(None),
            Event::AuthPassword { user, password } => {
                let refusal = match (user.as_str(), password.as_str()) {
                    ("user", "pencil") => None,
                    ("unlucky", _) => Some(Status::UNAVAILABLE),
                    _ => Some(Status::LOGIN_FAILED),
                };
                self.session.respond(refusal.map_or(Verdict::Accept, Verdict::Reject));
            }
            Event::ScramLookup { user } if user == "unlucky" => {
                self.session.respond(Verdict::Reject(Status::UNAVAILABLE));
            }
            Event::ScramLookup { user } => {
                self.session.scram_keys((user == "user").then(|| ScramKeys::derive("pencil", &SALT, 4096)));
            }
            Event::IdleDone => {
                response::exists(self.session.output(), 4);
                self.session.finish(&Status::IDLE_DONE);
            }
            Event::StartTls => {
                self.write_output();
                self.transcript.push_str("-- handshake --\n");
                self.session.tls_started(tls(), &mut self.input);
            }
            Event::Compress => {
                self.write_output();
                self.transcript.push_str("-- compression --\n");
                self.session.compression_started();
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, command: Command) {
        let mut status = Status::ok("Done");
        match &command.body {
            CommandBody::Select(select) if select.mailbox == "missing" => status = Status::no("There is none"),
            CommandBody::Select(_) => self.session.set_selected(true),
            CommandBody::Close | CommandBody::Unselect => self.session.set_selected(false),
            CommandBody::Enable(extensions) => extensions.iter().for_each(|extension| self.session.enable(extension)),
            _ => {}
        }
        self.session.finish(&status);
        self.commands.push(command);
    }

    fn verdict(&mut self, refusal: Option<Status>) {
        let refusal = refusal.or_else(|| self.refusal.take());
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

/// What a command asks, with messages cut to their length.
fn described(body: &CommandBody) -> String {
    let mut body = body.clone();
    if let CommandBody::Append(append) = &mut body {
        for message in &mut append.messages {
            if let AppendData::Message { bytes, .. } = &mut message.data
                && bytes.len() > 50
            {
                *bytes = format!("{} bytes", bytes.len()).into();
            }
        }
    }
    let text = format!("{body:?}");
    if text.len() > 400 { format!("{}...", &text[..text.floor_char_boundary(400)]) } else { text }
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
    if text.len() > 300 {
        format!("{}...({} bytes){end}", &text[..text.floor_char_boundary(60)], line.len())
    } else {
        format!("{text}{end}")
    }
}
