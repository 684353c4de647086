//! Hostile input: a clear refusal, no second message, no leak from one session, or one state, into another.

use insta::assert_snapshot;
use postrider_core::EmailStatus;
use postrider_testkit::{LineClient, Script, Site, TestPostrider, mail};

use crate::support::site_of_strangers;

/// What some servers take for the end of data, and a client behind them does not.
const FALSE_ENDS: &[(&str, &[u8])] = &[
    ("LF.LF", b"\n.\n"),
    ("LF.CRLF", b"\n.\r\n"),
    ("CR.CR", b"\r.\r"),
    ("CR.CRLF", b"\r.\r\n"),
    ("CRLF.LF", b"\r\n.\n"),
    ("CRLF.CR", b"\r\n.\r"),
    ("CRLF.CRCRLF", b"\r\n.\r\r\n"),
    ("CRLF.NULCRLF", b"\r\n.\0\r\n"),
    ("CRLF NUL.CRLF", b"\r\n\0.\r\n"),
];

const SECOND_MESSAGE: &[u8] =
    b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<b@local.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n";

async fn strangers_mx() -> TestPostrider {
    site_of_strangers().await.set("ALLOWED_DOMAINS", "local.test").start().await
}

/// Sends a message that carries a false end and a second message behind it; gives the codes of all replies to it.
async fn smuggle(postrider: &TestPostrider, false_end: &[u8]) -> Vec<u16> {
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.demand("MAIL FROM:<a@example.net>", 250).await;
    client.demand("RCPT TO:<b@local.test>", 250).await;
    client.demand("DATA", 354).await;
    client.send_raw(&[b"Subject: first\r\n\r\nbody", false_end, SECOND_MESSAGE, b"QUIT\r\n"].concat()).await;
    let rest = String::from_utf8(client.rest().await).unwrap();
    rest.lines().map(|line| line[..3].parse().unwrap()).collect()
}

#[tokio::test]
async fn a_false_end_of_data_ends_nothing() {
    let postrider = strangers_mx().await;
    for (name, false_end) in FALSE_ENDS {
        assert_eq!(smuggle(&postrider, false_end).await, [550, 221], "{name}");
    }
    assert!(postrider.emails().await.is_empty());
}

#[tokio::test]
async fn line_ends_of_a_trusted_client_are_repaired_and_no_second_message_comes_of_it() {
    let postrider = Site::new().await.set("ALLOWED_DOMAINS", "local.test").start().await;
    let repairable = FALSE_ENDS.iter().filter(|(_, bytes)| !bytes.contains(&0));
    for (count, (name, false_end)) in repairable.enumerate() {
        assert_eq!(smuggle(&postrider, false_end).await, [250, 221], "{name}");
        let emails = postrider.emails().await;
        assert_eq!(emails.len(), count + 1, "{name}");
        let raw = postrider.store().raw(emails[0].id).await.unwrap().unwrap().raw;
        let bare = raw.windows(2).any(|pair| (pair[1] == b'\n') != (pair[0] == b'\r'));
        assert!(!bare, "{name}: {}", raw.escape_ascii());
        assert!(String::from_utf8_lossy(&raw).contains("smuggled"), "{name}: the second message is text of the first");
    }
}

/// A repaired message that leaves again must not carry the trick to the next server.
#[tokio::test]
async fn a_repaired_message_leaves_as_one() {
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new()).await;
    let postrider = site.start().await;
    let mut client = postrider.client().await;
    client.demand("MAIL FROM:<a@client.test>", 250).await;
    client.demand("RCPT TO:<b@example.org>", 250).await;
    client.demand("DATA", 354).await;
    client.send_raw(b"Subject: s\r\n\r\none\n.\r\nMAIL FROM:<evil@example.net>\r\n.\r\n").await;
    let id = postrider.accepted(&client.expect(250).await).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    let messages = mx.messages();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].text().ends_with("one\r\n.\r\nMAIL FROM:<evil@example.net>\r\n"), "{}", messages[0].text());
}

