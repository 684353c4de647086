//! A server session, of SMTP and of LMTP, that accepts everything, fed with anything, cut at a place that the first byte tells.

use std::sync::Arc;

use bytes::BytesMut;
use postrider_wire::smtp::server::{AuthPolicy, Event, Limits, ServerConfig, Session, TlsFacts, Verdict};

const MESSAGE_BYTES_MAX: usize = 1000;

pub(crate) fn run(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let pieces = data.split_at(usize::from(first).min(data.len()));
    let limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX, errors_max: 1000, ..Limits::default() };
    let smtp = ServerConfig {
        starttls: true,
        auth: AuthPolicy::Always,
        limits: limits.clone(),
        ..ServerConfig::new("mx.example.org")
    };
    let lmtp = ServerConfig { limits, ..ServerConfig::lmtp("mx.example.org") };
    [smtp, lmtp].into_iter().for_each(|config| converse(config, pieces.into()));
}

fn converse(config: ServerConfig, pieces: [&[u8]; 2]) {
    let mut session = Session::new(Arc::new(config), None);
    let mut said = Vec::new();
    let mut input = BytesMut::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(event) = session.next_event(&mut input) {
            answer(&mut session, event, &mut input);
        }
        assert!(session.message_bytes() <= MESSAGE_BYTES_MAX, "more is held than may be sent");
        said.extend_from_slice(&std::mem::take(session.output()));
    }
    for line in said.split_inclusive(|&b| b == b'\n') {
        let text = line.strip_suffix(b"\r\n").expect("every line of a reply ends with CRLF");
        assert!(text.len() > 3 && text[..3].iter().all(u8::is_ascii_digit), "every line has a code");
        assert!(!text.iter().any(u8::is_ascii_control), "nothing in a line can break out of it");
    }
}

fn answer(session: &mut Session, event: Event, input: &mut BytesMut) {
    match event {
        Event::Mail(mail) => {
            assert!(!mail.reverse_path.contains(char::is_control));
            session.respond(Verdict::Accept);
        }
        Event::Recipient(rcpt) => {
            assert!(!rcpt.forward_path.is_empty() && !rcpt.forward_path.contains(char::is_control));
            session.respond(Verdict::Accept);
        }
        Event::DataStart => session.begin_message(BytesMut::new()),
        Event::Message { raw, .. } => {
            assert!(raw.len() <= MESSAGE_BYTES_MAX && !raw.contains(&0));
            session.respond(Verdict::Accept);
        }
        Event::Hello { .. } | Event::AuthPassword { .. } => session.respond(Verdict::Accept),
        Event::ScramLookup { .. } => session.scram_keys(None),
        Event::StartTls => session.tls_started(TlsFacts::default(), input),
        _ => {}
    }
}
