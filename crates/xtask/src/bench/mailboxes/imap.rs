//! An IMAP client that does nothing with what it reads but count it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Nothing that is still alive is this quiet.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Of a client that reads a lot.
pub(super) const LARGE_BUFFER_BYTES: usize = 256 * 1024;
/// Of a client that only waits.
pub(super) const SMALL_BUFFER_BYTES: usize = 512;

/// What a command was answered with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// From sending the command to having read the tagged line.
    pub(super) took: Duration,
    /// Untagged FETCH responses.
    pub(super) fetched: u64,
    /// Messages that SEARCH names.
    pub(super) found: u64,
    /// What EXISTS said last.
    pub(super) exists: u64,
    /// Of literals.
    pub(super) literal_bytes: u64,
    /// Of everything.
    pub(super) bytes: u64,
}

pub(super) struct Client<S = TcpStream> {
    stream: BufReader<S>,
    line: Vec<u8>,
    tag: u64,
}

impl Client {
    /// Reads the greeting of a connection that is open.
    pub(super) fn greeted(stream: TcpStream, buffer_bytes: usize) -> Result<Self, String> {
        let refuse = |error: std::io::Error| format!("IMAP: {error}");
        stream.set_nodelay(true).map_err(refuse)?;
        stream.set_read_timeout(Some(STALL_TIMEOUT)).map_err(refuse)?;
        let mut client = Self { stream: BufReader::with_capacity(buffer_bytes, stream), line: Vec::new(), tag: 0 };
        client.read_line().map_err(refuse)?;
        if client.line.starts_with(b"* OK") {
            Ok(client)
        } else {
            Err(format!("IMAP: greeted with {}", client.shown()))
        }
    }

    pub(super) fn log_in(&mut self, user: &str, password: &str) -> Result<(), String> {
        self.command(&format!("LOGIN {user} {password}")).map(drop)
    }

    /// Sends a command and reads until it is done.
    pub(super) fn command(&mut self, text: &str) -> Result<Answer, String> {
        self.tag += 1;
        let tag = format!("a{} ", self.tag);
        let exchange = |client: &mut Self| {
            let started = Instant::now();
            client.send(&format!("{tag}{text}\r\n"))?;
            let mut answer = client.read_answer(tag.as_bytes())?;
            answer.took = started.elapsed();
            Ok::<_, std::io::Error>(answer)
        };
        let answer = exchange(self).map_err(|error| format!("IMAP: {text}: {error}"))?;
        let is_ok = self.line.get(tag.len()..).is_some_and(|rest| rest.starts_with(b"OK"));
        if is_ok { Ok(answer) } else { Err(format!("IMAP: {text}: {}", self.shown())) }
    }

    /// Begins IDLE (RFC 2177).
    pub(super) fn idle(&mut self) -> Result<(), String> {
        self.send("idle IDLE\r\n").and_then(|()| self.read_line()).map_err(|error| format!("IMAP: IDLE: {error}"))?;
        if self.line.starts_with(b"+") { Ok(()) } else { Err(format!("IMAP: IDLE: {}", self.shown())) }
    }

    /// Reads, in IDLE, until a number of messages is announced. `None`: not within this time.
    pub(super) fn announced(&mut self, within: Duration) -> Option<u64> {
        self.stream.get_ref().set_read_timeout(Some(within)).ok()?;
        loop {
            self.read_line().ok()?;
            if let Some(exists) = number_before(&self.line, b"EXISTS") {
                return Some(exists);
            }
        }
    }

    fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())
    }
}

impl<S: Read> Client<S> {
    fn read_answer(&mut self, tag: &[u8]) -> std::io::Result<Answer> {
        let mut answer = Answer::default();
        loop {
            self.read_line()?;
            if self.line.starts_with(tag) {
                answer.bytes += self.line.len() as u64;
                return Ok(answer);
            }
            if number_before(&self.line, b"FETCH").is_some() {
                answer.fetched += 1;
            } else if let Some(exists) = number_before(&self.line, b"EXISTS") {
                answer.exists = exists;
            } else if let Some(found) = self.line.strip_prefix(b"* SEARCH") {
                answer.found =
                    found.split(|byte| *byte == b' ').skip(1).filter(|word| word[0].is_ascii_digit()).count() as u64;
            }
            answer.bytes += self.line.len() as u64;
            // A response goes on behind each of its literals (RFC 9051 4.3).
            while let Some(literal_bytes) = announced_literal(&self.line) {
                self.skip(literal_bytes)?;
                answer.literal_bytes += literal_bytes;
                self.read_line()?;
                answer.bytes += literal_bytes + self.line.len() as u64;
            }
        }
    }

    /// The next line, in place of the last one.
    fn read_line(&mut self) -> std::io::Result<()> {
        self.line.clear();
        match self.stream.read_until(b'\n', &mut self.line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn skip(&mut self, bytes: u64) -> std::io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let read = self.stream.fill_buf()?.len();
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(read);
            self.stream.consume(taken);
            left -= taken as u64;
        }
        Ok(())
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.line).trim_end().to_owned()
    }
}

/// The number of `* 12 EXISTS`, or of `* 12 FETCH (...`.
fn number_before(line: &[u8], name: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"* ")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let after = rest.get(digits..)?.strip_prefix(b" ")?.strip_prefix(name)?;
    if !matches!(after.first(), Some(b' ' | b'\r')) {
        return None;
    }
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// The length of the literal that a line announces at its end.
fn announced_literal(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"}\r\n")?;
    let start = line.iter().rposition(|byte| *byte == b'{')?;
    std::str::from_utf8(&line[start + 1..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> (Answer, String) {
        let mut client = Client { stream: BufReader::with_capacity(16, text.as_bytes()), line: Vec::new(), tag: 1 };
        let answer = client.read_answer(b"a1 ").unwrap();
        (answer, client.shown())
    }

    #[test]
    fn counts_responses_and_literals() {
        let text = "* 2 FETCH (BODY[] {12}\r\n* 9 EXISTS\r\n)\r\n* 3 FETCH (X {1}\r\na BODY[] {4}\r\na1 O UID 7)\r\na1 OK done\r\n";
        let (answer, last) = read(text);
        assert_eq!((answer.fetched, answer.literal_bytes, answer.exists), (2, 17, 0));
        assert_eq!(answer.bytes, text.len() as u64);
        assert_eq!(last, "a1 OK done");
    }

    #[test]
    fn counts_what_was_found() {
        assert_eq!(read("* SEARCH 2 30 400\r\n* 7 EXISTS\r\na1 OK\r\n").0.found, 3);
        assert_eq!(read("* SEARCH\r\na1 OK\r\n").0.found, 0);
        assert_eq!(read("* 7 EXISTS\r\n* 0 RECENT\r\na1 OK\r\n").0.exists, 7);
    }
}
