//! Whole sessions, written down. `C:` is what the client sends, a `⏎` marks what did not end with CRLF; `S:` is what the
//! server says; `E:` are the events that the driver saw.

use crate::script::{Script, config, patient};
use insta::assert_snapshot;
use postrider_wire::imap::response::{self, Code, Status};
use postrider_wire::imap::server::{Limits, ServerConfig};

#[test]
fn commands_out_of_order() {
    let mut script = Script::new(patient());
    script.lines(&["a SELECT INBOX", "b FETCH 1 FLAGS", "c FROB", "d UID FETCH 1 FLAGS", "e"]);
    script
        .send("\r\n")
        .send("+ NOOP\r\n")
        .send(" NOOP\r\n")
        .send("f  NOOP\r\n")
        .send("g NOOP x\r\n")
        .send("h NOOP \r\n");
    let mut script_after = Script::logged_in(patient());
    script_after.lines(&["a FETCH 1 FLAGS", "b LOGIN user pencil", "c STARTTLS", "d SELECT missing", "e CLOSE"]);
    script_after.lines(&["f SELECT INBOX", "g CLOSE", "h EXPUNGE", "i UID FROB 1", "j UID"]);
    assert_snapshot!(format!("{}-- logged in --\n{}", script.transcript, script_after.transcript));
}

#[test]
fn commands_are_carried_out_one_after_another() {
    let mut script = Script::selected(config());
    script.send("a NOOP\r\nb CHECK\nc noop\r\nd CAPABI");
    script.send("LITY\r\n");
    assert_snapshot!(script.transcript);
}

#[test]
fn idle() {
    let mut script = Script::selected(config());
    script.send("a IDLE\r\n");
    assert!(script.session.is_idle());
    response::exists(script.session.output(), 3);
    script.play();
    script.send("DO").send("NE\r\nb NOOP\r\nc IDLE\r\n").send("done\r\n").send("d IDLE\r\ne NOOP\r\nf NOOP\r\n");
    assert!(!script.session.is_idle());
    assert_snapshot!(script.transcript);
}

#[test]
fn append() {
    let mut script = Script::logged_in(patient());
    script.send("a APPEND INBOX {5}\r\n").send("hello\r\n");
    script.send("b APPEND \"Entw&APw-rfe\" (\\Seen $Forwarded) \"26-Nov-2026 10:00:00 -0130\" {3+}\r\nabc\r\n");
    script.send("c APPEND {5}\r\n").send("INBOX (\\Seen) ~{3}\r\n").send("a\0b\r\n");
    script.send("d APPEND x {3+}\r\none (\\Draft) {3}\r\n").send("two {5+}\r\nthree\r\n");
    script.send("e APPEND x CATENATE (URL \"/INBOX;UIDVALIDITY=1/;UID=2\" TEXT {3+}\r\nabc TEXT {0}\r\n").send(")\r\n");
    script.send("f APPEND x UTF8 (~{3+}\r\nabc)\r\n").send("g APPEND x \" 1-Jan-1970 00:00:00 +0000\" {1+}\r\nx\r\n");
    assert_snapshot!(script.transcript);
}

#[test]
fn messages_that_are_refused() {
    let mut script = Script::logged_in(patient());
    let message = "x".repeat(1001);
    script.send("a APPEND x {1001}\r\n").send(format!("b APPEND x {{1001+}}\r\n{message}\r\nb2 NOOP\r\n"));
    script
        .send("c APPEND x {99999999999999999999}\r\n")
        .send("d APPEND x {0}\r\n")
        .send("e APPEND x {3+}\r\na\0b\r\ne2 NOOP\r\n");
    script.refusal = Some(Status::refusal(Code::OverQuota, "There is no room"));
    script.send("f APPEND x {5}\r\n").send("f2 NOOP\r\n");
    script.refusal = Some(Status::refusal(Code::OverQuota, "There is no room"));
    script.send("g APPEND x {5+}\r\na NOO (\\Seen) {8+}\r\na NOOP\r\n {3}\r\n").send("g2 NOOP\r\n");
    script
        .send("h APPEND x (\\Foo) {5}\r\n")
        .send("i APPEND x (\\Recent) {5+}\r\nhello\r\n")
        .send("j APPEND x {5} \r\n");
    script
        .send("k APPEND x {5+}\r\nhello{5+}\r\nhello\r\n")
        .send("l NOOP {5+}\r\nhello\r\n")
        .send("m APPEND x hello\r\n");
    let part = "x".repeat(900);
    script.send(format!("n APPEND x {{900+}}\r\n{part} {{900+}}\r\n{part} {{900+}}\r\n{part}\r\n"));
    assert_snapshot!(script.transcript);
}

