//! How the engine is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::Document;

/// What the engine needs to know.
#[derive(Clone)]
pub struct MongoOptions {
    /// `mongodb://` or `mongodb+srv://`; the database is the path's, `postrider` where it names none.
    pub url: String,
    pub lease_clock: LeaseClock,
    /// How long the server may take to be found, and to answer one command.
    pub answer_timeout: Duration,
    /// Writes that wait for their commit, at most: one more is refused as overload.
    pub waiting_max: usize,
    /// Only asks for changes, without a change stream, as it does by itself where a server has none.
    pub polls_for_changes: bool,
    /// Sees every command that is sent: for tests.
    pub command_observer: Option<CommandObserver>,
}

/// Is shown the commands that are sent to the server, before they are.
pub type CommandObserver = Arc<dyn Fn(&Document) + Send + Sync>;

/// Whose time decides when a lease lapses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseClock {
    /// The database server's: nodes need not agree on the time.
    Server,
    /// The callers': for tests that bring their own time.
    Callers,
}

impl MongoOptions {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            lease_clock: LeaseClock::Server,
            answer_timeout: Duration::from_secs(5),
            waiting_max: 10_000,
            polls_for_changes: false,
            command_observer: None,
        }
    }
}

impl fmt::Debug for MongoOptions {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoOptions")
            .field("lease_clock", &self.lease_clock)
            .field("answer_timeout", &self.answer_timeout)
            .finish_non_exhaustive()
    }
}
