//! Handing mail in, each message to an address of its own choice.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::bench::load::PAYLOAD_BYTES;

/// Sessions that hand in at once.
const SESSIONS: usize = 16;

/// Nothing that is still alive is this quiet.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hands in one message to `recipient` for each, over sessions that stay open.
pub(super) fn send(port: u16, recipients: &[Ipv4Addr]) -> Result<(), String> {
    let message = message();
    std::thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|n| {
                let own = recipients.iter().skip(n).step_by(SESSIONS);
                let message = &message;
                scope.spawn(move || session(port, own, message))
            })
            .collect();
        sessions.into_iter().try_for_each(|session| {
            let sent = session.join().map_err(|_| "a session panicked".to_owned())?;
            sent.map_err(|error| format!("handing mail in: {error}"))
        })
    })
}

fn session<'a>(port: u16, recipients: impl Iterator<Item = &'a Ipv4Addr>, message: &[u8]) -> std::io::Result<()> {
    let mut session = Session::open(port)?;
    for recipient in recipients {
        session.send(&format!("recipient@[{recipient}]"), message)?;
    }
    session.stream.write_all(b"QUIT\r\n")
}

/// A session that stays open.
pub(in crate::bench) struct Session {
    stream: TcpStream,
    input: BufReader<TcpStream>,
}

impl Session {
    pub(in crate::bench) fn open(port: u16) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut input = BufReader::new(stream.try_clone()?);
        expect(&mut input, "220")?;
        stream.write_all(b"EHLO source.example\r\n")?;
        expect(&mut input, "250")?;
        Ok(Self { stream, input })
    }

    /// Hands in a message, which has the end of data.
    pub(in crate::bench) fn send(&mut self, recipient: &str, message: &[u8]) -> std::io::Result<()> {
        let envelope = format!("MAIL FROM:<sender@source.example>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n");
        self.stream.write_all(envelope.as_bytes())?;
        for code in ["250", "250", "354"] {
            expect(&mut self.input, code)?;
        }
        self.stream.write_all(message)?;
        expect(&mut self.input, "250")
    }
}

/// Reads one reply.
fn expect(input: &mut impl BufRead, code: &str) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        if !line.starts_with(code) {
            return Err(std::io::Error::other(format!("{line:?} instead of {code}")));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}

/// As large as those of smtp-source, with the end of data.
fn message() -> Vec<u8> {
    let mut message = b"From: <sender@source.example>\r\nSubject: measured\r\n\r\n".to_vec();
    let line = [b'x'; 78];
    while (message.len() as u64) < PAYLOAD_BYTES {
        message.extend_from_slice(&line);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b".\r\n");
    message
}
