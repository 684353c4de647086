//! How far a move has come, on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use postrider_store::StoredEmail;

/// Where people watch, the line is written anew this often.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);

/// In a log, a line this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    what: &'static str,
    total: u64,
    emails: u64,
    bytes: u64,
    shown_at: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { is_terminal, what: "", total: 0, emails: 0, bytes: 0, shown_at: Instant::now() }
    }

    /// The next part begins, with so many e-mails.
    pub(super) fn begin(&mut self, what: &'static str, total: u64) {
        self.end();
        *self = Self { is_terminal: self.is_terminal, what, total, emails: 0, bytes: 0, shown_at: Instant::now() };
    }

    /// One e-mail more.
    pub(super) fn email(&mut self, email: &StoredEmail) {
        self.emails += 1;
        self.bytes += email.message.raw.len() as u64;
        let interval = if self.is_terminal { TERMINAL_INTERVAL } else { LOG_INTERVAL };
        if self.shown_at.elapsed() >= interval {
            self.shown_at = Instant::now();
            self.show();
            if !self.is_terminal {
                self.write("\n");
            }
        }
    }

    /// The part that was under way has ended, well or not.
    pub(super) fn end(&mut self) {
        if !self.what.is_empty() {
            self.show();
            self.write("\n");
            self.what = "";
        }
    }

    fn show(&self) {
        let start = if self.is_terminal { "\r" } else { "" };
        self.write(&format!("{start}postrider: {self}"));
    }

    fn write(&self, text: &str) {
        // Where standard error is closed, nobody watches.
        let _ = anstream::stderr().write_all(text.as_bytes());
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, total, emails, bytes, .. } = self;
        write!(f, "{what} {emails} of {total} e-mails, {} MiB", bytes >> 20)
    }
}
