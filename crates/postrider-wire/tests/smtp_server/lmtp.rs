//! LMTP (RFC 2033): what differs from SMTP, as whole sessions. The notation is that of [`crate::sessions`].

use crate::script::{Script, config};
use insta::assert_snapshot;
use postrider_wire::smtp::reply::Reply;
use postrider_wire::smtp::server::{Limits, ServerConfig};

#[test]
fn each_recipient_has_its_own_reply() {
    let mut script = Script::new(lmtp());
    script.lines(&["LHLO mta.example", "MAIL FROM:<a@example.com> SIZE=30 BODY=8BITMIME"]);
    // Also who is named twice (section 4.2).
    script.lines(&["RCPT TO:<b@example.org>", "RCPT TO:<nobody@example.org>", "RCPT TO:<full@example.org>"]);
    script.lines(&["RCPT TO:<b@example.org>", "DATA", "Subject: hello", "", "..a dot", ".", "NOOP", "QUIT"]);
    assert_eq!(script.messages, [b"Subject: hello\r\n\r\n.a dot\r\n"]);
    assert_snapshot!(script.transcript);
}

#[test]
fn each_protocol_refuses_the_other() {
    let mut script = Script::new(lmtp());
    script.lines(&["EHLO client.example", "HELO client.example", "MAIL FROM:<a@b>", "BDAT 0", "HELP"]);
    script.lines(&["LHLO", "LHLO mta.example", "STARTTLS", "AUTH PLAIN AHVzZXIAcGVuY2ls", "EXPN list", "VRFY b"]);
    script.lines(&[
        "MAIL FROM:<a@b> RET=FULL",
        "MAIL FROM:<a@b>",
        "RCPT TO:<c@d> NOTIFY=NEVER",
        "EHLO x",
        "RCPT TO:<c@d>",
    ]);
    script.lines(&["RSET", "lhlo again.example", "QUIT"]);
    let mut smtp = Script::new(config());
    smtp.lines(&["LHLO mta.example", "QUIT"]);
    assert_snapshot!(format!("{}\n{}", script.transcript, smtp.transcript));
}

#[test]
fn data_needs_a_recipient() {
    let mut script = Script::new(lmtp());
    script.lines(&["LHLO mta.example", "DATA", "MAIL FROM:<a@b>", "DATA", "RCPT TO:<nobody@d>", "DATA"]);
    // Section 4.3: no reply at all for a last chunk without recipients; one for any other.
    script.send("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    script.lines(&["MAIL FROM:<a@b>"]).send("BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    assert!(script.messages.is_empty());
    assert_snapshot!(script.transcript);
}

#[test]
fn chunks() {
    let mut script = Script::new(lmtp());
    script.lines(&["LHLO mta.example"]);
    script.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<full@d>\r\nBDAT 12\r\nSubject: x\r\nBDAT 2 LAST\r\n\r\n");
    script.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@d>\r\nBDAT 3 LAST\r\n.\r\n");
    assert_eq!(script.messages, [&b"Subject: x\r\n\r\n"[..], b".\r\n"]);
    assert_snapshot!(script.transcript);
}

#[test]
fn what_is_refused_as_a_whole_is_refused_to_each() {
    let mut script = Script::new(lmtp());
    script.lines(&["LHLO mta.example"]);
    for message in [
        "DATA\r\na\nb\r\n.\r\n".to_owned(),
        format!("DATA\r\n{}.\r\n", format!("{}\r\n", "x".repeat(98)).repeat(11)),
        format!("BDAT 1001 LAST\r\n{}", "x".repeat(1001)),
        "BDAT 4\r\nabcdBDAT 2 LAST\r\n\n\n".to_owned(),
        // Amid a message it is the chunk that is answered.
        "BDAT 4\r\na\nb\nBDAT 6 LAST\r\nQUIT\r\n".to_owned(),
    ] {
        script.lines(&["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>"]).send(message);
    }
    assert!(script.messages.is_empty());
    assert_snapshot!(script.transcript);
}

#[test]
fn a_driver_may_refuse_a_message_before_it_comes() {
    let mut script = Script::new(lmtp());
    script.lines(&["LHLO mta.example"]);
    for message in ["DATA\r\n", "BDAT 6\r\nQUIT\r\n", "BDAT 6 LAST\r\nQUIT\r\n"] {
        script.lines(&["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>"]);
        script.refuse_next_message(Reply::OVERLOADED).send(message);
    }
    assert_snapshot!(script.transcript);
}

#[test]
fn nobody_goes_without_a_reply() {
    let mut script = Script::new(lmtp());
    script.lines(&[
        "LHLO mta.example",
        "MAIL FROM:<a@b>",
        "RCPT TO:<c@d>",
        "RCPT TO:<forgotten@d>",
        "DATA",
        ".",
        "NOOP",
    ]);
    assert_snapshot!(script.transcript);
}

#[test]
fn a_refused_message_is_one_error_however_many_it_was_for() {
    let limits = Limits { errors_max: 1, ..lmtp().limits };
    let mut script = Script::new(ServerConfig { limits, ..lmtp() });
    script.lines(&["LHLO mta.example"]);
    for _ in 0..2 {
        assert!(!script.session.is_closed());
        script.lines(&["MAIL FROM:<a@b>", "RCPT TO:<full@d>", "RCPT TO:<full@e>", "DATA", "."]);
    }
    assert!(script.session.is_closed());
    assert_eq!(script.transcript.matches("552 5.2.2").count(), 2);
    assert!(script.last_reply().starts_with("421 4.7.0"));
}

fn lmtp() -> ServerConfig {
    ServerConfig { banner: "Postrider".to_owned(), limits: config().limits, ..ServerConfig::lmtp("mx.example.org") }
}
