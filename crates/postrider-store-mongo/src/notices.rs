//! Telling other processes what changed, and hearing it from them.
//!
//! A notice is a small document, written when something was committed that others should look at, at most some times a second
//! however much changes; everyone hears the notices of all others through a change stream on that one collection, or by
//! asking for them where the server has no change streams. Nothing depends on a notice alone: who waits for one looks by
//! itself now and then.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{Document, doc, oid};
use mongodb::error::{Error, ErrorKind};
use postrider_store::Change;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;

use crate::engine::lock;
use crate::files::collect;
use crate::schema::NOTICES;

/// Between the notices of a process, so that many changes become one.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// How often notices are asked for where there are no change streams.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// How far back a poll looks, in milliseconds: notices may become visible in another order than that of their times.
const POLL_BACK_MILLIS: i64 = 10_000;

/// After a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// Notices that a receiver may be behind.
const WAITING_MAX: usize = 64;

const CHANGES: [Change; 3] = [Change::Queue, Change::Nodes, Change::Directory];

#[derive(Debug)]
pub(crate) struct Notices {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
    is_telling: AtomicBool,
    is_hearing: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    /// Who tells.
    by: oid::ObjectId,
    untold: Mutex<HashSet<Change>>,
    wake: Notify,
    heard: broadcast::Sender<Change>,
}

impl Notices {
    pub(crate) fn new(database: Database, by: oid::ObjectId) -> Self {
        let shared = Shared {
            database,
            by,
            untold: Mutex::default(),
            wake: Notify::new(),
            heard: broadcast::Sender::new(WAITING_MAX),
        };
        Self {
            shared: Arc::new(shared),
            tasks: Mutex::default(),
            is_telling: AtomicBool::new(false),
            is_hearing: AtomicBool::new(false),
        }
    }

    /// Tells all other processes, soon.
    pub(crate) fn tell(&self, change: Change) {
        lock(&self.shared.untold).insert(change);
        self.shared.wake.notify_one();
        if !self.is_telling.swap(true, Ordering::Relaxed) {
            lock(&self.tasks).spawn(tell_all(self.shared.clone()));
        }
    }

    /// Hears from now on.
    pub(crate) fn hear(&self, answer_timeout: Duration, polls: bool) -> broadcast::Receiver<Change> {
        let receiver = self.shared.heard.subscribe();
        if !self.is_hearing.swap(true, Ordering::Relaxed) {
            lock(&self.tasks).spawn(hear_all(self.shared.clone(), answer_timeout, polls));
        }
        receiver
    }

    /// Tells what is untold yet.
    pub(crate) async fn flush(&self, timeout: Duration) {
        let _ = tokio::time::timeout(timeout, self.shared.tell()).await;
    }

    pub(crate) fn stop(&self) {
        lock(&self.tasks).abort_all();
    }
}

impl Shared {
    async fn tell(&self) {
        let untold: Vec<Change> = lock(&self.untold).drain().collect();
        for change in untold {
            // By an update, because only that can write the server's time.
            let notice = doc! {
                "$set": { "change": name(change), "by": self.by },
                "$currentDate": { "at": true },
            };
            let notices = self.database.collection::<Document>(NOTICES);
            if let Err(error) = notices.update_one(doc! { "_id": oid::ObjectId::new() }, notice).upsert(true).await {
                tracing::debug!(%error, "other nodes were not told of a change; they find it by themselves");
            }
        }
    }

    /// Something may have been missed: everyone looks everywhere.
    fn look_everywhere(&self) {
        CHANGES.iter().for_each(|&change| drop(self.heard.send(change)));
    }

    fn note(&self, notice: &Document) {
        let change = notice.get_str("change").ok().and_then(|text| CHANGES.into_iter().find(|c| name(*c) == text));
        if let Some(change) = change {
            let _ = self.heard.send(change);
        }
    }
}

fn name(change: Change) -> &'static str {
    match change {
        Change::Queue => "queue",
        Change::Nodes => "nodes",
        Change::Directory => "directory",
    }
}

async fn tell_all(shared: Arc<Shared>) {
    loop {
        shared.wake.notified().await;
        shared.tell().await;
        tokio::time::sleep(TELL_EVERY).await;
    }
}

async fn hear_all(shared: Arc<Shared>, answer_timeout: Duration, polls: bool) {
    let mut polls = polls;
    loop {
        let ended = if polls { poll(&shared).await } else { stream(&shared, answer_timeout).await };
        match ended {
            Ok(()) => {}
            Err(error) if is_unsupported(&error) => {
                tracing::info!(%error, "the server has no change streams; it is asked for changes instead");
                polls = true;
            }
            Err(error) => {
                tracing::debug!(%error, "changes are not heard for now");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Hears through a change stream until that ends.
async fn stream(shared: &Shared, answer_timeout: Duration) -> Result<(), Error> {
    let others = doc! { "$match": { "operationType": "insert", "fullDocument.by": { "$ne": shared.by } } };
    let notices = shared.database.collection::<Document>(NOTICES);
    // The server answers at least this often, so that silence for longer means that the connection is dead.
    let watch = notices.watch().pipeline([others]).max_await_time(answer_timeout / 2);
    let Ok(stream) = tokio::time::timeout(answer_timeout, watch).await else { return Ok(()) };
    let mut stream = stream?;
    shared.look_everywhere();
    loop {
        match tokio::time::timeout(answer_timeout, stream.next_if_any()).await {
            Ok(event) => {
                if let Some(notice) = event?.and_then(|event| event.full_document) {
                    shared.note(&notice);
                }
                if !stream.is_alive() {
                    return Ok(());
                }
            }
            Err(_) => return Ok(()),
        }
    }
}

/// Asks for notices until that fails.
async fn poll(shared: &Shared) -> Result<(), Error> {
    let notices = shared.database.collection::<Document>(NOTICES);
    let mut seen: HashSet<oid::ObjectId> = HashSet::new();
    shared.look_everywhere();
    loop {
        let back = doc! { "$dateSubtract": {
            "startDate": "$$NOW", "unit": "millisecond", "amount": POLL_BACK_MILLIS,
        } };
        let filter = doc! { "by": { "$ne": shared.by }, "$expr": { "$gt": ["$at", back] } };
        let Ok(found) = collect(notices.find(filter)).await else {
            tokio::time::sleep(AGAIN).await;
            return Ok(());
        };
        let found: Vec<(oid::ObjectId, Document)> =
            found.into_iter().filter_map(|notice| Some((notice.get_object_id("_id").ok()?, notice))).collect();
        found.iter().filter(|(id, _)| !seen.contains(id)).for_each(|(_, notice)| shared.note(notice));
        seen = found.into_iter().map(|(id, _)| id).collect();
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Whether the server says that it never will.
fn is_unsupported(error: &Error) -> bool {
    const CODES: &[i32] = &[59, 115, 238, 40_324, 40_573];
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if CODES.contains(&command.code))
}
