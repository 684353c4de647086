//! An MX that takes its time: it says nothing until it is opened, and then answers each message after a while.
//!
//! smtp-sink can wait too, but in whole seconds, and it cannot begin for all at one moment.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::bench::mx;

/// From the end of a message to its answer.
pub(super) const ANSWER_AFTER: Duration = Duration::from_millis(100);

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
        mx::wait_for(messages, "the MX", || self.taken())
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

fn converse(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    if !shared.is_open() {
        return Ok(());
    }
    mx::converse(stream, || {
        std::thread::sleep(ANSWER_AFTER);
        shared.taken.fetch_add(1, Ordering::AcqRel);
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;
    use crate::bench::process::POLL;

    const STALL_TIMEOUT: Duration = Duration::from_secs(60);

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
