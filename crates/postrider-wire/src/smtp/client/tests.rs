//! Whole conversations with a scripted server, as transcripts.

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

#[test]
fn a_pipelined_transaction_and_quit() {
    let mut conversation = Conversation::new(options());
    conversation.server("220-mx.example.net\r\n220 ESMTP here\r\n");
    conversation.server(ALL_EXTENSIONS);
    conversation.transact(Transaction {
        size: Some(22),
        body_8bitmime: true,
        dsn_return: Some(DsnReturn::Headers),
        envelope_id: Some("QQ+2B314".into()),
        recipients: vec![
            TransactionRecipient {
                address: "a@example.net".into(),
                notify: Some(DsnNotify { failure: true, delay: true, success: false }),
                original_recipient: Some("rfc822;a@example.com".into()),
            },
            TransactionRecipient {
                address: "b@example.net".into(),
                notify: Some(DsnNotify::default()),
                original_recipient: None,
            },
        ],
        ..message(&[])
    });
    conversation.server("250 2.1.0 OK\r\n250 2.1.5 OK\r\n250 2.1.5 OK\r\n354 Go on\r\n");
    conversation.server("250-2.0.0 Queued as 1\r\n250 2.0.0 with thanks\r\n");
    // The next goes at once, without RSET and without what belongs to the connection.
    conversation.transact(message(&["c@example.net"]));
    conversation.server("250 OK\r\n250 OK\r\n354 Go on\r\n");
    conversation.server("250 OK\r\n");
    conversation.client.quit();
    conversation.settle();
    conversation.server("221 Bye\r\n");
    insta::assert_snapshot!(conversation.log);
}

#[test]
fn no_extensions_after_helo() {
    let mut conversation = Conversation::new(options());
    conversation.server("220 old.example.net\r\n");
    conversation.server("502 what?\r\n");
    conversation.server("250 old.example.net\r\n");
    conversation.transact(Transaction {
        size: Some(22),
        body_8bitmime: true,
        dsn_return: Some(DsnReturn::Full),
        envelope_id: Some("x".into()),
        ..message(&["a@example.net", "b@example.net"])
    });
    for text in ["250 OK\r\n", "250 OK\r\n", "550 no\r\n", "354\r\n", "250\r\n"] {
        conversation.server(text);
    }
    insta::assert_snapshot!(conversation.log);
}

#[test]
fn greetings_that_end_it() {
    let mut log = String::new();
    for greeting in ["554-go away\r\n554 really\r\n", "421 4.3.2 later\r\n", "200 hello\r\n", "HTTP/1.1 400\r\n"] {
        let mut conversation = Conversation::new(options());
        conversation.server(greeting);
        log.push_str(&conversation.lose());
    }
    insta::assert_snapshot!(log);
}

#[test]
fn hellos_that_end_it() {
    for script in [&["421 4.3.2 busy\r\n"][..], &["451 busy\r\n"], &["500 no\r\n", "550 no\r\n"], &["354 no\r\n"]] {
        let mut conversation = Conversation::new(options());
        conversation.server("220 mx\r\n");
        let last = script.iter().flat_map(|text| conversation.server(text)).next_back();
        assert!(
            matches!(last, Some(Event::Failed(ConnectionFailure { stage: Stage::Hello, .. }))),
            "{script:?}: {last:?}"
        );
        assert_eq!(conversation.client.output(), b"");
    }
}

#[test]
fn a_name_that_cannot_be_said() {
    for name in ["", "a b", "a\r\nMAIL FROM:<x@y>", "ä.example"] {
        let mut conversation = Conversation::new(ClientOptions { helo_name: name.into(), ..options() });
        let events = conversation.server("220 mx\r\n");
        assert!(
            matches!(&events[..], [Event::Failed(ConnectionFailure { cause: FailureCause::Options(_), .. })]),
            "{events:?}"
        );
        assert_eq!(conversation.client.output(), b"");
    }
}

#[test]
fn starttls_forgets_what_came_in_clear() {
    let mut conversation = Conversation::new(ClientOptions { tls: TlsUse::IfOffered, ..options() });
    conversation.server("220 mx\r\n");
    conversation.server("250-mx\r\n250-SMTPUTF8\r\n250 StartTLS\r\n");
    // Somebody on the way adds an answer to the EHLO that comes only after the handshake.
    conversation.server("220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n");
    assert_eq!(conversation.client.stage(), Stage::StartTls);
    conversation.client.tls_started(&mut conversation.input);
    assert!(conversation.client.tls_active());
    conversation.settle();
    conversation.server("250-mx\r\n250 SIZE\r\n");
    let expected = Capabilities { size: true, ..Capabilities::default() };
    assert_eq!(*conversation.client.capabilities(), expected);
    insta::assert_snapshot!(conversation.log);
}

