//! The thread that keeps the index: first what is noted in the log, then what was there before the index.
//!
//! The more mail comes, the longer it pauses, so that who indexes does not slow down who accepts; if somebody searches, it does not
//! pause until all is there that came before.

use std::sync::{Arc, Weak};
use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior, params};

use super::super::writer::Writer;
use super::bell::Bell;
use super::{logged, text};
use crate::error::StoreError;
use crate::indexing::{FAILED_PAUSE, GATHER, LOOK_INTERVAL, pauses};

/// E-mails in one transaction, or as many as one commit noted.
const PART_EMAILS: usize = 128;

/// Rows of the log that are left before they are taken away together, which costs a commit.
const LOG_ROWS_KEPT: i64 = 512;

pub(super) struct Indexer {
    database: Connection,
    index: Connection,
    bell: Arc<Bell>,
    writer: Weak<Writer>,
    /// The first row that the log may still have.
    log_from: i64,
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Some of what came lately; there may be more.
    Recent,
    /// Some of what was there before the index.
    Old,
    /// There is nothing to do.
    Nothing,
}

/// What is to be looked at, and how far the index has got when that is done.
struct Part {
    seqs: Vec<i64>,
    position: i64,
    unfilled: Option<i64>,
}

impl Indexer {
    pub(super) fn new(database: Connection, index: Connection, bell: Arc<Bell>, writer: Weak<Writer>) -> Self {
        Self { database, index, bell, writer, log_from: 0 }
    }

    pub(super) fn run(mut self) {
        let (mut has_failed, mut looked_at) = (false, Instant::now());
        loop {
            let before = self.bell.quiet();
            let pauses = pauses(before.came, looked_at.elapsed());
            looked_at = Instant::now();
            if before.is_stopped {
                return;
            }
            let done = self.part();
            if let Err(error) = &done
                && !has_failed
            {
                tracing::warn!(error = %error, "the full-text index cannot be brought up to date; it is tried again");
            }
            has_failed = done.is_err();
            match done {
                Err(_) => self.bell.wait_for_stop(FAILED_PAUSE),
                Ok(Done::Recent) if before.is_asked => self.bell.ask(),
                Ok(Done::Recent | Done::Old) => self.bell.pause(looked_at.elapsed().mul_f64(pauses)),
                Ok(Done::Nothing) => {
                    if self.bell.wait(LOOK_INTERVAL).came > 0 {
                        self.bell.pause(GATHER);
                    }
                }
            }
        }
    }

    /// Indexes a part of what is to be indexed, in one transaction with how far it got.
    fn part(&mut self) -> Result<Done, StoreError> {
        let transaction = self.index.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (position, unfilled): (i64, Option<i64>) = transaction
            .prepare_cached("SELECT position, unfilled FROM state")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some(part) = Part::next(&self.database, position, unfilled)? else { return Ok(Done::Nothing) };
        {
            let mut delete = transaction.prepare_cached("DELETE FROM words WHERE rowid = ?1")?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO words (rowid, sender, recipients, subject, message_id, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for &seq in &part.seqs {
                delete.execute([seq])?;
                if let Some(found) = text::read(&self.database, seq)? {
                    let text::Indexed { sender, recipients, subject, message_id, text } = found;
                    insert.execute(params![seq, sender, recipients, subject, message_id, text])?;
                }
            }
        }
        transaction
            .prepare_cached("UPDATE state SET position = ?1, unfilled = ?2")?
            .execute((part.position, part.unfilled))?;
        transaction.commit()?;
        if part.position == position {
            return Ok(Done::Old);
        }
        self.trim(part.position);
        Ok(Done::Recent)
    }

    /// Takes away rows of the log that are indexed, but for the last: no number is used twice.
    fn trim(&mut self, position: i64) {
        if position - self.log_from < LOG_ROWS_KEPT {
            return;
        }
        let Some(writer) = self.writer.upgrade() else { return };
        let trim = writer.write_and_forget(move |batch| {
            batch.connection.prepare_cached("DELETE FROM index_log WHERE n < ?1")?.execute([position])?;
            Ok(())
        });
        if trim.is_ok() {
            self.log_from = position;
        }
    }
}

impl Part {
    /// What comes next behind a position; `None` if all is indexed.
    fn next(database: &Connection, position: i64, unfilled: Option<i64>) -> Result<Option<Self>, StoreError> {
        let mut part = Self { seqs: Vec::new(), position, unfilled };
        let mut statement = database.prepare_cached("SELECT n, emails FROM index_log WHERE n > ?1 ORDER BY n")?;
        let mut rows = statement.query([position])?;
        while part.seqs.len() < PART_EMAILS
            && let Some(row) = rows.next()?
        {
            part.position = row.get(0)?;
            part.seqs.extend(logged(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?));
        }
        if part.position > position {
            // What came and went is looked at once, as it is now.
            part.seqs.sort_unstable();
            part.seqs.dedup();
            return Ok(Some(part));
        }
        let Some(last) = unfilled else { return Ok(None) };
        let mut statement =
            database.prepare_cached("SELECT seq FROM emails NOT INDEXED WHERE seq <= ?1 ORDER BY seq DESC LIMIT ?2")?;
        let seqs = statement.query_map((last, PART_EMAILS as i64), |row| row.get(0))?;
        part.seqs = seqs.collect::<Result<_, _>>()?;
        part.unfilled = if part.seqs.len() < PART_EMAILS { None } else { part.seqs.last().map(|seq: &i64| seq - 1) };
        if part.unfilled.is_none() {
            tracing::info!("the full-text index is built");
        }
        Ok(Some(part))
    }
}
