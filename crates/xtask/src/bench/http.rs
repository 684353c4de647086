//! HTTP, enough to time an API on loopback: one GET, and a connection that stays open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(60);

/// What an answer's head may have, in bytes.
const HEAD_BYTES_MAX: u64 = 16 * 1024;

/// Returns the JSON of a 200 answer, and the time from connecting to its last byte.
pub(crate) fn get(port: u16, path: &str, token: &str) -> Result<(Value, Duration), String> {
    let started = Instant::now();
    // The answer ends with the connection.
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n");
    let answer = Connection::open(port).and_then(|mut connection| connection.exchange(&request));
    let body = answer.and_then(|answer| answer.of(200)).map_err(|why| format!("GET {path}: {why}"))?;
    let took = started.elapsed();
    Ok((serde_json::from_slice(&body).map_err(|error| format!("GET {path}: {error}"))?, took))
}

/// A connection to the API that stays open.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Result<Self, String> {
        let open = || {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            Ok(Self { stream: BufReader::new(stream) })
        };
        open().map_err(|error: std::io::Error| format!("the API: {error}"))
    }

    /// Sends a whole request and reads its answer.
    pub(crate) fn exchange(&mut self, request: &str) -> Result<Answer, String> {
        let written = self.stream.get_mut().write_all(request.as_bytes());
        written.map_err(|error| format!("the request: {error}"))?;
        Answer::read(&mut self.stream)
    }

    /// Sends a request whose answer has no end. Returns its lines, with those of the head.
    pub(crate) fn follow(
        mut self,
        request: &str,
    ) -> Result<impl Iterator<Item = std::io::Result<String>> + use<>, String> {
        let written = self.stream.get_mut().write_all(request.as_bytes());
        written.map_err(|error| format!("the request: {error}"))?;
        Ok(self.stream.lines())
    }
}

/// An answer with a length.
pub(crate) struct Answer {
    status: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(stream: &mut impl BufRead) -> Result<Self, String> {
        let lost = |error: std::io::Error| format!("the answer: {error}");
        let (mut status, mut length) = (String::new(), 0);
        let mut head = stream.by_ref().take(HEAD_BYTES_MAX);
        loop {
            let mut line = String::new();
            if head.read_line(&mut line).map_err(lost)? == 0 {
                return Err("the answer has no whole head".to_owned());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if status.is_empty() {
                line.clone_into(&mut status);
            } else if let Some((_, value)) =
                line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            {
                length = value.trim().parse().map_err(|_| format!("{line:?} is no length"))?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).map_err(lost)?;
        Ok(Self { status, body })
    }

    /// The body, of an answer of this status.
    pub(crate) fn of(self, code: u16) -> Result<Vec<u8>, String> {
        if self.status.split(' ').nth(1) == Some(code.to_string().as_str()) {
            return Ok(self.body);
        }
        Err(format!("{}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_answer_after_another() {
        let mut stream =
            &b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 503 No\r\ncontent-length: 1\r\n\r\nx"[..];
        let mut read = |code| Answer::read(&mut stream).and_then(|answer| answer.of(code));
        assert_eq!(read(202), Ok(b"{}".to_vec()));
        assert_eq!(read(202), Err("HTTP/1.1 503 No: x".to_owned()));
        assert!(read(202).is_err());
        assert!(Answer::read(&mut &b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n{}"[..]).is_err());
        assert!(Answer::read(&mut &b"HTTP/1.1 200 OK\r\n"[..]).is_err());
    }
}
