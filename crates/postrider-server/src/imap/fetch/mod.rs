//! FETCH and UID FETCH (RFC 9051 section 6.4.5).
//!
//! What the mailbox's entries and the digests of messages can tell is told from there; a message is opened only for what is
//! kept nowhere else. Messages are read and described in chunks ([`chunk`]), some of them ahead of what is being written.

mod chunk;
mod plan;

use std::collections::VecDeque;
use std::sync::Arc;

use postrider_store::{FlagsOperation, StoreError};
use postrider_wire::imap::command::{Fetch, FetchItem};
use postrider_wire::imap::response::{self, Code, Status};
use postrider_wire::imap::sequence::{MessageSet, NumberSet};
use tokio::task::JoinHandle;

use self::chunk::{Fetching, Rendered};
use self::plan::{Plan, Target, Targets};
use super::opened::Opened;
use super::selected::number_set;
use super::session::{End, OUTPUT_BYTES, Session};

/// Chunks that are read while one is written: enough that neither the store nor the connection waits for the other.
const CHUNKS_AHEAD: usize = 5;

/// A message of this size or more is kept open, where a client asks for it alone: it may read it piece by piece.
const KEPT_OPEN_BYTES_MIN: usize = 64 << 10;

impl Session {
    pub(super) async fn fetch(&mut self, fetch: Fetch) -> Result<Status, End> {
        // RFC 7162 section 3.2.6.
        if fetch.vanished && !self.qresync {
            return Ok(Status::bad("VANISHED needs ENABLE QRESYNC first"));
        }
        let plan = Plan::new(fetch.items);
        // RFC 7162 section 3.1: to ask for modseqs is to want them.
        self.condstore |= fetch.changed_since.is_some() || plan.has(&FetchItem::ModSeq);
        if let Some(since) = fetch.changed_since.filter(|_| fetch.vanished)
            && let Err(error) = self.tell_vanished(&fetch.set, since).await
        {
            return Ok(self.store_failed("a mailbox's changes could not be read", &error));
        }
        let Some(selected) = &self.selected else { return Ok(Status::bad("No mailbox is selected")) };
        let places = match selected.places(&fetch.set, fetch.uid, &self.saved) {
            Ok(places) => places,
            Err(status) => return Ok(status),
        };
        let targets = Targets::new(selected.view.clone(), places, fetch.changed_since);
        let fetching = Arc::new(Fetching {
            store: self.context.common.store.clone(),
            mailbox: selected.shared.clone(),
            record: selected.view.record.clone(),
            dialect: self.wire.dialect(),
            condstore: self.condstore,
            recent_from: selected.recent_from,
            sets_seen: plan.sets_seen && !selected.is_read_only,
            plan,
        });
        let outcome = self.tell_messages(fetching, targets).await?;
        Ok(match outcome {
            Err(Failed::Store(error)) => self.store_failed("messages could not be read", &error),
            Err(Failed::NoMemory) => Status::refusal(Code::InUse, "Too much to do, try again soon"),
            Ok(told) => told.status(fetch.uid),
        })
    }

    /// Writes what there is to tell of these messages.
    async fn tell_messages(
        &mut self,
        fetching: Arc<Fetching>,
        mut targets: Targets,
    ) -> Result<Result<Told, Failed>, End> {
        let mut told = Told::default();
        let mut next = targets.next_chunk(&fetching.plan);
        let mut ahead = Ahead::default();
        loop {
            while !next.0.is_empty() && ahead.0.len() < CHUNKS_AHEAD {
                let mut share = self.context.common.memory.share();
                if !share.resize(next.1) {
                    if ahead.0.is_empty() {
                        return Ok(Err(Failed::NoMemory));
                    }
                    break;
                }
                let (chunk, _) = std::mem::replace(&mut next, targets.next_chunk(&fetching.plan));
                if next.0.is_empty() && ahead.0.is_empty() {
                    // Nothing goes on beside it: no task is needed.
                    let known = self.known(&chunk);
                    let is_alone = chunk.len() == 1 && !told.is_begun;
                    match fetching.clone().chunk(chunk, known, share).await {
                        Ok(rendered) => self.tell_chunk(rendered, &mut told, is_alone).await?,
                        Err(error) => return Ok(Err(Failed::Store(error))),
                    }
                } else {
                    ahead.0.push_back(tokio::spawn(fetching.clone().chunk(chunk, None, share)));
                }
            }
            let Some(chunk) = ahead.0.pop_front() else { return Ok(Ok(told)) };
            match chunk.await {
                Ok(Ok(rendered)) => self.tell_chunk(rendered, &mut told, false).await?,
                Ok(Err(error)) => return Ok(Err(Failed::Store(error))),
                Err(error) => {
                    return Ok(Err(Failed::Store(StoreError::Unavailable(format!("a read did not end: {error}")))));
                }
            }
        }
    }

