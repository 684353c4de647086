//! One GET over HTTP/1.0, enough to time an API on loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the JSON of a 200 answer, and the time from connecting to its last byte.
pub(crate) fn get(port: u16, path: &str, token: &str) -> Result<(Value, Duration), String> {
    let started = Instant::now();
    let answer = exchange(port, path, token).map_err(|error| format!("GET {path}: {error}"))?;
    let took = started.elapsed();
    Ok((body(&answer).map_err(|why| format!("GET {path}: {why}"))?, took))
}

fn exchange(port: u16, path: &str, token: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn body(answer: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer has no head")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("{status}: {body}"));
    }
    serde_json::from_str(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\na: b\r\n\r\n{\"n\":1}").unwrap()["n"], 1);
        assert!(body(b"HTTP/1.0 401 Unauthorized\r\n\r\n{}").is_err());
        assert!(body(b"HTTP/1.0 200 OK\r\n").is_err());
    }
}
