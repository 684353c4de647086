//! The full-text index: a database of its own beside the first, which is filled behind the commits.
//!
//! What comes into lists or leaves them is noted in the commit that does it, as one short row for the whole transaction
//! (`index_log`). A thread of its own follows these notes ([`indexer`]), looks at what the e-mails are now, and writes how far it
//! got into the same transaction as what it found: whatever happens, it goes on where it was. So accepting mail waits for no
//! index, a write to the index never locks the database, and the index can be lost: it is built anew from the e-mails.

mod bell;
mod expression;
mod indexer;
mod text;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _};

pub(super) use bell::Bell;
pub(super) use expression::Expression;

use self::indexer::Indexer;
use super::open::{self, May, SqliteOptions};
use super::readers::Readers;
use super::writer::{Writer, lock};
use crate::error::StoreError;

/// The index within `DATA_DIR`.
pub(super) const INDEX_FILE: &str = "postrider-search.db";

/// As which the connections of readers know it.
const ATTACHED_AS: &str = "search";

/// An index of another version is built anew.
const VERSION: u32 = 1;

/// Memory for pages of the index, for each connection that reads it.
const CACHE_KIB: u32 = 2 << 10;

/// A search waits this long at most for mail that came before it to be indexed.
const WAIT_MAX: Duration = Duration::from_secs(1);
const WAIT_STEP: Duration = Duration::from_millis(5);

/// Words are in lower case already, with blanks between them: `ascii` divides there and changes nothing. No contents are
/// kept: the messages have them.
const SCHEMA: &str = "
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,  -- the last row of index_log that is indexed
    unfilled INTEGER            -- e-mails up to this row that were there before the index are still to come
) STRICT;
CREATE VIRTUAL TABLE words USING fts5(
    sender, recipients, subject, message_id, text, content='', contentless_delete=1, tokenize='ascii'
);
";

/// The index of an open store.
#[derive(Debug)]
pub(super) struct Index {
    bell: Arc<Bell>,
    /// Only where this process is the one that sends: it also indexes.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Index {
    /// Nothing is indexed in this process.
    pub(super) fn idle(bell: Arc<Bell>) -> Self {
        Self { bell, thread: Mutex::new(None) }
    }

    /// Starts the thread.
    pub(super) fn start(options: &SqliteOptions, writer: &Arc<Writer>) -> Result<Self, StoreError> {
        let bell = writer.bell();
        let indexer = Indexer::new(
            open::connect_to_read(&options.path)?,
            connect(&options.path)?,
            Arc::clone(&bell),
            Arc::downgrade(writer),
        );
        let thread = std::thread::Builder::new()
            .name("store-indexer".into())
            .spawn(move || indexer.run())
            .map_err(|error| StoreError::Unavailable(format!("no thread for the full-text index: {error}")))?;
        Ok(Self { bell, thread: Mutex::new(Some(thread)) })
    }

    /// Waits until what is committed now is indexed, but not for long.
    pub(super) async fn catch_up(&self, readers: &Readers) -> Result<(), StoreError> {
        let started = Instant::now();
        loop {
            let is_behind = readers.read(|connection| Ok(Lag::of(connection, 0)?.is_behind())).await?;
            if !is_behind || started.elapsed() > WAIT_MAX {
                return Ok(());
            }
            self.bell.ask();
            tokio::time::sleep(WAIT_STEP).await;
        }
    }

    /// Ends the thread, after the part that it is at.
    pub(super) fn stop(&self) {
        self.bell.stop();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the full-text index ended with a panic");
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the index does not know yet.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// The e-mails that came or went since, in ascending order; `None` if they are more than was asked for.
    pub(super) recent: Option<Vec<i64>>,
    is_behind: bool,
    /// It is still being built.
    pub(super) is_unfilled: bool,
}

impl Lag {
    /// Within a transaction that has read from the database before: what the index has in addition does no harm.
    pub(super) fn of(connection: &Connection, recent_max: usize) -> Result<Self, StoreError> {
        let (position, unfilled): (i64, Option<i64>) = connection
            .prepare_cached("SELECT position, unfilled FROM search.state")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut statement = connection.prepare_cached("SELECT emails FROM index_log WHERE n > ?1 ORDER BY n")?;
        let mut rows = statement.query([position])?;
        let (mut recent, mut is_behind) = (Some(Vec::new()), false);
        while let Some(row) = rows.next()? {
            is_behind = true;
            let Some(seqs) = &mut recent else { break };
            seqs.extend(logged(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?));
            if seqs.len() > recent_max {
                recent = None;
            }
        }
        if let Some(seqs) = &mut recent {
            seqs.sort_unstable();
            seqs.dedup();
        }
        Ok(Self { recent, is_behind, is_unfilled: unfilled.is_some() })
    }