#[test]
fn starttls_refused_or_absent() {
    let mut log = String::new();
    for (tls, answer) in [
        (TlsUse::IfOffered, "454 4.7.0 not now\r\n"),
        (TlsUse::Required, "454 4.7.0 not now\r\n"),
        (TlsUse::IfOffered, "421 4.7.0 bye\r\n"),
        (TlsUse::IfOffered, "250 what?\r\n"),
    ] {
        let mut conversation = Conversation::new(ClientOptions { tls, ..options() });
        conversation.server("220 mx\r\n");
        conversation.server("250-mx\r\n250 STARTTLS\r\n");
        conversation.log = format!("-- {tls:?}\n");
        conversation.server(answer);
        log.push_str(&conversation.log);
    }
    let mut conversation = Conversation::new(ClientOptions { tls: TlsUse::Required, ..options() });
    conversation.server("220 mx\r\n");
    conversation.log = "-- not offered\n".to_owned();
    conversation.server("250 mx\r\n");
    log.push_str(&conversation.log);
    insta::assert_snapshot!(log);
}

#[test]
fn authentication() {
    let mut log = String::new();
    for (offer, answers) in [
        ("AUTH LOGIN PLAIN", &["235 2.7.0 welcome\r\n"][..]),
        ("AUTH=LOGIN", &["334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n", "235 welcome\r\n"]),
        ("AUTH PLAIN", &["535 5.7.8 wrong\r\n"]),
        ("AUTH PLAIN", &["334 \r\n"]),
        ("AUTH GSSAPI", &[]),
    ] {
        let mut conversation =
            Conversation::new(ClientOptions { tls_active: true, credentials: credentials(), ..options() });
        conversation.server("220 mx\r\n");
        conversation.server(&format!("250-mx\r\n250 {offer}\r\n"));
        answers.iter().for_each(|answer| drop(conversation.server(answer)));
        log.push_str(&conversation.lose());
        log.push('\n');
    }
    insta::assert_snapshot!(log);
}

#[test]
fn a_server_that_skips_its_part_of_scram_is_not_believed() {
    let mut conversation = Conversation::new(ClientOptions { credentials: credentials(), ..options() });
    conversation.server("220 mx\r\n");
    conversation.server("250-mx\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n");
    assert!(conversation.log.contains("C: AUTH SCRAM-SHA-256 "));
    let events = conversation.server("235 2.7.0 welcome\r\n");
    assert!(
        matches!(
            &events[..],
            [Event::Failed(ConnectionFailure { stage: Stage::Auth, cause: FailureCause::Protocol(_) })]
        ),
        "{events:?}"
    );
}

#[test]
fn every_recipient_has_its_own_answer() {
    let log = script(
        Conversation::ready(ALL_EXTENSIONS),
        message(&["a@example.net", "b@example.net", "c@example.net"]),
        &["250 OK\r\n250 OK\r\n550 5.1.1 unknown\r\n452 4.2.2 full\r\n354 go\r\n", "250 2.0.0 kept\r\n"],
    );
    insta::assert_snapshot!(log);
}

#[test]
fn mail_refused() {
    let mut conversation = Conversation::ready(ALL_EXTENSIONS);
    conversation.transact(message(&["a@example.net", "b@example.net"]));
    conversation.server("550 5.7.1 not you\r\n503 no MAIL\r\n503 no MAIL\r\n503 no MAIL\r\n");
    // What the server may still hold is forgotten first.
    conversation.transact(message(&["c@example.net"]));
    conversation.server("250 reset\r\n250 OK\r\n250 OK\r\n354 go\r\n");
    conversation.server("250 OK\r\n");
    insta::assert_snapshot!(conversation.log);
}

#[test]
fn mail_refused_one_by_one() {
    let mut conversation = Conversation::ready("250 mx\r\n");
    conversation.transact(message(&["a@example.net"]));
    conversation.server("451 4.7.1 greylisted\r\n");
    conversation.transact(message(&["a@example.net"]));
    conversation.server("250 reset\r\n");
    conversation.server("250 OK\r\n");
    conversation.server("550 5.1.1 unknown\r\n");
    insta::assert_snapshot!(conversation.log);
}

#[test]
fn mail_refused_and_data_taken_all_the_same() {
    let log = script(
        Conversation::ready(ALL_EXTENSIONS),
        message(&["a@example.net"]),
        &["550 no\r\n503 no\r\n354 go\r\n", "554 no recipients\r\n"],
    );
    insta::assert_snapshot!(log);
}

