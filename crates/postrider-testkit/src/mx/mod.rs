//! A scripted MX: an SMTP server for tests that does as it is told, and judges the client.
//!
//! It is written apart from the project's own protocol code, so that the two cannot share an error.

mod record;
mod script;
mod session;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use record::{ConnectionRecord, ReceivedMessage, ReceivedRecipient, without_trace};
pub use script::{Answer, Command, Gate, Script, StartTls};

use crate::wait::GUARD_SECONDS;

/// A running server. Dropping it stops it and fails the test if a client did what RFC 5321 forbids.
#[derive(Debug)]
pub struct ScriptedMx {
    address: SocketAddr,
    shared: Arc<record::Shared>,
    accepting: JoinHandle<()>,
}

impl ScriptedMx {
    pub async fn start(address: SocketAddr, script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(record::Shared::new(script));
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves by another script from now on, also on open connections from their next command.
    pub fn set_script(&self, script: Script) {
        self.shared.change(|inner| inner.script = script);
    }

    /// The messages that were answered 2xx, in order.
    pub fn messages(&self) -> Vec<ReceivedMessage> {
        acknowledged(&self.shared.read())
    }

    /// All messages whose end of data came, whatever became of the answer.
    pub fn all_messages(&self) -> Vec<ReceivedMessage> {
        self.shared.read().messages.clone()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.read().connections.len()
    }

    /// The transcript of a connection, counted from 1, with addresses, ids and dates made plain ([`crate::scrub`]).
    pub fn transcript(&self, connection: usize) -> String {
        let inner = self.shared.read();
        let record = connection.checked_sub(1).and_then(|at| inner.connections.get(at));
        crate::scrub(&record.map(|record| record.transcript.join("\n")).unwrap_or_default())
    }

    /// The most connections that were open together.
    pub fn connections_open_peak(&self) -> usize {
        self.shared.read().connections_open_peak
    }

    /// The most transactions, MAIL to the answer to the end of data, that were open together.
    pub fn transactions_open_peak(&self) -> usize {
        self.shared.read().transactions_open_peak
    }

    /// How many connections of clients that called themselves so are open.
    pub fn connections_open_of(&self, helo: &str) -> usize {
        let inner = self.shared.read();
        let of_client = |record: &&ConnectionRecord| {
            record.transcript.iter().any(|line| line.strip_prefix("C: EHLO ").is_some_and(|name| name == helo))
        };
        inner.connections.iter().filter(|record| record.open).filter(of_client).count()
    }

    /// What clients did that they may not do.
    pub fn violations(&self) -> Vec<String> {
        self.shared.read().violations.clone()
    }

    /// Gives the violations out and forgets them, for a test that expects some.
    pub fn take_violations(&self) -> Vec<String> {
        self.shared.change(|inner| std::mem::take(&mut inner.violations))
    }

    /// Waits for `count` messages that were answered 2xx.
    ///
    /// # Panics
    ///
    /// When they do not come in [`GUARD_SECONDS`] of real time.
    pub async fn wait_for_messages(&self, count: usize) -> Vec<ReceivedMessage> {
        self.wait(&format!("{count} messages"), |inner| {
            let come = inner.messages.iter().filter(|message| message.acknowledged).count();
            (come >= count).then(|| acknowledged(inner))
        })
        .await
    }

    /// Waits until there have been `count` connections.
    pub async fn wait_for_connections(&self, count: usize) {
        self.wait(&format!("{count} connections"), |inner| (inner.connections.len() >= count).then_some(())).await;
    }

    /// Waits until `count` connections have ended.
    pub async fn wait_for_ended(&self, count: usize) {
        self.wait(&format!("{count} connections to end"), |inner| {
            (inner.connections.iter().filter(|connection| !connection.open).count() >= count).then_some(())
        })
        .await;
    }

    /// Waits until a line that contains `part` stands in a transcript `times` times.
    pub async fn wait_for_line(&self, part: &str, times: usize) {
        self.wait(&format!("{part:?} {times} times"), |inner| {
            let lines = inner.connections.iter().flat_map(|connection| &connection.transcript);
            (lines.filter(|line| line.contains(part)).count() >= times).then_some(())
        })
        .await;
    }

    async fn wait<T>(&self, what: &str, found: impl FnMut(&record::Inner) -> Option<T>) -> T {
        let guard = Duration::from_secs(GUARD_SECONDS);
        match tokio::time::timeout(guard, self.shared.wait(found)).await {
            Ok(found) => found,
            Err(_) => {
                let transcripts: Vec<_> = (1..=self.connections()).map(|n| self.transcript(n)).collect();
                panic!("{} waited in vain for {what}; it saw:\n{}", self.address, transcripts.join("\n--\n"))
            }
        }
    }
}

impl Drop for ScriptedMx {
    fn drop(&mut self) {
        self.accepting.abort();
        let violations = self.violations();
        if !std::thread::panicking() {
            assert!(violations.is_empty(), "the client of {} broke the protocol: {violations:#?}", self.address);
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<record::Shared>) {
    // Dropping the set ends the sessions with the server.
    let mut sessions = tokio::task::JoinSet::new();
    while let Ok((stream, peer)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let number = shared.change(|inner| {
            inner.connections.push(ConnectionRecord { transcript: Vec::new(), open: true });
            let open = inner.connections.iter().filter(|connection| connection.open).count();
            inner.connections_open_peak = inner.connections_open_peak.max(open);
            inner.connections.len()
        });
        sessions.spawn(session::serve(stream, peer.ip(), number, shared.clone()));
        while sessions.try_join_next().is_some() {}
    }
}

fn acknowledged(inner: &record::Inner) -> Vec<ReceivedMessage> {
    inner.messages.iter().filter(|message| message.acknowledged).cloned().collect()
}
