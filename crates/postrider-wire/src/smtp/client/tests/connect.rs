//! What comes before and after transactions.

use super::*;

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
                notify: Some(Notify { failure: true, delay: true, success: false }),
                original_recipient: Some("rfc822;a@example.com".into()),
            },
            TransactionRecipient {
                address: "b@example.net".into(),
                notify: Some(Notify::default()),
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
fn closing_while_idle() {
    let mut conversation = Conversation::ready(ALL_EXTENSIONS);
    conversation.server("421 4.4.2 idle for too long\r\n");
    insta::assert_snapshot!(conversation.log);
    let mut conversation = Conversation::ready(ALL_EXTENSIONS);
    let events = conversation.server("250 OK\r\n");
    assert!(matches!(&events[..], [Event::Failed(ConnectionFailure { stage: Stage::Idle, .. })]), "{events:?}");
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