#[test]
fn a_server_that_would_deliver_an_empty_message_gets_no_end_of_data() {
    let log =
        script(Conversation::ready(ALL_EXTENSIONS), message(&["a@example.net"]), &["550 no\r\n250 OK\r\n354 go\r\n"]);
    insta::assert_snapshot!(log);
}

#[test]
fn all_recipients_refused() {
    let mut conversation = Conversation::ready(ALL_EXTENSIONS);
    conversation.transact(message(&["a@example.net", "b@example.net"]));
    conversation.server("250 OK\r\n550 5.1.1 a\r\n550 5.1.1 b\r\n354 go\r\n");
    conversation.server("554 5.5.1 empty\r\n");
    conversation.transact(message(&["c@example.net"]));
    conversation.server("250 reset\r\n250 OK\r\n550 5.1.1 c\r\n554 no recipients\r\n");
    insta::assert_snapshot!(conversation.log);
}

#[test]
fn data_refused() {
    let log = script(
        Conversation::ready(ALL_EXTENSIONS),
        message(&["a@example.net", "b@example.net"]),
        &["250 OK\r\n250 OK\r\n550 5.1.1 b\r\n451 4.3.0 no disk\r\n"],
    );
    insta::assert_snapshot!(log);
}

#[test]
fn the_message_refused() {
    let log = script(
        Conversation::ready(ALL_EXTENSIONS),
        message(&["a@example.net"]),
        &["250 OK\r\n250 OK\r\n354 go\r\n", "554 5.6.0 spam\r\n"],
    );
    insta::assert_snapshot!(log);
}

#[test]
fn closing_at_any_point_is_a_temporary_failure() {
    let mut log = String::new();
    let answers = ["250 OK\r\n", "550 5.1.1 a\r\n", "250 OK\r\n", "354 go\r\n"];
    for answered in 0..=answers.len() {
        let mut conversation = Conversation::ready(ALL_EXTENSIONS);
        conversation.transact(message(&["a@example.net", "b@example.net"]));
        conversation.server(&answers[..answered].concat());
        conversation.log = format!("-- after {answered} answers\n");
        conversation.server("421 4.3.2 shutting down\r\n");
        assert_eq!(conversation.client.transact(message(&["a@example.net"])), Err(TransactError::NotReady));
        log.push_str(&conversation.log);
    }
    insta::assert_snapshot!(log);
}

#[test]
fn closing_while_idle() {
    let mut conversation = Conversation::ready(ALL_EXTENSIONS);
    conversation.server("421 4.4.2 idle for too long\r\n");
    insta::assert_snapshot!(conversation.log);
    let mut conversation = Conversation::ready(ALL_EXTENSIONS);
    let events = conversation.server("250 OK\r\n");
    assert!(matches!(&events[..], [Event::Failed(ConnectionFailure { stage: Stage::Idle, .. })]), "{events:?}");
}

#[test]
fn a_connection_lost_at_any_point() {
    let mut log = String::new();
    let answers = ["250 OK\r\n", "550 5.1.1 a\r\n", "250 OK\r\n", "354 go\r\n"];
    for answered in 0..=answers.len() {
        let mut conversation = Conversation::ready(ALL_EXTENSIONS);
        conversation.transact(message(&["a@example.net", "b@example.net"]));
        conversation.server(&answers[..answered].concat());
        conversation.log = format!("-- after {answered} answers\n");
        log.push_str(&conversation.lose());
    }
    insta::assert_snapshot!(log);
}

#[test]
fn a_connection_lost_before_the_end_of_data() {
    let mut conversation = Conversation::ready(ALL_EXTENSIONS);
    conversation.transact(Transaction { message: vec![b'x'; 300_000].into(), ..message(&["a@example.net"]) });
    conversation.input.extend_from_slice(b"250 OK\r\n250 OK\r\n354 go\r\n");
    assert_eq!(conversation.client.next_event(&mut conversation.input), None);
    let mut pieces = Vec::new();
    while pieces.iter().sum::<usize>() < 290_000 {
        pieces.push(conversation.client.output().len());
        conversation.client.wrote(pieces[pieces.len() - 1]);
    }
    assert_eq!(pieces, [128 * 1024, 128 * 1024, 300_000 - 256 * 1024 + b"\r\n.\r\n".len()]);
    let mut early = Conversation::ready(ALL_EXTENSIONS);
    early.transact(Transaction { message: vec![b'x'; 300_000].into(), ..message(&["a@example.net"]) });
    early.input.extend_from_slice(b"250 OK\r\n250 OK\r\n354 go\r\n");
    assert_eq!(early.client.next_event(&mut early.input), None);
    early.client.output();
    early.client.wrote(128 * 1024);
    assert!(!early.client.connection_lost().end_of_data_sent);
    assert!(conversation.client.connection_lost().end_of_data_sent);
}

