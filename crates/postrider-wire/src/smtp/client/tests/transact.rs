//! Transactions, and how they end.

use super::*;

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

/// People read it in reports.
#[test]
fn an_answer_out_of_place_is_told_in_the_protocols_words() {
    let mut conversation = Conversation::ready(ALL_EXTENSIONS);
    conversation.transact(message(&["a@example.net"]));
    let last = conversation.server("250 OK\r\n354 go\r\n").into_iter().next_back();
    let Some(Event::Failed(ConnectionFailure { cause: FailureCause::Protocol(text), .. })) = last else {
        panic!("{last:?}")
    };
    assert_eq!(text, "354 in answer to RCPT");
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
