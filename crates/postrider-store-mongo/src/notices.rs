//! Telling other processes what changed, and hearing it from them.
//!
//! A notice is a small document, written when something was committed that others should look at, at most some times a second
//! however much changes. Everyone hears the notices of all others through a change stream on that one collection, and asks for
//! them twice a second besides: that is how it hears where the server has no change streams, or where one has fallen silent.
//! Nothing depends on a notice alone: who waits for one looks by itself now and then.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{DateTime, Document, doc, oid};
use mongodb::error::{Error, ErrorKind};
use postrider_store::{Change, MailboxChange, StoreError};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;

use crate::engine::lock;
use crate::files::collect;
use crate::mailbox_notices::MailboxNotices;
use crate::schema::NOTICES;

/// Between the notices of a process, so that many changes become one.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// A notice that takes longer is given up: by then others have looked by themselves.
const TELL_TIMEOUT: Duration = Duration::from_secs(5);

/// After so many polls all notices are asked for, whatever their times: a new primary may have another clock.
const POLLS_OF_LATE: u32 = 20;

/// How long notices are kept, and some, in milliseconds.
const SEEN_MILLIS: i64 = 300_000;

/// How often notices are asked for.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// How far back a poll looks, in milliseconds: notices may become visible in another order than that of their times, which
/// the server notes to the millisecond.
const POLL_BACK_MILLIS: i64 = 10_000;

/// After a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// Notices that a receiver may be behind.
const WAITING_MAX: usize = 64;

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
    /// Held while it is told: who closes waits for what is under way.
    telling: tokio::sync::Mutex<()>,
    wake: Notify,
    heard: broadcast::Sender<Change>,
    mailboxes: MailboxNotices,
    /// Notices of late, so that none is heard twice.
    seen: Mutex<HashSet<oid::ObjectId>>,
}

impl Notices {
    pub(crate) fn new(database: Database, by: oid::ObjectId) -> Self {
        let shared = Shared {
            database,
            by,
            untold: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            heard: broadcast::Sender::new(WAITING_MAX),
            mailboxes: MailboxNotices::default(),
            seen: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            tasks: Mutex::default(),
            is_telling: AtomicBool::new(false),
            is_hearing: AtomicBool::new(false),
        }
    }

    /// Tells all other processes, soon; of the directory, the suppression list and orders those who listen in this process, too,
    /// and at once.
    pub(crate) fn tell(&self, change: Change) {
        if matches!(change, Change::Directory | Change::Suppressions | Change::Orders) {
            // Nobody may be listening.
            let _ = self.shared.heard.send(change);
        }
        lock(&self.shared.untold).insert(change);
        self.wake();
    }

    /// Tells what happened in mailboxes: those who listen in this process at once, all others soon.
    pub(crate) fn tell_mailboxes(&self, changes: impl IntoIterator<Item = MailboxChange>) {
        if self.shared.mailboxes.tell(changes) {
            self.wake();
        }
    }

    fn wake(&self) {
        self.shared.wake.notify_one();
        if !self.is_telling.swap(true, Ordering::Relaxed) {
            lock(&self.tasks).spawn(tell_all(self.shared.clone()));
        }
    }

    /// Hears from now on.
    pub(crate) fn hear(&self, answer_timeout: Duration, only_polls: bool) -> broadcast::Receiver<Change> {
        let receiver = self.shared.heard.subscribe();
        self.start_hearing(answer_timeout, only_polls);
        receiver
    }

    /// As [`Notices::hear`], of mailboxes.
    pub(crate) fn hear_mailboxes(
        &self,
        answer_timeout: Duration,
        only_polls: bool,
    ) -> broadcast::Receiver<MailboxChange> {
        let receiver = self.shared.mailboxes.hear();
        self.start_hearing(answer_timeout, only_polls);
        receiver
    }

    fn start_hearing(&self, answer_timeout: Duration, only_polls: bool) {
        if !self.is_hearing.swap(true, Ordering::Relaxed) {
            let mut tasks = lock(&self.tasks);
            tasks.spawn(poll_all(self.shared.clone(), answer_timeout));
            if !only_polls {
                tasks.spawn(stream_all(self.shared.clone(), answer_timeout));
            }
        }
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
        let _one_at_a_time = self.telling.lock().await;
        let untold: Vec<Change> = lock(&self.untold).drain().collect();
        let untold = untold.into_iter().map(|change| doc! { "change": name(change) });
        for mut set in untold.chain(self.mailboxes.take()) {
            set.insert("by", self.by);
            // By an update, because only that can write the server's time.
            let notice = doc! { "$set": set, "$currentDate": { "at": true } };
            let notices = self.database.collection::<Document>(NOTICES);
            let told = notices.update_one(doc! { "_id": oid::ObjectId::new() }, notice).upsert(true).into_future();
            if !matches!(tokio::time::timeout(TELL_TIMEOUT, told).await, Ok(Ok(_))) {
                tracing::debug!("other nodes were not told of a change; they find it by themselves");
            }
        }
    }