    /// Writes a chunk, and takes note of what it changed.
    async fn tell_chunk(&mut self, rendered: Rendered, told: &mut Told, is_alone: bool) -> Result<(), End> {
        let Rendered { pieces, text, has_gone, has_unknown_encoding, seen, opened, mut share } = rendered;
        told.is_begun = true;
        told.has_gone |= has_gone;
        told.has_unknown_encoding |= has_unknown_encoding;
        if let (Some(selected), Some(seen)) = (&mut self.selected, &seen) {
            selected.know(FlagsOperation::Add, seen);
        }
        for piece in &pieces {
            self.flush().await?;
            self.write(piece).await?;
        }
        if text.len() >= OUTPUT_BYTES {
            self.flush().await?;
            self.write(&text).await?;
        } else {
            self.wire.output().extend_from_slice(&text);
            self.flush_if_large().await?;
        }
        if let Some(selected) = &mut self.selected {
            let opened = opened.filter(|opened| is_alone && opened.raw.len() >= KEPT_OPEN_BYTES_MIN);
            let has_memory =
                opened.as_ref().is_some_and(|opened| share.resize(opened.held_bytes()) && !share.is_scarce());
            selected.opened = opened.filter(|_| has_memory).map(|opened| (opened, share));
        }
        Ok(())
    }

    /// The message, if it is the one that is open still.
    fn known(&self, chunk: &[Target]) -> Option<Arc<Opened>> {
        let (opened, _) = self.selected.as_ref()?.opened.as_ref()?;
        matches!(chunk, [(_, entry)] if entry.email == opened.email).then(|| opened.clone())
    }

    /// VANISHED (EARLIER) of what is gone since a modseq (RFC 7162 section 3.2.6). What goes on being shown to the client, because
    /// it was not told yet that it is gone, is told later.
    async fn tell_vanished(&mut self, set: &MessageSet, since: u64) -> Result<(), StoreError> {
        let Some(selected) = &self.selected else { return Ok(()) };
        let Some(delta) = self.store().mailbox_delta(selected.shared.id, since).await? else { return Ok(()) };
        let asked = match set {
            MessageSet::Saved => number_set(&self.saved),
            MessageSet::Set(set) => set.resolve(selected.view.last_uid()),
        };
        let given = NumberSet::from_ranges(vec![1..=selected.record().uid_next.saturating_sub(1)]);
        let gone = match delta.is_complete {
            true => number_set(&delta.expunged).intersection(&asked).intersection(&given),
            // It is not remembered what went since: all that is not there may have.
            false => asked.intersection(&given),
        };
        let gone: NumberSet = gone.iter().filter(|uid| selected.view.index_of(*uid).is_none()).collect();
        response::vanished(self.wire.output(), &gone, true);
        Ok(())
    }
}

/// What was told so far.
#[derive(Debug, Default)]
struct Told {
    is_begun: bool,
    has_gone: bool,
    has_unknown_encoding: bool,
}

impl Told {
    fn status(&self, by_uid: bool) -> Status {
        if self.has_unknown_encoding {
            return Status::refusal(Code::UnknownCte, "A part is encoded in a way that is not known here");
        }
        match (self.has_gone, by_uid) {
            (false, _) => Status::ok("Fetched"),
            // UIDs that are not there are no error (RFC 9051 section 6.4.9); sequence numbers are (RFC 2180 section 4.1.2).
            (true, true) => Status::ok("Fetched, but some are gone").with_code(Code::ExpungeIssued),
            (true, false) => Status::refusal(Code::ExpungeIssued, "Some of the messages are gone"),
        }
    }
}

/// Why a FETCH ended before its end.
enum Failed {
    Store(StoreError),
    NoMemory,
}

/// Chunks that are being read, in their order. They end with the session.
#[derive(Default)]
struct Ahead(VecDeque<JoinHandle<Result<Rendered, StoreError>>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
