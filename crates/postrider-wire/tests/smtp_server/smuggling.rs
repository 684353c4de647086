//! Hostile bytes: no line end but the right one ends anything, cuts by the network change nothing, garbage breaks nothing.

use crate::script::{Script, config};
use postrider_wire::smtp::server::{AuthPolicy, Limits, ServerConfig, Session};
use proptest::prelude::*;

/// Ends of data that some server somewhere has believed in.
const FALSE_ENDS: &[&str] = &[
    "\n.\n",
    "\n.\r\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\n",
    "\r\n.\r",
    "\r\r\n.\r\r\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\n\r.\n\r",
    "\r\n.\r\r\n",
];

#[test]
fn a_false_end_never_yields_a_second_message() {
    for end in FALSE_ENDS {
        for repair_line_ends in [false, true] {
            let mut script = Script::new(ServerConfig { repair_line_ends, ..config() });
            script.begin().lines(&["DATA"]);
            script.send(format!("one{end}MAIL FROM:<evil@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\ntwo\r\n.\r\n"));
            let accepted = usize::from(repair_line_ends && !end.contains('\0'));
            assert_eq!(script.messages.len(), accepted, "{end:?}");
            assert!(!script.transcript.contains("evil@x>\"") && !script.transcript.contains("\"evil"), "{end:?}");
            let code = if accepted == 1 { "250" } else { "550" };
            assert!(script.last_reply().starts_with(code), "{end:?} got {}", script.last_reply());
        }
    }
}

#[test]
fn a_bare_line_end_hides_no_command() {
    for end in ["\n", "\r", "\n\r", "\r\r", "\0"] {
        let mut script = Script::new(config());
        script.lines(&["EHLO client.example"]);
        script.send(format!("NOOP{end}MAIL FROM:<evil@x>\r\n"));
        assert!(script.last_reply().starts_with("500 5.5.2"), "{end:?}");
        script.send("RCPT TO:<b@c>\r\n");
        assert!(script.last_reply().starts_with("503"), "{end:?}");
    }
}

#[test]
fn ten_thousand_recipients() {
    let mut script = Script::new(config());
    script.lines(&["EHLO client.example", "MAIL FROM:<a@b>"]);
    script.send("RCPT TO:<c@d>\r\n".repeat(10_000));
    let said = String::from_utf8(script.said.clone()).expect("replies are ASCII");
    assert_eq!(said.matches("250 2.1.5").count(), 1000);
    assert_eq!(said.matches("452 4.5.3").count(), 9000);
    assert!(!script.session.is_closed());
}

#[test]
fn endless_data_ends_the_session() {
    let limits = Limits { message_bytes_max: 100, discarded_bytes_max: 1000, ..Limits::default() };
    let mut script = Script::new(ServerConfig { limits, ..config() });
    script.begin().lines(&["DATA"]);
    for _ in 0..1200 {
        script.send("x");
        assert!(script.session.message_bytes() <= 100 + crate::script::PREFIX.len());
    }
    assert!(script.session.is_closed());
    assert!(script.said.ends_with(b"421 4.3.4 Message is far too large, closing\r\n"));
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 512, "{}", size_of::<Session>());
    let mut script = Script::new(config());
    script.begin().lines(&["DATA", "x", "."]);
    assert_eq!(script.session.message_bytes(), 0);
    // The driver cleared the output but kept what it had grown to.
    script.session.output().extend_from_slice(&[b'x'; 10_000]);
    script.session.output().clear();
    script.send("");
    assert!(script.session.output().capacity() <= 512);
}

/// Lines that lead deep into a session, and some that do not.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => Just(&b"EHLO x\r\n"[..]),
        4 => Just(&b"MAIL FROM:<a@b>\r\n"[..]),
        4 => Just(&b"RCPT TO:<c@d>\r\n"[..]),
        3 => Just(&b"DATA\r\n"[..]),
        3 => Just(&b"BDAT 3\r\n"[..]),
        2 => Just(&b"BDAT 5 LAST\r\n"[..]),
        1 => Just(&b"AUTH LOGIN\r\n"[..]),
        1 => Just(&b"AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9YWJj\r\n"[..]),
        1 => Just(&b"dXNlcg==\r\n"[..]),
        1 => Just(&b"RSET\r\n"[..]),
        4 => Just(&b"\r\n.\r\n"[..]),
        2 => Just(&b"abc"[..]),
        1 => Just(&b"NOOP xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"[..]),
        1 => Just(&b"\n"[..]),
        1 => Just(&b"\r"[..]),
        1 => Just(&b"\0"[..]),
        1 => Just(&b"\xff"[..]),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

fn played(input: &[u8], cuts: &[prop::sample::Index]) -> Script {
    let limits = Limits { message_bytes_max: 40, command_line_bytes_max: 40, ..Limits::default() };
    let mut script = Script::new(ServerConfig { auth: AuthPolicy::Always, limits, ..config() });
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(input.len());
    let mut start = 0;
    for cut in cuts {
        script.send(&input[start..cut]);
        start = cut;
    }
    script
}

/// What the server said, with nonces taken out.
fn said(script: &Script) -> Vec<String> {
    let text = String::from_utf8(script.said.clone()).expect("replies are UTF-8");
    text.split_inclusive("\r\n")
        .map(|line| if line.starts_with("334 cj") { "334 nonce\r\n" } else { line }.to_owned())
        .collect()
}

proptest! {
    #[test]
    fn cuts_change_nothing(input in words(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10)) {
        let (whole, cut) = (played(&input, &[]), played(&input, &cuts));
        prop_assert_eq!(said(&whole), said(&cut));
        prop_assert_eq!(whole.messages, cut.messages);
    }

    #[test]
    fn garbage_breaks_nothing(pieces in proptest::collection::vec(prop_oneof![words(), proptest::collection::vec(any::<u8>(), 0..50)], 0..20)) {
        let mut script = Script::new(ServerConfig { auth: AuthPolicy::Always, ..config() });
        for piece in pieces {
            script.send(piece);
        }
        for line in said(&script) {
            prop_assert!(line.ends_with("\r\n"), "{:?}", line);
            prop_assert!(line.as_bytes()[..3].iter().all(u8::is_ascii_digit), "{:?}", line);
            prop_assert!(!line[..line.len() - 2].contains(char::is_control), "{:?}", line);
        }
    }
}
