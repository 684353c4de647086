//! An IMAP session that is logged in, with a mailbox selected, and accepts everything, fed with anything: in one piece, and
//! cut at a place that the first byte tells. Both must end alike.

use std::sync::Arc;

use bytes::BytesMut;
use postrider_wire::imap::command::{AppendData, Command, CommandBody, Extension, LiteralKind};
use postrider_wire::imap::response::Status;
use postrider_wire::imap::sequence::MessageSet;
use postrider_wire::imap::server::{AuthPolicy, Event, Limits, ServerConfig, Session, TlsFacts, Verdict};

const MESSAGE_BYTES_MAX: usize = 1000;
const APPEND_BYTES_MAX: usize = 2000;
const COMMAND_BYTES_MAX: usize = 2000;

/// What came of the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    said: Vec<u8>,
    commands: Vec<Command>,
}

pub(crate) fn run(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let (one, two) = data.split_at(usize::from(first).min(data.len()));
    let whole = outcome(&[data]);
    assert_eq!(outcome(&[one, two]), whole, "a cut changes what is understood");
    for line in whole.said.split_inclusive(|&b| b == b'\n') {
        let text = line.strip_suffix(b"\r\n").expect("every line of a response ends with CRLF");
        assert!(!text.iter().any(u8::is_ascii_control), "nothing in a line can break out of it");
    }
}

fn outcome(pieces: &[&[u8]]) -> Outcome {
    let limits = Limits {
        message_bytes_max: MESSAGE_BYTES_MAX,
        append_bytes_max: APPEND_BYTES_MAX,
        command_bytes_max: COMMAND_BYTES_MAX,
        line_bytes_max: 500,
        literal_bytes_max: 500,
        discarded_bytes_max: 10_000,
        errors_max: 1000,
        ..Limits::default()
    };
    let config =
        ServerConfig { starttls: true, compress: true, auth: AuthPolicy::Always, limits, ..ServerConfig::new("x") };
    let mut session = Session::new(Arc::new(config), None);
    let mut outcome = Outcome::default();
    let mut input = BytesMut::from(&b"0 LOGIN user password\r\n0 SELECT INBOX\r\n"[..]);
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(event) = session.next_event(&mut input) {
            answer(&mut session, event, &mut input, &mut outcome.commands);
        }
        let held_bytes_max = APPEND_BYTES_MAX + COMMAND_BYTES_MAX;
        assert!(session.held_bytes() <= held_bytes_max, "more is held than may be sent");
        outcome.said.extend_from_slice(&std::mem::take(session.output()));
    }
    outcome
}

fn answer(session: &mut Session, event: Event, input: &mut BytesMut, commands: &mut Vec<Command>) {
    match event {
        Event::Command(command) => {
            check(&command);
            match &command.body {
                CommandBody::Select(_) => session.set_selected(true),
                CommandBody::Close | CommandBody::Unselect => session.set_selected(false),
                CommandBody::Enable(extensions) if extensions.contains(&Extension::Utf8Accept) => {
                    session.enable(&Extension::Utf8Accept);
                }
                _ => {}
            }
            commands.push(command);
            session.finish(&Status::ok("Done"));
        }
        Event::Literal(offer) => {
            assert!(offer.bytes <= MESSAGE_BYTES_MAX as u64);
            // Some are refused.
            let refused = offer.bytes % 7 == 3;
            session.respond(if refused { Verdict::Reject(Status::UNAVAILABLE) } else { Verdict::Accept });
        }
        Event::AuthPassword { .. } => session.respond(Verdict::Accept),
        Event::ScramLookup { .. } => session.scram_keys(None),
        Event::IdleDone => session.finish(&Status::IDLE_DONE),
        Event::StartTls => session.tls_started(TlsFacts::default(), input),
        Event::Compress => session.compression_started(),
        _ => {}
    }
}

/// What the types promise.
fn check(command: &Command) {
    assert!(!command.tag.is_empty() && command.tag.bytes().all(|b| b.is_ascii_graphic()));
    match &command.body {
        CommandBody::Select(select) => check_name(&select.mailbox),
        CommandBody::Rename { from, to } => {
            check_name(from);
            check_name(to);
        }
        CommandBody::List(list) => {
            assert!(!list.patterns.is_empty());
            list.patterns.iter().for_each(|pattern| check_name(pattern));
        }
        CommandBody::Append(append) => {
            check_name(&append.mailbox);
            assert!(!append.messages.is_empty());
            for message in &append.messages {
                if let AppendData::Message { bytes, kind } = &message.data {
                    assert!(!bytes.is_empty() && bytes.len() <= MESSAGE_BYTES_MAX);
                    assert!(*kind != LiteralKind::Plain || !bytes.contains(&0));
                }
            }
        }
        CommandBody::Fetch(fetch) => {
            assert!(!fetch.items.is_empty());
            if let MessageSet::Set(set) = &fetch.set {
                let numbers = set.resolve(10);
                assert!(numbers.ranges().iter().all(|range| *range.start() > 0 && !range.is_empty()));
                assert!(numbers.ranges().is_sorted_by(|one, next| one.end() + 1 < *next.start()));
            }
        }
        _ => {}
    }
}

fn check_name(name: &str) {
    assert!(!name.contains(char::is_control));
}
