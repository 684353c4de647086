//! An endpoint for webhooks: it answers after a while, or never.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::bench::mx;

/// A running endpoint. It ends with the process.
pub(super) struct Hook {
    pub(super) url: String,
    calls: Arc<AtomicU64>,
}

impl Hook {
    /// One that answers 204 after `delay`, or nothing at all without one.
    pub(super) fn start(delay: Option<Duration>) -> Result<Self, String> {
        let refuse = |error: std::io::Error| format!("the webhook endpoint: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(refuse)?;
        let port = listener.local_addr().map_err(refuse)?.port();
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let calls = counted.clone();
                // Who is cut off comes again, or has ended: it is no matter of the endpoint.
                std::thread::spawn(move || drop(answer(stream, delay, &calls)));
            }
        });
        Ok(Self { url: format!("http://127.0.0.1:{port}/"), calls })
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Acquire)
    }

    /// Waits until so many calls were answered. Fails when nothing moves any more.
    pub(super) fn wait_for(&self, calls: u64) -> Result<(), String> {
        mx::wait_for(calls, "the webhook endpoint", || self.calls())
    }
}

fn answer(stream: TcpStream, delay: Option<Duration>, calls: &AtomicU64) -> std::io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        std::io::copy(&mut input.by_ref().take(length), &mut std::io::sink())?;
        let Some(delay) = delay else {
            // Until the other side has had enough.
            return std::io::copy(&mut input, &mut std::io::sink()).map(drop);
        };
        std::thread::sleep(delay);
        output.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        calls.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::process::POLL;

    #[test]
    fn one_answers_and_one_is_silent() {
        let ask = |hook: &Hook| {
            let address = hook.url.trim_start_matches("http://").trim_end_matches('/');
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(POLL)).unwrap();
            stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).ok().map(|()| answer)
        };
        let hook = Hook::start(Some(Duration::ZERO)).unwrap();
        assert_eq!(ask(&hook).unwrap(), *b"HTTP/1.1 204");
        hook.wait_for(1).unwrap();
        assert!(ask(&Hook::start(None).unwrap()).is_none());
    }
}
