//! Delivery by LMTP over several connections that stay open, as an MTA does it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::mail::Writer;
use super::server::user;

/// Nothing that is still alive is this quiet.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Delivers messages `first` and on over `connections` connections to `users` users in turn. Returns how long it took,
/// without the writing of the messages.
pub(super) fn deliver(port: u16, first: u64, messages: u64, connections: u64, users: u64) -> Result<Duration, String> {
    let connections = connections.min(messages);
    let writer = Writer::new();
    let mut lanes = Vec::new();
    for lane in 0..connections {
        let mails = (first + lane..first + messages).step_by(usize::try_from(connections).unwrap_or(1));
        let mails: Vec<Mail> =
            mails.map(|number| Mail { recipient: user(number % users), text: writer.message(number) }).collect();
        lanes.push((Connection::open(port)?, mails));
    }
    let started = Instant::now();
    std::thread::scope(|scope| {
        let lanes: Vec<_> = lanes
            .into_iter()
            .map(|(mut connection, mails)| scope.spawn(move || mails.iter().try_for_each(|mail| connection.send(mail))))
            .collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| "a connection's thread panicked".to_owned())?)
    })?;
    Ok(started.elapsed())
}

/// A message and who gets it.
pub(super) struct Mail {
    pub(super) recipient: String,
    pub(super) text: Vec<u8>,
}

pub(super) struct Connection {
    input: BufReader<TcpStream>,
    output: TcpStream,
    line: String,
}

impl Connection {
    pub(super) fn open(port: u16) -> Result<Self, String> {
        Self::greeted(port).map_err(|error| format!("LMTP: {error}"))
    }

    fn greeted(port: u16) -> std::io::Result<Self> {
        let output = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        output.set_nodelay(true)?;
        output.set_read_timeout(Some(STALL_TIMEOUT))?;
        let mut connection = Self { input: BufReader::new(output.try_clone()?), output, line: String::new() };
        connection.expect("220")?;
        connection.output.write_all(b"LHLO source.example\r\n")?;
        connection.expect("250")?;
        Ok(connection)
    }

    /// One transaction; its commands are sent together (RFC 2920).
    pub(super) fn send(&mut self, mail: &Mail) -> Result<(), String> {
        self.transact(mail).map_err(|error| format!("LMTP: {error}"))
    }

    fn transact(&mut self, mail: &Mail) -> std::io::Result<()> {
        let commands = format!("MAIL FROM:<sender@source.example>\r\nRCPT TO:<{}>\r\nDATA\r\n", mail.recipient);
        self.output.write_all(commands.as_bytes())?;
        for code in ["250", "250", "354"] {
            self.expect(code)?;
        }
        let mut data = Vec::with_capacity(mail.text.len() + 3);
        data.extend_from_slice(&mail.text);
        data.extend_from_slice(b".\r\n");
        self.output.write_all(&data)?;
        self.expect("250")
    }

    /// Reads one reply, of one line or of several.
    fn expect(&mut self, code: &str) -> std::io::Result<()> {
        loop {
            self.line.clear();
            if self.input.read_line(&mut self.line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if !self.line.starts_with(code) {
                return Err(std::io::Error::other(format!("not {code} but {}", self.line.trim_end())));
            }
            if self.line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}
