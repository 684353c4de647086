//! Telling listeners what changed: what this process committed, and that another process did.
//!
//! SQLite counts for each connection the commits of all others. The writer's own connection makes every commit of this
//! process, so what it counts are those of other processes. It says that something changed and not what: then listeners
//! look everywhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::broadcast;

use super::search::Bell;
use crate::records::{Change, MailboxChange};

/// How often the writer looks for commits of other processes while anybody listens.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Changes that wait for a slow listener; then it looks everywhere.
const CHANGES_KEPT: usize = 16;

/// Changes in mailboxes that wait for a slow listener: a commit may have some hundred.
const MAILBOX_CHANGES_KEPT: usize = 1_024;

/// What a transaction changed.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) changes: Vec<Change>,
    pub(super) mailboxes: Vec<MailboxChange>,
    /// E-mails for the full-text index.
    pub(super) to_be_indexed: usize,
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Teller {
    sender: broadcast::Sender<Change>,
    mailbox_sender: broadcast::Sender<MailboxChange>,
    bell: Arc<Bell>,
    /// What the connection counted last; unknown on another connection.
    seen: Option<i64>,
    looked_at: Instant,
}

impl Teller {
    /// On the writer's connection, before anybody can listen: what comes later is noticed.
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            sender: broadcast::Sender::new(CHANGES_KEPT),
            mailbox_sender: broadcast::Sender::new(MAILBOX_CHANGES_KEPT),
            bell: Arc::default(),
            seen: count(connection).ok(),
            looked_at: Instant::now(),
        }
    }

    pub(super) fn sender(&self) -> broadcast::Sender<Change> {
        self.sender.clone()
    }

    pub(super) fn mailbox_sender(&self) -> broadcast::Sender<MailboxChange> {
        self.mailbox_sender.clone()
    }

    /// Rings where something is to be indexed.
    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// Tells of what was committed.
    pub(super) fn tell(&self, told: &Told) {
        if told.to_be_indexed > 0 {
            self.bell.ring(told.to_be_indexed);
        }
        for &change in &told.changes {
            // Nobody may be listening.
            let _ = self.sender.send(change);
        }
        for &change in &told.mailboxes {
            let _ = self.mailbox_sender.send(change);
        }
    }

    /// The writer has another connection now.
    pub(super) fn reconnected(&mut self) {
        self.seen = None;
    }

    /// How long until the next look is due; `None` while nobody listens.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let is_heard = self.sender.receiver_count() + self.mailbox_sender.receiver_count() > 0;
        is_heard.then(|| LOOK_INTERVAL.saturating_sub(self.looked_at.elapsed()))
    }

    /// Looks for commits of other processes, if that is due.
    pub(super) fn look_if_due(&mut self, connection: &Connection) {
        if self.next_look().is_some_and(|wait| wait.is_zero()) {
            self.looked_at = Instant::now();
            self.look(connection);
        }
    }

    fn look(&mut self, connection: &Connection) {
        match count(connection) {
            Ok(counted) if self.seen == Some(counted) => {}
            Ok(counted) => {
                self.seen = Some(counted);
                self.tell(&Told {
                    changes: Change::ALL.into(),
                    mailboxes: vec![MailboxChange::Anything],
                    to_be_indexed: 1,
                });
            }
            // Whatever keeps it from reading: the next look finds the same.
            Err(error) => tracing::debug!(error = %error, "commits of other processes could not be looked for"),
        }
    }
}

fn count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::super::SqliteOptions;
    use super::super::open::{self, Opened};
    use super::*;

    #[test]
    fn only_commits_of_others_are_told() {
        let folder = tempfile::TempDir::new().unwrap();
        let Opened { writer, checkpoint, .. } = open::open(&SqliteOptions::new(folder.path())).unwrap();
        let mut teller = Teller::new(&writer);
        let mut heard = teller.sender().subscribe();
        let mut looked = |teller: &mut Teller| {
            teller.look(&writer);
            std::iter::from_fn(|| heard.try_recv().ok()).collect::<Vec<_>>()
        };
        let write = |connection: &Connection| connection.execute("UPDATE health SET writes = writes + 1", []).unwrap();
        assert_eq!(looked(&mut teller), []);
        write(&writer);
        assert_eq!(looked(&mut teller), [], "this process's own");
        checkpoint.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        write(&writer);
        assert_eq!(looked(&mut teller), [], "nor are checkpoints");
        let other = Connection::open(folder.path().join("postrider.db")).unwrap();
        write(&other);
        write(&writer);
        assert_eq!(looked(&mut teller), Change::ALL);
        assert_eq!(looked(&mut teller), [], "once");
        teller.reconnected();
        assert_eq!(looked(&mut teller), Change::ALL, "what came before was not counted");
    }

    #[test]
    fn nobody_listens_nobody_looks() {
        let teller = Teller::new(&Connection::open_in_memory().unwrap());
        assert_eq!(teller.next_look(), None);
        let heard = teller.sender().subscribe();
        assert!(teller.next_look().is_some_and(|wait| wait <= LOOK_INTERVAL));
        drop(heard);
        assert_eq!(teller.next_look(), None);
    }
}
