//! The SQLite engine: a database in a folder, for one process that sends and any number of command lines beside it.
//!
//! A write is durable when its transaction is committed with `synchronous=FULL`: the log is synced to the disk. One
//! thread writes, and commits all that waits together ([`writer`]); reads go to a pool of connections ([`readers`]).
//! Everything that must survive is in the database; what this process remembers beside it are only hints.

mod accept;
mod audit;
mod batch;
mod changes;
mod checkpoint;
mod claim;
mod claims;
mod codes;
mod directory;
mod failure;
mod history;
mod list;
mod mailboxes;
mod notes;
mod open;
mod order;
mod outbox;
mod queue;
mod queue_domains;
mod readers;
mod record;
mod requests;
mod schema;
mod search;
mod sequence;
mod settle;
mod stats;
mod suppressions;
mod transfer;
mod users;
mod writer;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use postrider_core::bounce::Feedback;
use postrider_core::{ObjectId, Timestamp};
use rusqlite::Connection;
use tokio::sync::broadcast;

pub use open::SqliteOptions;

use self::checkpoint::{Checkpointer, ROWS_BYTES};
use self::claim::Walk;
use self::claims::{Guarded, Orphans};
use self::open::Opened;
use self::readers::Readers;
use self::search::Index;
use self::writer::{Writer, lock};
use crate::error::StoreError;
use crate::records::*;
use crate::traits::{Emails, Queue, Store};

type Result<T> = std::result::Result<T, StoreError>;

/// The store on SQLite.
#[derive(Debug)]
pub struct SqliteStore {
    index: Arc<Index>,
    writer: Arc<Writer>,
    readers: Readers,
    orphans: Arc<Orphans>,
    /// Where the last claim ended: the next goes on from there.
    claim_walk: Mutex<Walk>,
    /// Whether this process is the only one that sends.
    is_alone: bool,
    /// The nodes that this store registered: one that is not in the database any more has lost its claims.
    registered: Arc<Mutex<HashSet<NodeId>>>,
    folder: PathBuf,
}

impl SqliteStore {
    /// Opens the database as the one process that sends, and keeps others from doing so until this store is closed or
    /// dropped. A database that an older version wrote is brought up to date.
    ///
    /// [`StoreError::Unavailable`] when another process has it open so, or the folder cannot be used;
    /// [`StoreError::Corrupt`] when a newer version wrote it, or it is no database.
    pub fn open(options: SqliteOptions) -> Result<Self> {
        let lock = open::lock(&options)?;
        Self::start(&options, open::open(&options)?, Some(lock))
    }

    /// Opens the database beside a server that may be using it, as the command line does.
    pub fn open_shared(options: SqliteOptions) -> Result<Self> {
        Self::start(&options, open::open_shared(&options)?, None)
    }

