//! Whole sessions, written down. `C:` is what the client sends, a `⏎` marks what did not end with CRLF; `S:` is what the
//! server says; `E:` are the events that the driver saw.

use crate::script::{Script, config, tls};
use insta::assert_snapshot;
use postrider_wire::smtp::reply::Reply;
use postrider_wire::smtp::server::{AuthPolicy, FutureRelease, Limits, ServerConfig};

#[test]
fn submission() {
    let mut script = Script::with_tls(config(), Some(tls()));
    script.lines(&["EHLO [192.0.2.1]", "AUTH PLAIN AHVzZXIAcGVuY2ls"]);
    script.lines(&["MAIL FROM:<a@example.com> SIZE=100 BODY=8BITMIME", "RCPT TO:<b@example.org>"]);
    script.lines(&["RCPT TO:<nobody@example.org>", "DATA", "Subject: hello", "", "..a dot", ".", "QUIT", "NOOP"]);
    assert_eq!(script.messages, [b"Subject: hello\r\n\r\n.a dot\r\n"]);
    assert!(script.session.is_closed());
    assert_snapshot!(script.transcript);
}

#[test]
fn helo_offers_nothing() {
    let mut script = Script::new(config());
    script.lines(&["HELO client.example", "MAIL FROM:<> SIZE=1", "MAIL FROM:<>", "RCPT TO:<postmaster>", "DATA", "."]);
    assert_snapshot!(script.transcript);
}

#[test]
fn a_pipelined_batch_is_answered_in_one_write() {
    let mut script = Script::new(config());
    script.lines(&["EHLO client.example"]);
    script.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<nobody@d>\r\nDATA\r\n");
    script.send("one\r\n.\r\nMAIL FROM:<e@f>\r\nRCPT TO:<g@h>\r\nDATA\r\n");
    script.send("Subject: defer\r\n.\r\nRSET\r\nQUIT\r\n");
    assert_eq!(script.messages, [&b"one\r\n"[..], b"Subject: defer\r\n"]);
    assert_snapshot!(script.transcript);
}

#[test]
fn commands_with_errors() {
    let mut script = Script::new(unlimited_errors());
    let long_line = format!("NOOP {}", "x".repeat(5000));
    script.lines(&["", "FOO", "EHLO", "EHLO a b", "EHLO forbidden", "HELO \u{7}", "EHLO client.example", &long_line]);
    script.lines(&["VRFY", "VRFY b", "EXPN list", "HELP", "HELP MAIL", "NOOP with a string", "RSET now", "QUIT now"]);
    script.lines(&["DATA now", "STARTTLS now", "rset", "noop  ", "NOOP\tx", "BDAT", "BDAT x LAST", "BDAT 1 FIRST"]);
    script.lines(&["BDAT -1", "BDAT 99999999999999999999", "AUTH PLAIN AHVzZXIAcGVuY2ls"]);
    script.send(b"EHLO \xff\r\n").send("NOOP a\rb\r\n").send("NOOP\nNOOP\r\n").send("NOOP \0\r\n");
    assert_snapshot!(script.transcript);
}