    /// Looks at the notices of late. By their own times, so that an index serves it: not by a clock of this machine.
    async fn poll(&self, newest: &mut Option<DateTime>) -> Result<(), StoreError> {
        let notices = self.database.collection::<Document>(NOTICES);
        let filter = match newest {
            Some(newest) => {
                let from = newest.timestamp_millis().saturating_sub(POLL_BACK_MILLIS);
                doc! { "at": { "$gte": DateTime::from_millis(from) } }
            }
            None => doc! { "at": { "$gte": DateTime::from_millis(0) } },
        };
        let found = collect(notices.find(filter).sort(doc! { "at": 1 })).await?;
        if let Some(last) = found.last().and_then(|notice| notice.get_datetime("at").ok()) {
            *newest = Some(*last);
        }
        found.iter().for_each(|notice| self.note(notice));
        let of_late: HashSet<_> = found.iter().filter_map(|notice| notice.get_object_id("_id").ok()).collect();
        lock(&self.seen).retain(|id| of_late.contains(id) || is_young(*id));
        Ok(())
    }

    /// Something may have been missed: everyone looks everywhere.
    fn look_everywhere(&self) {
        Change::ALL.iter().for_each(|&change| drop(self.heard.send(change)));
        self.mailboxes.look_everywhere();
    }

    fn note(&self, notice: &Document) {
        let Ok(id) = notice.get_object_id("_id") else { return };
        if notice.get_object_id("by").is_ok_and(|by| by == self.by) || !lock(&self.seen).insert(id) {
            return;
        }
        self.mailboxes.note(notice);
        let change = notice
            .get_str("change")
            .ok()
            .and_then(|text| Change::ALL.iter().copied().find(|change| name(*change) == text));
        if let Some(change) = change {
            let _ = self.heard.send(change);
        }
    }
}

/// Whether a notice may still be there. By its id, which carries the time of its maker's clock: one that is forgotten too early
/// is heard twice.
fn is_young(id: oid::ObjectId) -> bool {
    id.timestamp().timestamp_millis() > DateTime::now().timestamp_millis() - SEEN_MILLIS
}

fn name(change: Change) -> &'static str {
    match change {
        Change::Queue => "queue",
        Change::Nodes => "nodes",
        Change::Directory => "directory",
        Change::Suppressions => "suppressions",
        Change::Orders => "orders",
    }
}

async fn tell_all(shared: Arc<Shared>) {
    loop {
        shared.wake.notified().await;
        shared.tell().await;
        tokio::time::sleep(TELL_EVERY).await;
    }
}

/// Hears through change streams, one after the other.
async fn stream_all(shared: Arc<Shared>, answer_timeout: Duration) {
    loop {
        if let Err(error) = stream(&shared, answer_timeout).await {
            if is_unsupported(&error) {
                tracing::info!(%error, "the server has no change streams; it is only asked for changes");
                return;
            }
            tracing::debug!(%error, "the change stream ended");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Asks for notices again and again.
async fn poll_all(shared: Arc<Shared>, answer_timeout: Duration) {
    let mut was_answered = false;
    let (mut newest, mut polls): (Option<DateTime>, u32) = (None, 0);
    loop {
        let polled = tokio::time::timeout(answer_timeout, shared.poll(&mut newest)).await;
        let is_answered = matches!(polled, Ok(Ok(())));
        if is_answered && !was_answered {
            // What was told meanwhile may be forgotten already.
            shared.look_everywhere();
        }
        was_answered = is_answered;
        polls = polls.wrapping_add(1);
        if polls % POLLS_OF_LATE == 0 {
            newest = None;
        }
        tokio::time::sleep(POLL_EVERY).await;
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

/// Whether the server says that it never will.
fn is_unsupported(error: &Error) -> bool {
    const CODES: &[i32] = &[59, 115, 238, 40_324, 40_573];
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if CODES.contains(&command.code))
}