    /// Whether something came that it does not have.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }
}

/// Notes e-mails that came into lists or left them, in the transaction that does it.
pub(super) fn log(connection: &Connection, seqs: &[i64]) -> rusqlite::Result<()> {
    if seqs.is_empty() {
        return Ok(());
    }
    let emails: Vec<u8> = seqs.iter().flat_map(|seq| seq.to_be_bytes()).collect();
    connection.prepare_cached("INSERT INTO index_log (emails) VALUES (?1)")?.execute([emails])?;
    Ok(())
}

/// The e-mails of a row of the log.
fn logged(emails: &[u8]) -> impl Iterator<Item = i64> {
    emails.as_chunks::<8>().0.iter().map(|bytes| i64::from_be_bytes(*bytes))
}

/// Makes the index if it is not there, or of no use, and sees to it that it belongs to this database. The caller holds the lock
/// of the process that sends, or `may_rebuild` is false.
pub(super) fn prepare(folder: &Path, database: &Connection, may_rebuild: bool) -> Result<(), StoreError> {
    match prepare_once(folder, database, may_rebuild) {
        Err(StoreError::Corrupt(error)) if may_rebuild => {
            tracing::warn!(error, "the full-text index is damaged and is built anew");
            for file in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(folder.join(format!("{INDEX_FILE}{file}")));
            }
            prepare_once(folder, database, may_rebuild)
        }
        result => result,
    }
}

fn prepare_once(folder: &Path, database: &Connection, may_rebuild: bool) -> Result<(), StoreError> {
    let mut index = connect(folder)?;
    let transaction = index.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let position: Option<i64> = if version == VERSION {
        transaction.query_row("SELECT position FROM state", [], |row| row.get(0)).optional()?
    } else {
        None
    };
    let is_new = version == 0;
    let is_ours = position.map(|position| belongs(database, position)).transpose()?.unwrap_or(false);
    if is_ours || !is_new && !may_rebuild {
        return Ok(());
    }
    transaction.execute_batch("DROP TABLE IF EXISTS words; DROP TABLE IF EXISTS state;")?;
    transaction.execute_batch(SCHEMA)?;
    // Both of one moment: what is committed later is in the log behind that position.
    let (position, unfilled): (i64, Option<i64>) = database.query_row(
        "SELECT (SELECT coalesce(max(n), 0) FROM index_log), (SELECT max(seq) FROM emails)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    transaction.execute("INSERT INTO state VALUES (1, ?1, ?2)", (position, unfilled))?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    if unfilled.is_some() {
        tracing::info!("the full-text index is built; until that is done, searches say that they are incomplete");
    }
    Ok(())
}

/// Whether an index that has got to this position is one of this database, and neither older nor newer than it: one of both may
/// come from a backup.
fn belongs(database: &Connection, position: i64) -> rusqlite::Result<bool> {
    let (first, last): (Option<i64>, Option<i64>) =
        database.query_row("SELECT min(n), max(n) FROM index_log", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(position <= last.unwrap_or(0) && position + 1 >= first.unwrap_or(0))
}

/// Lets a connection that reads search the index.
pub(super) fn attach(reader: &Connection, folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(INDEX_FILE);
    reader.execute(&format!("ATTACH ?1 AS {ATTACHED_AS}"), [path.to_string_lossy()])?;
    reader.pragma_update(Some(ATTACHED_AS), "cache_size", -i64::from(CACHE_KIB))?;
    Ok(())
}

/// A connection that writes to the index.
fn connect(folder: &Path) -> Result<Connection, StoreError> {
    open::connect_file(&folder.join(INDEX_FILE), May::Create)
}
