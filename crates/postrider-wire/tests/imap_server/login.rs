//! How a session begins: what is offered, TLS, LOGIN and AUTHENTICATE.

use crate::script::{Script, config, patient, tls};
use insta::assert_snapshot;
use postrider_wire::imap::server::{AuthPolicy, Limits, ServerConfig};

#[test]
fn a_session_from_greeting_to_logout() {
    let mut script = Script::with_tls(config(), Some(tls()));
    script.lines(&["a CAPABILITY", "b ID (\"name\" \"x\" \"version\" NIL)", "c LOGIN user \"pencil\"", "d CAPABILITY"]);
    script.lines(&[
        "e NAMESPACE",
        "f SELECT INBOX",
        "g CLOSE",
        "h COMPRESS DEFLATE",
        "i CAPABILITY",
        "j LOGOUT",
        "k NOOP",
    ]);
    assert!(script.session.is_closed());
    assert_snapshot!(script.transcript);
}

#[test]
fn passwords_need_privacy() {
    let mut script = Script::new(config());
    script.lines(&["a LOGIN user pencil", "b LOGIN {4}", "c AUTHENTICATE PLAIN AHVzZXIAcGVuY2ls", "d STARTTLS now"]);
    script.send("e STARTTLS\r\nf LOGIN slipped in\r\n");
    script.lines(&["g STARTTLS", "h CAPABILITY", "i LOGIN {4}", "user {6+}", "pencil", "j STARTTLS"]);
    assert_snapshot!(script.transcript);
}

#[test]
fn login_where_nobody_can() {
    let mut script = Script::new(ServerConfig { auth: AuthPolicy::Never, starttls: false, ..config() });
    script.lines(&["a CAPABILITY", "b LOGIN user pencil", "c STARTTLS"]);
    assert_snapshot!(script.transcript);
}

#[test]
fn mechanisms() {
    let mut script = Script::with_tls(patient(), Some(tls()));
    script.lines(&[
        "a AUTHENTICATE PLAIN",
        "*",
        "b AUTHENTICATE PLAIN",
        "!",
        "c AUTHENTICATE PLAIN =",
        "d AUTHENTICATE X",
    ]);
    script.lines(&["e AUTHENTICATE", "f AUTHENTICATE PLAIN !", "g AUTHENTICATE LOGIN", "dXNlcg==", "d3Jvbmc="]);
    script.lines(&[
        "h AUTHENTICATE PLAIN",
        "AHVubHVja3kAcGVuY2ls",
        "i AUTHENTICATE SCRAM-SHA-256 bixhPSxuPXVubHVja3kscj14",
    ]);
    let too_long = "x".repeat(20_000);
    script.lines(&[
        "j AUTHENTICATE PLAIN",
        &too_long,
        "k AUTHENTICATE LOGIN",
        "dXNlcg==",
        "cGVuY2ls",
        "l LOGIN user pencil",
    ]);
    assert_snapshot!(script.transcript);
}

#[test]
fn plain_with_its_initial_response() {
    let mut script = Script::with_tls(config(), Some(tls()));
    script.send("a authenticate plain AHVzZXIAcGVuY2ls\r\nb SELECT INBOX\r\n");
    assert_eq!(script.session.user(), Some("user"));
    assert_snapshot!(script.transcript);
}

#[test]
fn failed_logins_have_a_limit() {
    let config = config();
    let limits = Limits { login_failures_max: 2, ..config.limits.clone() };
    let mut script = Script::with_tls(ServerConfig { limits, ..config }, Some(tls()));
    script.lines(&[
        "a LOGIN user wrong",
        "b LOGIN unlucky x",
        "c LOGIN user wrong",
        "d LOGIN user wrong",
        "e LOGIN user pencil",
    ]);
    assert!(script.session.is_closed());
    assert_snapshot!(script.transcript);
}

#[test]
fn http_is_cut_off_before_its_body() {
    let mut script = Script::new(config());
    script.send("POST / HTTP/1.1\r\nHost: mail.example.org\r\n\r\na LOGIN user pencil\r\n");
    assert!(script.session.is_closed());
    assert_snapshot!(script.transcript);
}
