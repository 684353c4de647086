//! However the bytes are cut, the same comes of them.

use std::time::Instant;

use crate::script::{Script, config, patient};
use postrider_wire::imap::server::Limits;

const SESSION: &str = "a SELECT INBOX\r\nb APPEND x (\\Seen) {5}\r\nhello {3+}\r\nabc\r\nc SEARCH SUBJECT {3+}\r\nabc TEXT \"x\"\r\n\
    d LIST \"\" {1}\r\n*\r\ne FROB {5+}\r\nhello {3+}\r\nabc\r\nf APPEND x {1001+}\r\n";

#[test]
fn byte_by_byte() {
    let mut session = SESSION.to_owned();
    session.push_str(&"x".repeat(1001));
    session.push_str("\r\ng IDLE\r\nDONE\r\n");
    session.push_str(&format!("h LIST \"\" {}\r\ni NOOP\r\n", "x".repeat(70_000)));
    let mut whole = Script::logged_in(patient());
    whole.send(&session);
    assert_eq!(whole.commands.len(), 5, "{:?}", whole.commands);
    for piece_bytes in [1, 2, 3, 7, 64, 1000] {
        let mut pieces = Script::logged_in(patient());
        for piece in session.as_bytes().chunks(piece_bytes) {
            pieces.send(piece);
        }
        assert_eq!(String::from_utf8_lossy(&pieces.said), String::from_utf8_lossy(&whole.said));
        assert_eq!(pieces.commands, whole.commands);
        assert_eq!(pieces.session.held_bytes(), 0);
    }
}

#[test]
fn a_literal_is_held_as_it_comes() {
    let mut script = Script::logged_in(patient());
    script.send("a APPEND x {900+}\r\n");
    assert!(script.session.held_bytes() < 100);
    script.send("x".repeat(500));
    assert!((500..600).contains(&script.session.held_bytes()));
    assert!(script.session.is_amid_command());
    script.send("x".repeat(400)).send("\r\n");
    assert_eq!(script.session.held_bytes(), 0);
    assert!(!script.session.is_amid_command());
}

/// A burst that took time by the square of its length would take minutes.
#[test]
fn a_long_burst_takes_no_longer_for_each_command() {
    let mut script = Script::selected(config());
    let burst: String = (0..100_000).map(|number| format!("{number} NOOP\r\n")).collect();
    script.input.extend_from_slice(burst.as_bytes());
    let begin = Instant::now();
    script.play();
    assert_eq!(script.commands.len(), 100_000);
    assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
}

#[test]
fn many_messages_in_one_append() {
    let mut config = patient();
    config.limits = Limits { append_bytes_max: 1 << 20, ..config.limits };
    let mut script = Script::logged_in(config);
    let messages = " {5+}\r\nhello".repeat(1000);
    script.send(format!("a APPEND x{messages}\r\n"));
    assert!(script.said.ends_with(b"a OK Done\r\n"), "{}", String::from_utf8_lossy(&script.said));
}