#[tokio::test]
async fn nothing_pipelined_behind_starttls_survives_it() {
    let postrider = strangers_mx().await;
    for server in [postrider.smtp(), postrider.smtp_mx(), postrider.submission()] {
        let mut client = LineClient::hello(server).await;
        client.send_batch(&["STARTTLS", "EHLO evil.test", "MAIL FROM:<evil@example.net>"]).await;
        client.expect(220).await;
        client.handshake().await.unwrap();
        let first = client.command("NOOP injected?").await;
        assert!(first.lines.len() == 1 && !first.text().contains("evil"), "{}", client.transcript());
        client.demand("MAIL FROM:<a@example.net>", 503).await;
        client.demand("EHLO client.test", 250).await;
        client.demand("RCPT TO:<b@local.test>", 503).await;
    }
}

#[tokio::test]
async fn starttls_forgets_what_was_said_in_clear() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.starttls().await;
    client.demand("MAIL FROM:<a@example.net>", 503).await;
    client.demand("EHLO client.test", 250).await;
    client.demand("STARTTLS", 503).await;
    client.demand("MAIL FROM:<a@example.net>", 250).await;
    client.demand("STARTTLS", 503).await;
}

#[tokio::test]
async fn garbage_is_answered_and_shown_the_door() {
    let postrider = strangers_mx().await;
    let mut state = 0x9e37_79b9_u32;
    let mut garbage = || {
        let bytes: Vec<u8> = (0..4000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        [bytes.as_slice(), b"\r\n"].concat()
    };
    for server in [postrider.smtp(), postrider.smtp_mx(), postrider.submission(), postrider.submissions()] {
        let mut client = LineClient::connect(server).await.unwrap();
        for _ in 0..30 {
            let _ = client.send_quietly(&garbage()).await;
        }
        let _ = client.send_quietly(b"QUIT\r\n").await;
        let answered = client.rest().await;
        let text = String::from_utf8_lossy(&answered);
        if server != postrider.submissions() {
            assert!(text.starts_with("220 "), "{text}");
            assert!(
                text.lines()
                    .skip(1)
                    .all(|line| line.starts_with('5') || line.starts_with("421") || line.starts_with("221")),
                "{text}"
            );
        }
    }
    assert_eq!(LineClient::hello(postrider.smtp()).await.command("NOOP").await.code, 250);
}

#[tokio::test]
async fn a_client_of_another_protocol_is_sent_away() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::connect(postrider.smtp()).await.unwrap();
    client.expect(220).await;
    client
        .send_raw(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 66\r\n\r\nEHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@local.test>\r\nDATA\r\nx\r\n.\r\n")
        .await;
    client.rest().await;
    assert_snapshot!(client.transcript());
    assert!(postrider.emails().await.is_empty());
}

#[tokio::test]
async fn commands_with_bare_line_ends_are_not_two_commands() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::hello(postrider.smtp_mx()).await;
    client.send_raw(b"NOOP\nMAIL FROM:<evil@example.net>\r\n").await;
    let reply = client.reply().await;
    assert_eq!(reply.code / 100, 5, "{}", reply.text());
    client.demand("RCPT TO:<b@local.test>", 503).await;
    client.send_raw(b"NOOP\rNOOP\r\n").await;
    assert_eq!(client.reply().await.code / 100, 5);
    client.send_raw(b"NOOP \0\r\n").await;
    assert_eq!(client.reply().await.code / 100, 5);
}

#[tokio::test]
async fn a_peer_cannot_write_into_trace_fields() {
    let postrider = strangers_mx().await;
    let mut client = LineClient::connect(postrider.smtp_mx()).await.unwrap();
    client.expect(220).await;
    let reply = client.command("EHLO x)\tby(evil;<b>").await;
    if reply.code == 250 {
        let reply =
            client.send_mail("a@example.net", &["b@local.test"], &mail::plain("a@b", "b@local.test", "x")).await;
        let id = postrider.accepted(&reply).await;
        let raw = postrider.store().raw(id).await.unwrap().unwrap().raw;
        assert!(!String::from_utf8_lossy(&raw).contains("evil"));
    }
}
