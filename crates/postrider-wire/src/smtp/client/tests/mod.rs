//! Whole conversations with a scripted server, as transcripts.

mod connect;
mod parse;
mod transact;

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

const ALL_EXTENSIONS: &str = "250-mx.example.net\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250-DSN\r\n\
                              250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n";

fn options() -> ClientOptions {
    ClientOptions {
        helo_name: "mail.example.org".into(),
        tls: TlsUse::Never,
        tls_active: false,
        credentials: None,
        limits: ClientLimits::default(),
    }
}

fn credentials() -> Option<Credentials> {
    Some(Credentials { user: "user".into(), password: "pencil".into() })
}

fn message(recipients: &[&str]) -> Transaction {
    Transaction {
        reverse_path: "sender@example.org".into(),
        recipients: recipients
            .iter()
            .map(|&address| TransactionRecipient { address: address.into(), ..Default::default() })
            .collect(),
        message: Bytes::from_static(b"Subject: x\r\n\r\n.dot\r\nend"),
        ..Transaction::default()
    }
}

/// A connection whose every byte and event is written down.
struct Conversation {
    client: Client,
    input: BytesMut,
    log: String,
}

impl Conversation {
    fn new(options: ClientOptions) -> Self {
        Self { client: Client::new(options), input: BytesMut::new(), log: String::new() }
    }

    /// A connection that is past EHLO, with nothing written down yet.
    fn ready(ehlo: &str) -> Self {
        let mut conversation = Self::new(options());
        conversation.server("220 mx.example.net\r\n");
        assert_eq!(conversation.server(ehlo), [Event::Ready]);
        conversation.log.clear();
        conversation
    }

    /// The server says something; then all that the client has to say is taken, as far as it goes.
    fn server(&mut self, text: &str) -> Vec<Event> {
        self.server_bytes(text.as_bytes())
    }

    fn server_bytes(&mut self, bytes: &[u8]) -> Vec<Event> {
        for line in String::from_utf8_lossy(bytes).split_inclusive('\n') {
            let _ = writeln!(self.log, "S: {}", line.escape_debug());
        }
        self.input.extend_from_slice(bytes);
        self.settle()
    }

    fn transact(&mut self, transaction: Transaction) -> Vec<Event> {
        self.client.transact(transaction).unwrap();
        self.settle()
    }

    /// Takes events and output until there is nothing more without the server.
    fn settle(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            if let Some(event) = self.client.next_event(&mut self.input) {
                self.log_event(&event);
                events.push(event);
                continue;
            }
            if self.client.output().is_empty() {
                return events;
            }
            self.write();
        }
    }

    /// One write, of all that waits.
    fn write(&mut self) {
        let output = String::from_utf8_lossy(self.client.output()).into_owned();
        self.client.wrote(output.len());
        let _ = writeln!(self.log, "-- write");
        for line in output.split_inclusive('\n') {
            let _ = writeln!(self.log, "C: {}", line.escape_debug());
        }
    }

    fn log_event(&mut self, event: &Event) {
        match event {
            Event::Finished(result) => {
                let _ = writeln!(self.log, "== Finished, usable: {}", result.usable);
                for (i, recipient) in result.recipients.iter().enumerate() {
                    let _ = writeln!(self.log, "   recipient {i}: {}", shown(Some(recipient)));
                }
                log_exchanges(&mut self.log, &result.exchanges);
            }
            event => {
                let _ = writeln!(self.log, "== {event:?}");
            }
        }
    }

    fn lose(mut self) -> String {
        let lost = self.client.connection_lost();
        let _ = writeln!(self.log, "== lost in {:?}, end of data sent: {}", lost.stage, lost.end_of_data_sent);
        for (i, recipient) in lost.recipients.iter().enumerate() {
            let _ = writeln!(self.log, "   recipient {i}: {}", shown(recipient.as_ref()));
        }
        log_exchanges(&mut self.log, &lost.exchanges);
        self.log
    }
}

