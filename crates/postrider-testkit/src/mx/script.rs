//! What a scripted MX says: rules that a test sets, in place of what a well-behaved server would say.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// What the peer said, as a rule sees it.
#[derive(Debug, Clone)]
pub struct Command {
    /// In upper case. `CONNECT` stands for the connection itself and `.` for the end of data.
    pub verb: String,
    /// What follows the verb and a space.
    pub argument: String,
    /// Which connection to this server, from 1.
    pub connection: usize,
    /// Whether it is encrypted.
    pub tls: bool,
}

/// What the server does about a command.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Lines with their codes, parted by line feeds: `550-No.\n550 Never.`
    Reply(String),
    ReplyThenClose(String),
    Close,
    /// Says nothing and keeps the connection until the client ends it.
    Silence,
    /// Waits until the gate opens.
    After(Gate, Box<Answer>),
}

impl Answer {
    pub fn after(gate: &Gate, answer: impl Into<Self>) -> Self {
        Self::After(gate.clone(), Box::new(answer.into()))
    }
}

impl From<&str> for Answer {
    fn from(reply: &str) -> Self {
        Self::Reply(reply.to_owned())
    }
}

impl From<String> for Answer {
    fn from(reply: String) -> Self {
        Self::Reply(reply)
    }
}

/// Holds answers back until a test opens it. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Opens for good.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        // The sender lives as long as this gate does, so that the wait can only end by opening.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// What STARTTLS leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartTls {
    Absent,
    /// A handshake with a self-signed certificate.
    Working,
    /// 220, and then something that is no handshake.
    BrokenHandshake,
}

/// How a scripted MX behaves. The first rule that has an answer wins; without one it answers as a good server does.
#[derive(Clone)]
pub struct Script {
    pub(super) capabilities: Vec<String>,
    pub(super) starttls: StartTls,
    pub(super) implicit_tls: bool,
    pub(super) credentials: Option<(String, String)>,
    pub(super) reply_packet_bytes: Option<usize>,
    rules: Vec<Rule>,
}

impl Script {
    /// A server that takes everything, with the usual extensions and without STARTTLS.
    pub fn new() -> Self {
        let capabilities = ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"];
        Self {
            capabilities: capabilities.map(str::to_owned).into(),
            starttls: StartTls::Absent,
            implicit_tls: false,
            credentials: None,
            reply_packet_bytes: None,
            rules: Vec::new(),
        }
    }

    /// Announces exactly these in EHLO. STARTTLS and AUTH come from [`Script::starttls`] and [`Script::credentials`].
    pub fn capabilities(mut self, capabilities: &[&str]) -> Self {
        self.capabilities = capabilities.iter().map(|&capability| capability.to_owned()).collect();
        self
    }

    /// Announces all but this extension.
    pub fn without(mut self, keyword: &str) -> Self {
        self.capabilities.retain(|capability| capability.split(' ').next() != Some(keyword));
        self
    }

    /// A server of RFC 821: EHLO is unknown to it.
    pub fn helo_only(self) -> Self {
        self.on("EHLO", "502 Command not implemented").capabilities(&[])
    }

    pub fn starttls(mut self, starttls: StartTls) -> Self {
        self.starttls = starttls;
        self
    }

    /// TLS from the first byte.
    pub fn implicit_tls(mut self) -> Self {
        self.implicit_tls = true;
        self
    }

    /// Demands AUTH (PLAIN or LOGIN) with these before MAIL.
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Sends replies in packets of so many bytes.
    pub fn split_replies(mut self, packet_bytes: usize) -> Self {
        self.reply_packet_bytes = Some(packet_bytes.max(1));
        self
    }

    /// Answers a verb, always.
    pub fn on(self, verb: &str, answer: impl Into<Answer>) -> Self {
        let answer = answer.into();
        self.decide(verb, move |_| Some(answer.clone()))
    }

    /// Answers a verb the first `times` that it comes, on all connections together.
    pub fn first(self, times: usize, verb: &str, answer: impl Into<Answer>) -> Self {
        let answer = answer.into();
        let used = AtomicUsize::new(0);
        self.decide(verb, move |_| (used.fetch_add(1, Ordering::SeqCst) < times).then(|| answer.clone()))
    }

    /// Answers RCPT for one address.
    pub fn on_recipient(self, address: &str, answer: impl Into<Answer>) -> Self {
        let (path, answer) = (format!("TO:<{address}>"), answer.into());
        self.decide("RCPT", move |command| {
            let matches = command.argument.get(..path.len()).is_some_and(|start| start.eq_ignore_ascii_case(&path));
            matches.then(|| answer.clone())
        })
    }

    /// Answers a verb as a closure decides; `None` leaves it to the next rule.
    pub fn decide(mut self, verb: &str, decide: impl Fn(&Command) -> Option<Answer> + Send + Sync + 'static) -> Self {
        self.rules.push(Rule { verb: verb.to_ascii_uppercase(), decide: Arc::new(decide) });
        self
    }

    pub(super) fn answer(&self, command: &Command) -> Option<Answer> {
        self.rules.iter().filter(|rule| rule.verb == command.verb).find_map(|rule| (rule.decide)(command))
    }

    /// Whether EHLO announces an extension.
    pub(super) fn offers(&self, keyword: &str) -> bool {
        self.capabilities
            .iter()
            .any(|capability| capability.split(' ').next().is_some_and(|offered| offered.eq_ignore_ascii_case(keyword)))
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("capabilities", &self.capabilities)
            .field("starttls", &self.starttls)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Rule {
    verb: String,
    decide: Arc<Decide>,
}

type Decide = dyn Fn(&Command) -> Option<Answer> + Send + Sync;