#[test]
fn commands_out_of_order() {
    let mut script = Script::new(unlimited_errors());
    script.lines(&["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "STARTTLS", "AUTH PLAIN", "BDAT 6", "QUIT", "RSET"]);
    script.lines(&["EHLO client.example", "RCPT TO:<c@d>", "DATA", "BDAT 6", "QUIT"]);
    script.lines(&[
        "MAIL FROM:<denied@example.com>",
        "MAIL FROM:<a@b>",
        "MAIL FROM:<a@b>",
        "DATA",
        "STARTTLS",
        "AUTH PLAIN",
    ]);
    script.lines(&["RCPT TO:<nobody@d>", "DATA", "RCPT TO:<c@d>", "MAIL FROM:<a@b>", "RSET", "RCPT TO:<c@d>"]);
    script.lines(&["MAIL FROM:<a@b>", "EHLO again.example", "RCPT TO:<c@d>", "MAIL FROM:<a@b>", "QUIT"]);
    assert_snapshot!(script.transcript);
}

#[test]
fn mail_parameters() {
    let mut script = Script::new(unlimited_errors());
    script.lines(&["EHLO client.example"]);
    for mail in [
        "<a@b> SIZE=1000 RET=hdrs ENVID=QQ+2B314159 AUTH=<> body=7bit SMTPUTF8",
        "<a@b> RET=FULL AUTH=e+3Dmc2@example.com",
        "<@relay,@other.example:a@b>",
        r#"<"a >b"@example.com>"#,
        " <a@[192.0.2.1]>",
        "<a@b> SIZE=1001",
        "<a@b> SIZE=99999999999999999999",
        "<a@b> SIZE=999999999999999999999",
        "<a@b> SIZE",
        "<a@b> SIZE=",
        "<a@b> SIZE=1 SIZE=1",
        "<a@b> BODY=BINARYMIME",
        "<a@b> RET=SOME",
        "<a@b> ENVID=a+b",
        "<a@b> SMTPUTF8=yes",
        "<a@b> AUTH",
        "<a@b> FOO=bar",
        "<a@b> NOTIFY=NEVER",
        "<a@b> -=1",
        "<a@b>SIZE=1",
        "<ä@b>",
        "<ä@b> SMTPUTF8",
        "a@b",
        "<a>",
        "<a b@c>",
        "<a@b",
        "",
    ] {
        script.lines(&[&format!("MAIL FROM:{mail}")]);
        if script.last_reply().starts_with("250") {
            script.session_reset();
        }
    }
    assert_snapshot!(script.transcript);
}

#[test]
fn rcpt_parameters() {
    let mut script = Script::new(unlimited_errors());
    script.lines(&["EHLO client.example", "MAIL FROM:<a@b>"]);
    let long = format!("<c@d> ORCPT=rfc822;{}", "x".repeat(500));
    for rcpt in [
        "<c@d> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;c+2Bx@d",
        "<c@d> notify=never",
        "<PostMaster>",
        "<@relay:c@d>",
        "<c@d> NOTIFY=NEVER,DELAY",
        "<c@d> NOTIFY=DELAY,DELAY",
        "<c@d> NOTIFY=",
        "<c@d> ORCPT=c@d",
        "<c@d> ORCPT=;c@d",
        "<c@d> ORCPT=rfc822;c+d",
        "<c@d> ORCPT=utf-8;ü@d",
        &long,
        "<c@d> SIZE=1",
        "<ü@d>",
        "<>",
        "<c>",
        "c@d",
    ] {
        script.lines(&[&format!("RCPT TO:{rcpt}")]);
    }
    script.lines(&["RSET", "MAIL FROM:<> SMTPUTF8", "RCPT TO:<ü@d> ORCPT=utf-8;ü@d"]);
    assert_snapshot!(script.transcript);
}

#[test]
fn where_dsn_is_not_offered_its_parameters_are_refused() {
    let mut script = Script::new(ServerConfig { dsn: false, ..config() });
    script.lines(&["EHLO client.example"]);
    assert!(script.transcript.contains("CHUNKING") && !script.transcript.contains("DSN"));
    script.lines(&["MAIL FROM:<a@b> ENVID=1"]);
    assert!(script.last_reply().starts_with("555 5.5.4"));
    script.lines(&["MAIL FROM:<a@b> BODY=8BITMIME SIZE=1", "RCPT TO:<c@d> NOTIFY=SUCCESS"]);
    assert!(script.last_reply().starts_with("555 5.5.4"));
    script.lines(&["RCPT TO:<c@d>"]);
    assert!(script.last_reply().starts_with("250"));
}

#[test]
fn holds_and_priorities_where_they_are_offered() {
    let mut script = Script::new(ServerConfig { priorities: true, ..unlimited_errors() });
    let date_time_max = "2027-01-01T00:00:00Z".to_owned();
    script.session.offer_future_release(FutureRelease { seconds_max: 86_400, date_time_max });
    script.lines(&["EHLO client.example"]);
    let too_long = format!("<a@b> HOLDUNTIL={}", "9".repeat(41));
    for mail in [
        "<a@b> HOLDFOR=3600 MT-PRIORITY=9",
        "<a@b> holduntil=2026-12-24T18:00:00.5+01:00 mt-priority=-9",
        "<a@b> MT-PRIORITY=0",
        "<a@b> HOLDFOR=1 HOLDUNTIL=2026-12-24T18:00:00Z",
        "<a@b> HOLDFOR=1 HOLDFOR=1",
        "<a@b> HOLDFOR=1234567890",
        "<a@b> HOLDFOR=-1",
        "<a@b> HOLDFOR",
        "<a@b> HOLDUNTIL",
        &too_long,
        "<a@b> MT-PRIORITY=10",
        "<a@b> MT-PRIORITY=+1",
        "<a@b> MT-PRIORITY=--1",
        "<a@b> MT-PRIORITY=",
        "<a@b> MT-PRIORITY",
    ] {
        script.lines(&[&format!("MAIL FROM:{mail}")]);
        if script.last_reply().starts_with("250") {
            script.session_reset();
        }
    }
    assert_snapshot!(script.transcript);
    let mut script = Script::new(unlimited_errors());
    script.lines(&["EHLO client.example"]);
    assert!(!script.transcript.contains("FUTURERELEASE") && !script.transcript.contains("MT-PRIORITY"));
    for parameter in ["HOLDFOR=1", "HOLDUNTIL=2026-12-24T18:00:00Z", "MT-PRIORITY=1"] {
        script.lines(&[&format!("MAIL FROM:<a@b> {parameter}")]);
        assert!(script.last_reply().starts_with("555 5.5.4"), "{parameter}");
    }
}

#[test]
fn starttls_drops_what_was_slipped_in() {
    let mut script = Script::new(config());
    script.lines(&["EHLO client.example"]);
    script.send("STARTTLS\r\nMAIL FROM:<evil@b>\r\nRCPT TO:<c@d>\r\n");
    script.lines(&["MAIL FROM:<a@b>", "EHLO client.example", "STARTTLS", "QUIT"]);
    assert!(!script.transcript.contains("Mail("));
    assert_snapshot!(script.transcript);
}

#[test]
fn chunks() {
    let mut script = Script::new(config());
    script.begin();
    script.send("BDAT 10\r\nSubject: xBDAT 4\r\n\r\n\r\nBDAT 0 LAST\r\n");
    assert_eq!(script.messages, [b"Subject: x\r\n\r\n"]);
    script.lines(&["MAIL FROM:<a@b>", "RCPT TO:<c@d>"]);
    // A CRLF cut in two, a dot that is content, commands between chunks.
    script
        .send("BDAT 2\r\na\r")
        .send("NOOP\r\nRCPT TO:<e@f>\r\nMAIL FROM:<e@f>\r\nDATA\r\n")
        .send("BDAT 4 last\r\n\n.\r\n");
    assert_eq!(script.messages.last().map(Vec::as_slice), Some(&b"a\r\n.\r\n"[..]));
    script.lines(&["MAIL FROM:<a@b>", "RCPT TO:<c@d>"]);
    script.send("BDAT 3\r\nabcRSET\r\nBDAT 3 LAST\r\nabc");
    assert_snapshot!(script.transcript);
}

#[test]
fn a_driver_may_refuse_a_message_before_it_comes() {
    let mut script = Script::new(config());
    script.begin().refuse_next_message(Reply::OVERLOADED);
    script.lines(&["DATA", "NOOP", "MAIL FROM:<a@b>", "RCPT TO:<c@d>"]).refuse_next_message(Reply::OVERLOADED);
    script.send("BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    assert_snapshot!(script.transcript);
}

#[test]
fn chunks_that_are_refused() {
    let mut script = Script::new(unlimited_errors());
    script.lines(&["EHLO client.example", "MAIL FROM:<a@b>", "RCPT TO:<nobody@d>"]);
    script.send("BDAT 6 LAST\r\nQUIT\r\n");
    for chunks in [
        format!("BDAT 1001 LAST\r\n{}", "x".repeat(1001)),
        format!("BDAT 600\r\n{}BDAT 401\r\n{}BDAT 6 LAST\r\nQUIT\r\n", "x".repeat(600), "y".repeat(401)),
        "BDAT 4 LAST\r\na\nb\n".to_owned(),
        "BDAT 2\r\na\rBDAT 1 LAST\r\nb".to_owned(),
        "BDAT 2 LAST\r\na\r".to_owned(),
        "BDAT 3 LAST\r\na\0b".to_owned(),
        "BDAT 18446744073709551615 LAST\r\nx".to_owned(),
    ] {
        script.lines(&["MAIL FROM:<a@b>", "RCPT TO:<c@d>"]).send(chunks);
    }
    assert!(script.messages.is_empty());
    assert_snapshot!(script.transcript);
}

#[test]
fn messages_that_are_refused() {
    let mut script = Script::new(ServerConfig {
        limits: Limits { text_line_bytes_max: 100, ..unlimited_errors().limits },
        ..unlimited_errors()
    });
    script.lines(&["EHLO client.example"]);
    for message in [
        "a\nb\r\n".to_owned(),
        "a\rb\r\n".to_owned(),
        "a\0b\r\n".to_owned(),
        format!("{}\r\n", "x".repeat(99)),
        format!("{}\r\n", "x".repeat(98)).repeat(11),
    ] {
        script.lines(&["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"]).send(format!("{message}.\r\n"));
    }
    assert!(script.messages.is_empty());
    script.lines(&["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "held"]);
    assert!(script.session.message_bytes() > 0);
    script.session.refuse_message(Reply::OVERLOADED);
    assert_eq!(script.session.message_bytes(), 0);
    script.lines(&["not held"]);
    assert_eq!(script.session.message_bytes(), 0);
    script.lines(&["."]);
    assert_snapshot!(script.transcript);
}

#[test]
fn line_ends_are_repaired_for_the_trusted() {
    let mut script = Script::new(ServerConfig { repair_line_ends: true, ..config() });
    script.begin().lines(&["DATA"]).send("a\n.\nMAIL FROM:<x@y>\r.\r\nb\r\n.\r\n");
    assert_eq!(script.messages, [b"a\r\n.\r\nMAIL FROM:<x@y>\r\n.\r\nb\r\n"]);
    assert_snapshot!(script.transcript);
}

#[test]
fn recipients_have_a_limit() {
    let mut script =
        Script::new(ServerConfig { limits: Limits { recipients_max: 2, ..Limits::default() }, ..config() });
    script.begin().lines(&["RCPT TO:<c@d>", "RCPT TO:<e@f>", "RCPT TO:<g@h>", "DATA", "x", "."]);
    assert_snapshot!(script.transcript);
}

#[test]
fn errors_have_a_limit() {
    let limits = Limits { errors_max: 2, refused_recipients_max: 1, ..Limits::default() };
    let mut script = Script::new(ServerConfig { limits: limits.clone(), ..config() });
    script.begin().lines(&["FOO", "FOO", "DATA", "accepted mail clears the count", "."]);
    script.send("FOO\r\nFOO\r\nFOO\r\nNOOP\r\n");
    assert!(script.session.is_closed());
    let mut harvester = Script::new(ServerConfig { limits, ..config() });
    harvester.begin().lines(&["RCPT TO:<nobody@a>", "RCPT TO:<nobody@b>", "NOOP"]);
    assert!(harvester.session.is_closed());
    assert_snapshot!(format!("{}\n{}", script.transcript, harvester.transcript));
}

#[test]
fn http_is_cut_off_before_its_body() {
    let mut script = Script::new(config());
    script.send("POST / HTTP/1.1\r\nHost: localhost:2525\r\n\r\nEHLO x\r\nMAIL FROM:<a@b>\r\n");
    assert_snapshot!(script.transcript);
}

#[test]
fn a_driver_may_end_a_session_at_any_time() {
    let mut idle = Script::new(config());
    idle.begin().close(Reply::SHUTTING_DOWN).close(Reply::IDLE_TOO_LONG);
    let mut busy = Script::new(config());
    busy.begin().lines(&["DATA", "half a message"]).close(Reply::IDLE_TOO_LONG).lines(&["."]);
    assert_snapshot!(format!("{}\n{}", idle.transcript, busy.transcript));
}

#[test]
fn authentication_needs_encryption_or_an_exception() {
    let mut script = Script::new(config());
    script.lines(&["EHLO client.example", "AUTH PLAIN AHVzZXIAcGVuY2ls", "QUIT"]);
    let mut never = Script::new(ServerConfig { auth: AuthPolicy::Never, starttls: false, ..config() });
    never.lines(&["EHLO client.example", "AUTH PLAIN AHVzZXIAcGVuY2ls", "STARTTLS", "QUIT"]);
    let mut always = Script::new(ServerConfig { auth: AuthPolicy::Always, ..config() });
    always.lines(&["EHLO client.example", "AUTH PLAIN AHVzZXIAcGVuY2ls", "QUIT"]);
    assert_snapshot!(format!("{}\n{}\n{}", script.transcript, never.transcript, always.transcript));
}

#[test]
fn help_lists_what_is_offered() {
    let always = ["EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "HELP", "QUIT"].join(" ");
    for (config, tls, more) in [
        (config(), None, " STARTTLS"),
        (config(), Some(tls()), " AUTH"),
        (ServerConfig { auth: AuthPolicy::Always, ..config() }, None, " STARTTLS AUTH"),
        (ServerConfig { auth: AuthPolicy::Never, starttls: false, ..config() }, None, ""),
        (ServerConfig { auth: AuthPolicy::Never, ..config() }, Some(tls()), ""),
    ] {
        let mut script = Script::with_tls(config, tls);
        script.lines(&["HELP"]);
        let expected = format!("S: 214 2.0.0 Commands: {always}{more}\n");
        assert!(script.transcript.ends_with(&expected), "{}", script.transcript);
    }
}

#[test]
fn authentication_with_passwords() {
    let mut script = Script::with_tls(unlimited_errors(), Some(tls()));
    script.lines(&["EHLO client.example", "AUTH", "AUTH FOO", "AUTH PLAIN !", "AUTH PLAIN", "*", "AUTH PLAIN ="]);
    // A wrong password; one that cannot be checked; acting for another.
    script.lines(&["AUTH PLAIN AHVzZXIAeA==", "AUTH PLAIN AHVubHVja3kAeA==", "AUTH PLAIN b3RoZXIAdXNlcgBwZW5jaWw="]);
    script.lines(&["AUTH LOGIN", "dXNlcg==", "eA==", "AUTH LOGIN dXNlcg==", "*", "AUTH LOGIN", ""]);
    let long_line = "QUFB".repeat(3072);
    script.lines(&["AUTH LOGIN", &long_line, "AUTH LOGIN"]).send("dXNl\ncg==\r\n");
    script.lines(&["auth login", "dXNlcg==", "cGVuY2ls", "AUTH LOGIN", "EHLO client.example"]);
    assert_eq!(script.session.user(), Some("user"));
    assert_snapshot!(script.transcript);
}

fn unlimited_errors() -> ServerConfig {
    let config = config();
    ServerConfig { limits: Limits { errors_max: usize::MAX, ..config.limits }, ..config }
}

impl Script {
    /// RSET, unseen.
    fn session_reset(&mut self) {
        let kept = self.transcript.len();
        self.lines(&["RSET"]);
        self.transcript.truncate(kept);
    }
}