fn shown(result: Option<&RecipientResult>) -> String {
    match result {
        Some(RecipientResult::Accepted(reply)) => format!("accepted: {reply}"),
        Some(RecipientResult::Rejected(reply)) => format!("rejected: {reply}"),
        None => "not known".to_owned(),
    }
}

fn log_exchanges(log: &mut String, exchanges: &[Exchange]) {
    for exchange in exchanges {
        let recipient = exchange.recipient.map(|i| format!(" {i}")).unwrap_or_default();
        let _ = writeln!(log, "   {}{recipient} -> {}", exchange.command, exchange.reply);
    }
}

/// Runs a script in which each element is what the server says after the client has fallen silent.
fn script(mut conversation: Conversation, transaction: Transaction, script: &[&str]) -> String {
    conversation.transact(transaction);
    for text in script {
        conversation.server(text);
    }
    conversation.log
}

/// What a whole conversation of one transaction comes to, when the server's bytes come in these pieces.
fn outcome(pieces: &[&[u8]], pipelined: bool) -> (Vec<Event>, Vec<u8>) {
    let mut client = Client::new(options());
    let mut input = BytesMut::new();
    let (mut events, mut output) = (Vec::new(), Vec::new());
    let mut transactions = 1;
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            if let Some(event) = client.next_event(&mut input) {
                if event == Event::Ready && transactions > 0 {
                    transactions -= 1;
                    client.transact(message(&["a@example.net", "b@example.net"])).unwrap();
                }
                events.push(event);
            } else if client.output().is_empty() {
                break;
            } else {
                let bytes = if pipelined { client.output().len() } else { 1 };
                output.extend_from_slice(&client.output()[..bytes]);
                client.wrote(bytes);
            }
        }
    }
    (events, output)
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_does_not_matter(cuts in prop::collection::vec(1usize..40, 1..40)) {
        // Ends while the message's answer is due: what comes after would depend on how much was written.
        let text = [
            "220-mx\r\n220 x\r\n", ALL_EXTENSIONS, "250 2.1.0 OK\r\n550-5.1.1 un\r\n550 5.1.1 known\r\n250 OK\r\n354 go\r\n",
        ].concat();
        let mut pieces = Vec::new();
        let mut rest = text.as_bytes();
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let whole = outcome(&[text.as_bytes()], true);
        prop_assert_eq!(whole.0.as_slice(), &[Event::Ready]);
        prop_assert!(whole.1.ends_with(b"\r\n\r\n..dot\r\nend\r\n.\r\n"));
        prop_assert_eq!(&outcome(&pieces, true), &whole);
        prop_assert_eq!(&outcome(&pieces, false), &whole);
    }

    #[test]
    fn garbage_never_confuses_for_long(lines in prop::collection::vec(
        prop_oneof![
            "[2345][0-9]{2}[ -][ -~]{0,20}\r?\n",
            Just("220 mx\r\n".to_owned()),
            Just("250 OK\r\n".to_owned()),
            Just("354 go\r\n".to_owned()),
            "\\PC{0,10}\n",
        ], 0..30), noise in prop::collection::vec(any::<u8>(), 0..30)
    ) {
        let mut bytes = lines.concat().into_bytes();
        bytes.extend_from_slice(&noise);
        let (events, output) = outcome(&[&bytes], true);
        // Nothing follows an end, and every command is one that the client means.
        let ended = events.iter().position(|e| matches!(e, Event::Failed(_) | Event::Closed));
        prop_assert!(ended.is_none_or(|at| at + 1 == events.len()), "{:?}", events);
        for event in &events {
            if let Event::Finished(result) = event {
                prop_assert_eq!(result.recipients.len(), 2);
            }
        }
        let begins = String::from_utf8(output).unwrap();
        prop_assert!(begins.is_empty() || begins.starts_with("EHLO mail.example.org\r\n"));
    }
}
