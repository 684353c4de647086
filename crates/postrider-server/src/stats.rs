//! Counters of what the listeners do.

use std::sync::atomic::{AtomicU64, Ordering};

use postrider_core::ports::SmtpStats;

/// A counter that is only ever shown.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) sessions_open: Counter,
    pub(crate) sessions_total: Counter,
    pub(crate) sessions_refused: Counter,
    pub(crate) messages_accepted: Counter,
    pub(crate) messages_refused: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) recipients_refused: Counter,
    pub(crate) auth_successes: Counter,
    pub(crate) auth_failures: Counter,
    pub(crate) tls_handshakes: Counter,
    pub(crate) tls_failures: Counter,
}

impl Stats {
    pub(crate) fn snapshot(&self, memory_bytes: usize) -> SmtpStats {
        SmtpStats {
            sessions_open: self.sessions_open.get(),
            sessions_total: self.sessions_total.get(),
            sessions_refused: self.sessions_refused.get(),
            messages_accepted: self.messages_accepted.get(),
            messages_refused: self.messages_refused.get(),
            bytes_received: self.bytes_received.get(),
            recipients_refused: self.recipients_refused.get(),
            auth_successes: self.auth_successes.get(),
            auth_failures: self.auth_failures.get(),
            tls_handshakes: self.tls_handshakes.get(),
            tls_failures: self.tls_failures.get(),
            memory_bytes: memory_bytes as u64,
        }
    }
}
