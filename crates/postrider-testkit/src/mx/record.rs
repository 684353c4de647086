//! What a scripted MX has seen.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::Script;

/// A recipient of a transaction that was answered 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedRecipient {
    pub address: String,
    /// As they came: `NOTIFY=NEVER`.
    pub parameters: Vec<String>,
}

/// A message that was sent wholly.
#[derive(Debug, Clone)]
pub struct ReceivedMessage {
    /// Which connection to this server, from 1.
    pub connection: usize,
    /// Where the connection came from.
    pub peer: IpAddr,
    /// What the client called itself.
    pub helo: String,
    pub tls: bool,
    /// Who logged in.
    pub user: Option<String>,
    /// Empty for the null reverse-path.
    pub sender: String,
    /// Of MAIL, as they came: `SIZE=120`.
    pub parameters: Vec<String>,
    pub recipients: Vec<ReceivedRecipient>,
    /// Without dot-stuffing and the final dot.
    pub data: Bytes,
    /// Whether it was answered 2xx. Otherwise the responsibility is still the client's.
    pub acknowledged: bool,
}

impl ReceivedMessage {
    /// The recipients' addresses.
    pub fn addresses(&self) -> Vec<&str> {
        self.recipients.iter().map(|recipient| recipient.address.as_str()).collect()
    }

    /// As text, for searching.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// The message without the Received fields on top: as it was before it was relayed.
    pub fn without_trace(&self) -> &[u8] {
        without_trace(&self.data)
    }
}

/// A message without the Return-Path, Received and Authentication-Results fields that stand on top of it.
pub fn without_trace(message: &[u8]) -> &[u8] {
    let mut rest = message;
    while ["received:", "return-path:", "authentication-results:"]
        .iter()
        .any(|name| starts_with_ignore_case(rest, name))
    {
        let Some(end) = field_end(rest) else { return &[] };
        rest = &rest[end..];
    }
    rest
}

/// Where the field at the start ends: behind the first line feed that no white space follows.
fn field_end(field: &[u8]) -> Option<usize> {
    let ends = field.iter().enumerate().filter(|&(_, &b)| b == b'\n').map(|(at, _)| at + 1);
    ends.into_iter().find(|&end| !matches!(field.get(end), Some(b' ' | b'\t')))
}

fn starts_with_ignore_case(bytes: &[u8], prefix: &str) -> bool {
    bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// One connection as the server saw it.
#[derive(Debug, Clone, Default)]
pub struct ConnectionRecord {
    /// `C: ` and `S: ` lines. Message data are `C: <data>`.
    pub transcript: Vec<String>,
    pub open: bool,
}

/// All that happened, shared between the server's tasks and the test.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) script: Script,
    pub(super) connections: Vec<ConnectionRecord>,
    pub(super) messages: Vec<ReceivedMessage>,
    /// What a client may not do, and did.
    pub(super) violations: Vec<String>,
    pub(super) connections_open_peak: usize,
    pub(super) transactions_open: usize,
    pub(super) transactions_open_peak: usize,
}

impl Shared {
    pub(super) fn new(script: Script) -> Self {
        let inner = Inner {
            script,
            connections: Vec::new(),
            messages: Vec::new(),
            violations: Vec::new(),
            connections_open_peak: 0,
            transactions_open: 0,
            transactions_open_peak: 0,
        };
        Self { inner: Mutex::new(inner), changes: watch::Sender::new(0) }
    }

    pub(super) fn read(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let result = change(&mut self.read());
        self.changes.send_modify(|version| *version += 1);
        result
    }

    /// Waits until `found` gives something, looking again after each change.
    pub(super) async fn wait<T>(&self, mut found: impl FnMut(&Inner) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = found(&self.read()) {
                return found;
            }
            // The sender is `self`, which outlives this call.
            let _ = changes.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_fields_are_cut_off_and_nothing_else() {
        let message = b"Return-Path: <a@b>\r\nReceived: from x\r\n\tby y;\r\n date\r\nreceived: z\r\nSubject: s\r\n\r\nReceived: body\r\n";
        assert_eq!(without_trace(message), b"Subject: s\r\n\r\nReceived: body\r\n");
        assert_eq!(without_trace(b"\r\nbody\r\n"), b"\r\nbody\r\n");
        assert_eq!(without_trace(b"Received: only\r\n"), b"");
    }
}