#[test]
fn what_is_too_long() {
    let config = patient();
    let limits = Limits {
        line_bytes_max: 100,
        literal_bytes_max: 20,
        command_bytes_max: 120,
        literals_max: 3,
        discarded_bytes_max: 1000,
        ..config.limits.clone()
    };
    let mut script = Script::logged_in(ServerConfig { limits, ..config });
    let long = "x".repeat(200);
    script.send(format!("a LIST \"\" {long}\r\n")).send("b NOOP\r\n");
    script.send(format!("c LIST \"\" {long}")).send(&long).send("\r\n");
    script.send(format!("d LIST \"\" {long}")).send(&long).send("{6+}\r\nd NOOP\r\n").send("d2 NOOP\r\n");
    script.send("e SELECT {21}\r\n").send("f SELECT {21+}\r\n123456789012345678901\r\n");
    script.send("g RENAME {3+}\r\nabc {20+}\r\n12345678901234567890\r\n");
    script.send(format!(
        "h ID ({{9+}}\r\n123456789 {{9+}}\r\n123456789 \"{}\" {{9+}}\r\n123456789 NIL)\r\n",
        "x".repeat(70)
    ));
    script.send("i ID ({1+}\r\na {1+}\r\nb {1+}\r\nc {1+}\r\nd)\r\n");
    script.send("j APPEND x {1001+}\r\n").send("k NOOP\r\n");
    assert!(script.session.is_closed());
    assert_snapshot!(script.transcript);
}

#[test]
fn errors_have_a_limit() {
    let config = config();
    let limits = Limits { errors_max: 2, ..config.limits.clone() };
    let mut script = Script::selected(ServerConfig { limits, ..config });
    script.lines(&["a FROB", "b FROB", "c NOOP", "d FROB", "e FROB", "f FROB", "g NOOP"]);
    assert!(script.session.is_closed());
    assert_snapshot!(script.transcript);
}

#[test]
fn a_driver_may_end_a_session_at_any_time() {
    let mut script = Script::selected(config());
    script.send("a APPEND x {5}\r\n").close(&Status::bye("The server is about to stop"));
    let mut idle = Script::selected(config());
    idle.send("a IDLE\r\n").close(&Status::bye("Idle for too long")).send("DONE\r\n");
    assert_snapshot!(format!("{}-- idle --\n{}", script.transcript, idle.transcript));
}

#[test]
fn names_follow_what_is_enabled() {
    let mut script = Script::logged_in(patient());
    script.lines(&[
        "a SELECT inBOX",
        "b SELECT \"Entw&APw-rfe\"",
        "c SELECT \"Entwürfe\"",
        "d SELECT \"A & B\"",
        "e SELECT &-",
    ]);
    script.lines(&[
        "f ENABLE UTF8=ACCEPT foo condstore",
        "g SELECT \"Entw&APw-rfe\"",
        "h SELECT \"Entwürfe\"",
        "i SELECT &-",
    ]);
    script.send(b"j SELECT \"\xff\"\r\n").send("k SELECT \"a\u{7}\"\r\n").send("l SELECT \"\u{85}\"\r\n");
    assert!(script.session.dialect().is_utf8());
    assert_snapshot!(script.transcript);
}