#[test]
fn refused_in_the_middle_of_the_message() {
    for (reply, usable) in [("552 5.3.4 too large\r\n", Some(false)), ("250 OK\r\n", None)] {
        let mut conversation = Conversation::ready(ALL_EXTENSIONS);
        conversation.transact(Transaction { message: vec![b'x'; 300_000].into(), ..message(&["a@example.net"]) });
        conversation.input.extend_from_slice(b"250 OK\r\n250 OK\r\n354 go\r\n");
        assert_eq!(conversation.client.next_event(&mut conversation.input), None);
        conversation.client.output();
        conversation.client.wrote(1000);
        conversation.input.extend_from_slice(reply.as_bytes());
        match conversation.client.next_event(&mut conversation.input) {
            Some(Event::Finished(result)) => {
                assert_eq!(usable, Some(result.usable));
                assert!(matches!(&result.recipients[..], [RecipientResult::Rejected(reply)] if reply.code == 552));
            }
            Some(Event::Failed(failure)) => {
                assert_eq!((usable, failure.stage), (None, Stage::EndOfData));
                assert!(!conversation.client.connection_lost().end_of_data_sent);
                continue;
            }
            event => panic!("{event:?}"),
        }
        assert_eq!(conversation.client.output(), b"");
    }
}

#[test]
fn a_reset_that_fails_decides_nothing() {
    let mut conversation = Conversation::ready(ALL_EXTENSIONS);
    conversation.transact(message(&["a@example.net"]));
    conversation.server("550 no\r\n503 no\r\n503 no\r\n");
    conversation.log.clear();
    conversation.transact(message(&["b@example.net"]));
    conversation.server("500 what?\r\n");
    insta::assert_snapshot!(conversation.lose());
}

#[test]
fn answers_out_of_place() {
    for script in [
        &["354 go\r\n"][..],
        &["250 OK\r\n354 go\r\n"],
        &["250 OK\r\n250 OK\r\n250 OK\r\n"],
        &["250 OK\r\n250 OK\r\n354 go\r\n", "354 go\r\n"],
        &["250-OK\r\n251 no\r\n"],
    ] {
        let mut conversation = Conversation::ready(ALL_EXTENSIONS);
        conversation.transact(message(&["a@example.net"]));
        let last = script.iter().flat_map(|text| conversation.server(text)).next_back();
        assert!(
            matches!(&last, Some(Event::Failed(failure)) if matches!(failure.cause, FailureCause::Protocol(_))),
            "{script:?}: {last:?}"
        );
        let lost = conversation.client.connection_lost();
        assert_eq!(lost.recipients, [None]);
    }
}

