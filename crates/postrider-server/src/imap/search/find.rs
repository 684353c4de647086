//! Finding the messages that a search is for, with as many of them in hand as there are processors to look at them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::mailbox::Digest;
use postrider_core::mime::Structure;
use postrider_core::{ObjectId, Timestamp};
use postrider_store::{Entry, Store, StoreError};
use postrider_wire::imap::response::{Code, Condition, Status};
use tokio::task::JoinHandle;

use super::plan::{Key, Known};
use crate::imap::digests::DIGESTS_TOGETHER;
use crate::imap::session::{End, Session};

/// Whole messages looked at together.
const MESSAGES_TOGETHER: usize = 128;

/// Their bytes.
const MESSAGE_BYTES_TOGETHER: u64 = 4 << 20;

/// Lots that are looked at at the same time.
const LOTS: usize = 3;

/// A client that waits is told how far the search is, this often (RFC 9585).
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// A message that is not decided yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    place: usize,
    entry: Entry,
    is_recent: bool,
}

/// Why a search gave no result.
pub(super) enum Stopped {
    Store(StoreError),
    Session(End),
}

impl Session {
    /// The places of all messages that are sought, upwards.
    pub(super) async fn find(&mut self, tag: &str, key: Arc<Key>) -> Result<Vec<usize>, Stopped> {
        let Some(selected) = &self.selected else { return Ok(Vec::new()) };
        let (mut found, mut open) = (Vec::new(), Vec::new());
        let recent_from = selected.recent_from;
        for (place, entry) in selected.view.range(0, selected.view.len()) {
            let is_recent = entry.uid >= recent_from;
            let known = Known { place, entry, is_recent, digest: None, message: None };
            match key.holds(&known) {
                Some(true) => found.push(place),
                Some(false) => {}
                None => open.push(Candidate { place, entry: *entry, is_recent }),
            }
        }
        if open.is_empty() {
            return Ok(found);
        }
        let lots = open.chunks(DIGESTS_TOGETHER).map(<[Candidate]>::to_vec).collect();
        let open = self.judge(tag, &key, lots, Step::Digests, &mut found).await?;
        let open = self.judge(tag, &key, lots_of_messages(open), Step::Messages, &mut found).await?;
        // Nothing is known of what is gone meanwhile: it is not found.
        drop(open);
        found.sort_unstable();
        Ok(found)
    }

    /// Looks at lots of messages; what is found is added. Those that stay open.
    async fn judge(
        &mut self,
        tag: &str,
        key: &Arc<Key>,
        lots: Vec<Vec<Candidate>>,
        step: Step,
        found: &mut Vec<usize>,
    ) -> Result<Vec<Candidate>, Stopped> {
        let goal: usize = lots.iter().map(Vec::len).sum();
        let (mut done, mut open) = (0, Vec::new());
        let mut told_at = self.now();
        let mut lots = lots.into_iter();
        let mut running: VecDeque<(usize, Lot)> = VecDeque::new();
        loop {
            while running.len() < LOTS
                && let Some(lot) = lots.next()
            {
                running.push_back((lot.len(), Lot::start(self.context.common.store.clone(), key.clone(), lot, step)));
            }
            let Some((count, lot)) = running.pop_front() else { return Ok(open) };
            let judged = lot.end().await.map_err(Stopped::Store)?;
            found.extend(judged.found);
            open.extend(judged.open);
            done += count;
            self.tell_progress(tag, (done, goal), &mut told_at).await.map_err(Stopped::Session)?;
        }
    }

    /// Also finds out whether the client is still there.
    async fn tell_progress(
        &mut self,
        tag: &str,
        (done, goal): (usize, usize),
        told_at: &mut Timestamp,
    ) -> Result<(), End> {
        let now = self.now();
        if now.since(*told_at) < PROGRESS_EVERY || done >= goal {
            return Ok(());
        }
        *told_at = now;
        let code = Code::InProgress { tag: tag.to_owned(), progress: Some(done as u32), goal: Some(goal as u32) };
        Status::new(Condition::Ok, Some(code), "Still searching").write_untagged(self.wire.output());
        self.flush().await
    }
}

/// What is read of the messages of a lot.
#[derive(Debug, Clone, Copy)]
enum Step {
    Digests,
    Messages,
}

/// What came of a lot.
#[derive(Debug, Default)]
struct Judged {
    found: Vec<usize>,
    open: Vec<Candidate>,
}

/// A lot that is being looked at; left alone when dropped.
struct Lot(JoinHandle<Result<Judged, StoreError>>);

impl Lot {
    fn start(store: Arc<dyn Store>, key: Arc<Key>, lot: Vec<Candidate>, step: Step) -> Self {
        Self(tokio::spawn(async move {
            let ids: Vec<ObjectId> = lot.iter().map(|candidate| candidate.entry.email).collect();
            let read = match step {
                Step::Digests => store.digests(&ids).await?,
                Step::Messages => store.messages(&ids).await?,
            };
            let judging = tokio::task::spawn_blocking(move || {
                let mut judged = Judged::default();
                for (candidate, bytes) in lot.into_iter().zip(read) {
                    let Some(bytes) = bytes else { continue };
                    match step.judge(&key, &candidate, bytes) {
                        Some(true) => judged.found.push(candidate.place),
                        Some(false) => {}
                        None => judged.open.push(candidate),
                    }
                }
                judged
            });
            judging.await.map_err(|error| StoreError::Unavailable(format!("internal error: {error}")))
        }))
    }

    async fn end(mut self) -> Result<Judged, StoreError> {
        (&mut self.0).await.map_err(|error| StoreError::Unavailable(format!("internal error: {error}")))?
    }
}

impl Drop for Lot {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Step {
    fn judge(self, key: &Key, candidate: &Candidate, bytes: bytes::Bytes) -> Option<bool> {
        let known = Known {
            place: candidate.place,
            entry: &candidate.entry,
            is_recent: candidate.is_recent,
            digest: None,
            message: None,
        };
        match self {
            Self::Digests => {
                let digest = Digest::decode(bytes).ok()?;
                key.holds(&Known { digest: Some(&digest), ..known })
            }
            Self::Messages => {
                let structure = Structure::parse(&bytes);
                let digest = Digest::of_structure(&bytes, &structure);
                key.holds(&Known { digest: Some(&digest), message: Some((&bytes, &structure)), ..known })
            }
        }
    }
}

/// Lots of so many messages, and so many bytes, that they can be held in memory.
fn lots_of_messages(candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let mut lots: Vec<Vec<Candidate>> = Vec::new();
    let mut bytes = 0;
    for candidate in candidates {
        bytes += u64::from(candidate.entry.size);
        match lots.last_mut() {
            Some(lot) if lot.len() < MESSAGES_TOGETHER && bytes <= MESSAGE_BYTES_TOGETHER => lot.push(candidate),
            _ => {
                bytes = u64::from(candidate.entry.size);
                lots.push(vec![candidate]);
            }
        }
    }
    lots
}