    fn start(options: &SqliteOptions, opened: Opened, lock: Option<File>) -> Result<Self> {
        let Opened { writer, checkpoint, readers } = opened;
        let is_alone = lock.is_some();
        let checkpointer = Checkpointer::start(checkpoint)?;
        // The thread keeps the lock: it is free when the last write is done.
        let writer = Writer::start(writer, checkpointer, options.clone(), lock)
            .map_err(|error| StoreError::Unavailable(format!("no thread for writing: {error}")))?;
        if is_alone {
            mailboxes::removal::purge_by_and_by(&writer);
        }
        let index = if is_alone { Index::start(options, &writer)? } else { Index::idle(writer.bell()) };
        Ok(Self {
            index: Arc::new(index),
            writer,
            readers: Readers::new(readers, options.waiting_max),
            orphans: Arc::default(),
            claim_walk: Mutex::default(),
            is_alone,
            registered: Arc::default(),
            folder: options.path.clone(),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.readers.read(operation).await
    }

    /// Reads few rows: on this task, if a connection is idle.
    async fn read_small<T: Send + 'static>(
        &self,
        operation: impl Fn(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self.readers.try_read_small(|connection| operation(connection).map(Some))? {
            Some(read) => Ok(read),
            None => self.read(operation).await,
        }
    }

    /// Wraps an answer so that its claims are given back if it does not reach the caller.
    fn guard<T>(&self) -> impl FnOnce(T, Vec<(NodeId, DeliveryId)>) -> Guarded<T> + Send + 'static {
        let (writer, orphans) = (Arc::downgrade(&self.writer), Arc::clone(&self.orphans));
        move |answer, claims| Guarded::new(answer, claims, writer, orphans)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn health(&self) -> Result<StoreHealth> {
        let started = Instant::now();
        let size_bytes = self.read(size_bytes).await?;
        let latency = started.elapsed();
        let write = self.writer.write(0, |batch| {
            batch.connection.prepare_cached("UPDATE health SET writes = writes + 1")?.execute([])?;
            Ok(())
        });
        write.await?;
        let free_bytes = free_bytes(&self.folder);
        Ok(StoreHealth { engine: "sqlite", size_bytes: Some(size_bytes), free_bytes, latency })
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.writer.changes()
    }

    fn mailbox_changes(&self) -> broadcast::Receiver<MailboxChange> {
        self.writer.mailbox_changes()
    }

    async fn close(&self) -> Result<()> {
        self.readers.close().await;
        let (writer, index) = (Arc::clone(&self.writer), Arc::clone(&self.index));
        let stop = move || {
            index.stop();
            writer.stop();
        };
        tokio::task::spawn_blocking(stop)
            .await
            .map_err(|error| StoreError::Unavailable(format!("the store did not close: {error}")))
    }
}

#[async_trait]
impl Emails for SqliteStore {
    async fn accept(&self, email: NewEmail) -> Result<Accepted> {
        let claims = claims::claims_of(&email);
        let email = accept::prepare(email).await?;
        let guard = self.guard();
        let accepted = self.writer.write_then(
            email.bytes(),
            move |batch| accept::insert(batch, &email),
            move |accepted| guard(accepted, claims),
        );
        Ok(accepted.await?.take().unwrap_or_default())
    }

    async fn find(&self, request: ListRequest) -> Result<EmailPage> {
        if list::asks_for_text(&request) {
            self.index.catch_up(&self.readers).await?;
        }
        self.read(move |connection| list::find(connection, &request)).await
    }

    async fn email(&self, id: ObjectId) -> Result<Option<EmailDetail>> {
        self.read(move |connection| record::detail(connection, id)).await
    }

    async fn raw(&self, id: ObjectId) -> Result<Option<RawMessage>> {
        match self.readers.try_read_small(|connection| record::raw_small(connection, id))? {
            Some(message) => Ok(message),
            None => self.read(move |connection| record::raw(connection, id)).await,
        }
    }

    async fn note_feedback(&self, email: ObjectId, feedback: Vec<(u32, Feedback)>) -> Result<usize> {
        let bytes = ROWS_BYTES * feedback.len();
        self.writer.write(bytes, move |batch| record::note_feedback(batch, email, &feedback)).await
    }

    async fn delete(&self, id: ObjectId) -> Result<bool> {
        self.writer.write(ROWS_BYTES, move |batch| record::delete(batch, id)).await
    }
}

#[async_trait]
impl Queue for SqliteStore {
    fn is_exclusive(&self) -> bool {
        self.is_alone
    }

    async fn renew(&self, renewal: Renewal) -> Result<Option<Membership>> {
        let (node, is_alone) = (renewal.node, self.is_alone);
        let was_registered = lock(&self.registered).contains(&node);
        let registered = Arc::clone(&self.registered);
        let renewed = self.writer.write_then(
            ROWS_BYTES,
            move |batch| queue::renew(batch, &renewal, was_registered, is_alone),
            move |is_registered| {
                if is_registered {
                    lock(&registered).insert(node);
                }
                is_registered
            },
        );
        Ok(renewed.await?.then_some(Membership::ALONE))
    }

    async fn nodes(&self, now: Timestamp) -> Result<Vec<NodeRecord>> {
        self.read(move |connection| queue::nodes(connection, now)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed> {
        let (node, now) = (request.node, request.now);
        let walk = lock(&self.claim_walk).clone();
        let plan = self.read(move |connection| claim::plan(connection, &request, &walk, claim::STEPS_MAX)).await?;
        lock(&self.claim_walk).clone_from(&plan.walk);
        if plan.is_empty() && self.orphans.is_empty() {
            return Ok(Claimed { emails: Vec::new(), more: plan.more });
        }
        let guard = self.guard();
        let mut give_back = claims::give_back(&self.orphans);
        let claimed = self.writer.write_then(
            ROWS_BYTES,
            move |batch| {
                give_back(batch)?;
                claim::claim(batch, node, now, &plan)
            },
            move |claimed: Claimed| {
                let claims = claim::claims_of(node, &claimed);
                guard(claimed, claims)
            },
        );
        Ok(claimed.await?.take().unwrap_or_default())
    }

    async fn settle(&self, node: NodeId, settle: Settle) -> Result<usize> {
        let claims: Vec<_> = settle.notifications.iter().flat_map(claims::claims_of).collect();
        let settle = settle::prepare(settle).await?;
        let guard = self.guard();
        let settled = self.writer.write_then(
            settle.bytes(),
            move |batch| settle::settle(batch, node, &settle),
            move |recorded| guard(recorded, claims),
        );
        Ok(settled.await?.take().unwrap_or_default())
    }

    async fn release(&self, node: NodeId, deliveries: Vec<DeliveryId>) -> Result<()> {
        self.writer.write(ROWS_BYTES, move |batch| queue::release(batch, node, &deliveries)).await
    }

    async fn leave(&self, node: NodeId) -> Result<()> {
        self.writer.write(ROWS_BYTES, move |batch| queue::leave(batch, node)).await?;
        lock(&self.registered).remove(&node);
        Ok(())
    }

    async fn order(&self, selection: Selection, order: Order, now: Timestamp) -> Result<Ordered> {
        let keys = self.read(move |connection| order::select(connection, &selection, order)).await?;
        let mut ordered = Ordered::default();
        for part in keys.chunks(order::PART_DELIVERIES) {
            let part = part.to_vec();
            let bytes = part.len() * 256;
            let done = self.writer.write(bytes, move |batch| order::carry_out(batch, &part, order, now)).await?;
            ordered.add(done);
        }
        Ok(ordered)
    }

    async fn recalled(&self, node: NodeId) -> Result<Vec<DeliveryId>> {
        self.read(move |connection| queue::recalled(connection, node)).await
    }

    async fn queue_stats(&self, now: Timestamp) -> Result<QueueStats> {
        self.read(move |connection| stats::queue_stats(connection, now)).await
    }

    async fn queue_domains(&self, filter: &QueueDomainFilter, page: u64, limit: u64) -> Result<QueueDomainPage> {
        let filter = filter.clone();
        self.read(move |connection| queue_domains::page(connection, &filter, page, limit)).await
    }
}

fn size_bytes(connection: &Connection) -> Result<u64> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(u64::try_from(pages.saturating_mul(page_bytes)).unwrap_or(0))
}

/// What users without privileges may still write on the disk that a folder is on.
fn free_bytes(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}