#[test]
fn many_recipients_go_in_windows() {
    let addresses: Vec<String> = (0..1000).map(|i| format!("r{i}@example.net")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut conversation = Conversation::ready(ALL_EXTENSIONS);
    conversation.client.transact(message(&addresses)).unwrap();
    let (mut sent, mut outstanding_max, mut writes) = (0, 0, 0);
    let mut answered = 0;
    loop {
        let output = String::from_utf8(conversation.client.output().to_vec()).unwrap();
        conversation.client.wrote(output.len());
        writes += usize::from(!output.is_empty());
        if output.contains("\r\n.\r\n") {
            break;
        }
        sent += output.matches("\r\n").count();
        outstanding_max = outstanding_max.max(sent - answered);
        assert!(sent > answered, "the client waits for nothing");
        let reply = if output.is_empty() && answered == 1001 { "354 go\r\n" } else { "250 OK\r\n" };
        conversation.input.extend_from_slice(reply.as_bytes());
        answered += 1;
        assert_eq!(conversation.client.next_event(&mut conversation.input), None);
    }
    assert_eq!((sent, answered), (1002, 1002));
    assert_eq!(outstanding_max, 102);
    assert!(writes < 25, "{writes} writes");
    conversation.input.extend_from_slice(b"250 kept\r\n");
    let Some(Event::Finished(result)) = conversation.client.next_event(&mut conversation.input) else {
        panic!("not finished")
    };
    assert_eq!(result.recipients.len(), 1000);
    assert!(result.recipients.iter().all(|r| matches!(r, RecipientResult::Accepted(_))));
}

#[test]
fn no_transaction_before_its_time() {
    let mut conversation = Conversation::new(options());
    assert_eq!(conversation.client.transact(message(&["a@example.net"])), Err(TransactError::NotReady));
    conversation.server("220 mx\r\n");
    conversation.server("250 mx\r\n");
    let bare = Transaction { message: Bytes::from_static(b"a\n.\nb\r\n"), ..message(&["a@example.net"]) };
    assert_eq!(conversation.client.transact(bare), Err(TransactError::BareLineEnd));
    assert_eq!(conversation.client.output(), b"");
    conversation.transact(message(&["a@example.net"]));
    assert_eq!(conversation.client.transact(message(&["a@example.net"])), Err(TransactError::NotReady));
    conversation.client.quit();
    assert_eq!(conversation.settle(), [Event::Closed]);
}

#[test]
fn capabilities_in_any_case() {
    let reply = Reply::plain(
        250,
        "mx greets you\npipelining\nSize 52428800\n8bitMIME\nSMTPUTF8\nstarttls\ndsn\nchunking\nXYZ\n\
         EnhancedStatusCodes\nauth=plain\nAUTH login scram-sha-256",
    );
    assert_eq!(
        Capabilities::parse(&reply),
        Capabilities {
            pipelining: true,
            size: true,
            size_bytes_max: Some(52_428_800),
            eight_bit_mime: true,
            smtputf8: true,
            starttls: true,
            dsn: true,
            chunking: true,
            enhanced_status_codes: true,
            auth: AuthMechanisms { scram_sha_256: true, plain: true, login: true },
        }
    );
    let none = Capabilities::parse(&Reply::plain(250, "PIPELINING"));
    assert_eq!(none, Capabilities::default(), "the first line is a name");
    let unlimited = Capabilities::parse(&Reply::plain(250, "mx\nSIZE 0"));
    assert_eq!((unlimited.size, unlimited.size_bytes_max), (true, None));
}

fn read(text: &[u8]) -> Result<Option<Reply>, ReplyError> {
    ReplyParser::new(ClientLimits::default()).next_reply(&mut BytesMut::from(text))
}

#[test]
fn replies_as_servers_write_them() {
    let reply = |text: &[u8]| read(text).unwrap().unwrap();
    assert_eq!(reply(b"250 OK\n"), Reply::plain(250, "OK"));
    assert_eq!(reply(b"250\r\n"), Reply::plain(250, ""));
    assert_eq!(reply(b"550-5.1.1 a\r\n550-5.1.1\r\n550 b\r\n"), Reply::new(550, (5, 1, 1), "a\n\nb"));
    assert_eq!(reply(b"554-go away\r\n554 5.7.1 really\r\n"), Reply::new(554, (5, 7, 1), "go away\nreally"));
    assert_eq!(reply(b"550 4.1.1 of another class\r\n"), Reply::plain(550, "4.1.1 of another class"));
    assert_eq!(reply(b"250 2.0.0.1 x\r\n"), Reply::plain(250, "2.0.0.1 x"));
    assert_eq!(reply(b"250 2.1234.0 x\r\n"), Reply::plain(250, "2.1234.0 x"));
    assert_eq!(reply(b"550 caf\xe9\x1b[2J\r\n"), Reply::plain(550, "caf\u{fffd} [2J"));
    assert_eq!(read(b"250-OK\r\n250 OK"), Ok(None));
}

#[test]
fn replies_that_are_none() {
    for text in [&b"\r\n"[..], b"25\r\n", b"2500\r\n", b"250_OK\r\n", b"150 x\r\n", b"600 x\r\n", b"OK 250\r\n"] {
        assert!(matches!(read(text), Err(ReplyError::NotAReply(_))), "{text:?}");
    }
    assert_eq!(read(b"250-a\r\n251 b\r\n"), Err(ReplyError::CodeChanged { first: 250, then: 251 }));
    assert_eq!(read(&[b'2'; 2048]), Err(ReplyError::LineTooLong));
    assert_eq!(read(&[b'2'; 2047]), Ok(None));
    assert_eq!(read(&b"250-x\r\n".repeat(129)), Err(ReplyError::TooManyLines));
    let longest = [b"250-x\r\n".repeat(127), b"250 x\r\n".to_vec()].concat();
    assert_eq!(read(&longest).unwrap().unwrap().text.lines().count(), 128);
    let long = [format!("250-{}\r\n", "ä".repeat(900)).repeat(5).as_bytes(), b"250 x\r\n"].concat();
    assert!(read(&long).unwrap().unwrap().text.len() <= ClientLimits::default().reply_text_bytes_max);
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
