//! An MX that takes its time: it says nothing until it is opened, and then answers each message after a while.
//!
//! smtp-sink can wait too, but in whole seconds, and it cannot begin for all at one moment.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::bench::process::POLL;

/// From the end of a message to its answer.
pub(super) const ANSWER_AFTER: Duration = Duration::from_millis(100);

/// Nothing that is still alive is this quiet.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A running MX. Dropping it ends it.
pub(super) struct Mx {
    pub(super) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    taken: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open,
    Ended,
}

impl Mx {
    pub(super) fn start() -> Result<Self, String> {
        let refuse = |error: std::io::Error| format!("the MX: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(refuse)?;
        let port = listener.local_addr().map_err(refuse)?.port();
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { port, shared })
    }

    /// Begins to speak, on all connections at once.
    pub(super) fn open(&self) {
        self.shared.set(State::Open);
    }

    /// How many messages it has taken.
    pub(super) fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Acquire)
    }

    /// Waits until it has taken `messages` in all. Fails when nothing moves any more.
    pub(super) fn wait_for(&self, messages: u64) -> Result<(), String> {
        let (mut last, mut moved_at) = (self.taken(), Instant::now());
        while last < messages {
            std::thread::sleep(POLL);
            let now = self.taken();
            if now != last {
                (last, moved_at) = (now, Instant::now());
            } else if moved_at.elapsed() > STALL_TIMEOUT {
                return Err(format!("only {now} of {messages} messages arrived at the MX"));
            }
        }
        Ok(())
    }
}

impl Drop for Mx {
    fn drop(&mut self) {
        self.shared.set(State::Ended);
        // The listener looks at the state when somebody comes.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl Shared {
    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_all();
    }

    /// Waits until it opens. `false`: it ends instead.
    fn is_open(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.changed.wait_while(state, |state| *state == State::Closed);
        *state.unwrap_or_else(PoisonError::into_inner) == State::Open
    }

    fn has_ended(&self) -> bool {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) == State::Ended
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.has_ended() {
            return;
        }
        let (Ok(stream), shared) = (stream, shared.clone()) else { continue };
        // Who is cut off comes again, or has ended: it is no matter of the MX.
        std::thread::spawn(move || drop(converse(stream, &shared)));
    }
}

/// One connection. Commands that were sent together are answered one after the other.
fn converse(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    if !shared.is_open() {
        return Ok(());
    }
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream.try_clone()?);
    stream.write_all(b"220 mx.example ESMTP\r\n")?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_slice() {
            b"EHLO" => stream.write_all(b"250-mx.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")?,
            b"DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                read_message(&mut input)?;
                std::thread::sleep(ANSWER_AFTER);
                shared.taken.fetch_add(1, Ordering::AcqRel);
                stream.write_all(b"250 taken\r\n")?;
            }
            b"QUIT" => return stream.write_all(b"221 bye\r\n"),
            _ => stream.write_all(b"250 ok\r\n")?,
        }
    }
}

fn read_message(input: &mut impl BufRead) -> std::io::Result<()> {
    let mut line = Vec::new();
    while line != b".\r\n" {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_silent_until_it_opens_and_counts_what_it_takes() {
        let mx = Mx::start().unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, mx.port)).unwrap();
        client.write_all(b"EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n").unwrap();
        client.set_read_timeout(Some(POLL)).unwrap();
        assert!(client.peek(&mut [0]).is_err(), "it spoke before it was opened");
        mx.open();
        client.set_read_timeout(Some(STALL_TIMEOUT)).unwrap();
        client.write_all(b"a\r\n..\r\n.\r\nQUIT\r\n").unwrap();
        let replies: Vec<String> = BufReader::new(client).lines().map(Result::unwrap).collect();
        let codes: Vec<&str> = replies.iter().map(|reply| &reply[..4]).collect();
        assert_eq!(codes, ["220 ", "250-", "250-", "250 ", "250 ", "250 ", "354 ", "250 ", "221 "]);
        assert_eq!(mx.taken(), 1);
    }
}
