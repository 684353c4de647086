//! A mailbox at one moment: an immutable value that all sessions share.
//!
//! Entries are kept in chunks. A later snapshot shares the chunks that did not change, so that one new message in a large
//! mailbox costs one chunk, and two snapshots are compared by their addresses first.

use std::ops::Range;
use std::sync::Arc;

use postrider_core::mailbox::{Flags, UidSet};
use postrider_store::{Entry, FlagsOperation, FlagsStored, MailboxDelta, MailboxRecord, Modseq, OpenMailbox};

/// Entries in one chunk. Few in tests, which so come upon its ends.
const CHUNK_ENTRIES: usize = if cfg!(test) { 4 } else { 512 };

/// A mailbox and its entries, by UID. The sequence number of an entry is its index + 1.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) record: Arc<MailboxRecord>,
    chunks: Vec<Chunk>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Chunk {
    /// Index of its first entry in the mailbox.
    start: usize,
    /// Never empty.
    entries: Arc<[Entry]>,
}

impl Chunk {
    fn end(&self) -> usize {
        self.start + self.entries.len()
    }

    fn last_uid(&self) -> u32 {
        self.entries.last().map_or(0, |entry| entry.uid)
    }
}

impl Snapshot {
    pub(crate) fn new(open: OpenMailbox) -> Self {
        let mut builder = Builder::default();
        for entries in open.entries.chunks(CHUNK_ENTRIES) {
            builder.push_chunk(entries.into());
        }
        builder.finish(Arc::new(open.record))
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn modseq(&self) -> Modseq {
        self.record.highest_modseq
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Entry> {
        let chunk = self.chunks.get(self.chunks.partition_point(|chunk| chunk.end() <= index))?;
        chunk.entries.get(index.checked_sub(chunk.start)?)
    }

    /// The index of the first entry whose UID is not below `uid`; [`Snapshot::len`] if there is none.
    pub(crate) fn index_from(&self, uid: u32) -> usize {
        let Some(chunk) = self.chunks.get(self.chunks.partition_point(|chunk| chunk.last_uid() < uid)) else {
            return self.len;
        };
        chunk.start + chunk.entries.partition_point(|entry| entry.uid < uid)
    }

    pub(crate) fn index_of(&self, uid: u32) -> Option<usize> {
        let index = self.index_from(uid);
        self.get(index).filter(|entry| entry.uid == uid).map(|_| index)
    }

    pub(crate) fn last_uid(&self) -> u32 {
        self.chunks.last().map_or(0, Chunk::last_uid)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.chunks.iter().flat_map(|chunk| chunk.entries.iter())
    }

    /// Entries of these indices, upwards; what lies beyond the end is left out.
    pub(crate) fn range(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, &Entry)> {
        let to = to.min(self.len);
        let first = self.chunks.partition_point(|chunk| chunk.end() <= from);
        let chunks = self.chunks.get(first..).unwrap_or_default().iter().take_while(move |chunk| chunk.start < to);
        chunks.flat_map(move |chunk| {
            let (begin, end) = (from.max(chunk.start), to.min(chunk.end()));
            let entries = chunk.entries.get(begin - chunk.start..end - chunk.start).unwrap_or_default();
            (begin..end).zip(entries)
        })
    }

    /// The entries of these UIDs that are there, with their indices.
    pub(crate) fn of_uids(&self, uids: &UidSet) -> impl Iterator<Item = (usize, &Entry)> {
        self.places_of(uids).flat_map(|place| self.range(place.start, place.end))
    }

    /// For each range of UIDs, the indices of those that are there.
    pub(crate) fn places_of(&self, uids: &UidSet) -> impl Iterator<Item = Range<usize>> {
        uids.ranges().iter().map(|&(first, last)| {
            let end = if last == u32::MAX { self.len } else { self.index_from(last + 1) };
            self.index_from(first)..end
        })
    }

    /// The mailbox after what happened since this snapshot, told completely: what a delta tells twice does no harm.
    pub(crate) fn after(&self, delta: MailboxDelta) -> Self {
        self.rebuilt(Arc::new(delta.record), &delta.changed, &delta.expunged)
    }

    /// The mailbox after a change of flags that was made to exactly this state of it; `None` if it was another state.
    pub(crate) fn after_flags(&self, operation: FlagsOperation, stored: &FlagsStored) -> Option<Self> {
        if self.modseq() != stored.modseq_before {
            return None;
        }
        let mut record = (*self.record).clone();
        record.highest_modseq = stored.modseq;
        record.keywords.clone_from(&stored.keywords);
        let changed: Vec<Entry> = self
            .of_uids(&stored.changed)
            .map(|(_, entry)| {
                let flags = operation.apply(entry.flags, stored.flags);
                count_change(&mut record, entry, flags);
                Entry { flags, modseq: stored.modseq, ..*entry }
            })
            .collect();
        Some(self.rebuilt(Arc::new(record), &changed, &UidSet::new()))
    }

    /// The mailbox with other entries in place of those of the same UID, others behind or between them, and without some.
    pub(crate) fn rebuilt(&self, record: Arc<MailboxRecord>, changed: &[Entry], gone: &UidSet) -> Self {
        let mut builder = Builder::default();
        let mut rest = changed;
        for chunk in &self.chunks {
            let (mine, later) = rest.split_at(rest.partition_point(|entry| entry.uid <= chunk.last_uid()));
            rest = later;
            let first_uid = chunk.entries.first().map_or(0, |entry| entry.uid);
            if mine.is_empty() && !gone.intersects(first_uid, chunk.last_uid()) {
                builder.push_chunk(chunk.entries.clone());
            } else {
                builder.push_entries(merge(&chunk.entries, mine).into_iter().filter(|entry| !gone.contains(entry.uid)));
            }
        }
        // New ones go into the last chunk as long as it has room.
        builder.push_entries(rest.iter().copied().filter(|entry| !gone.contains(entry.uid)));
        builder.finish(record)
    }

    /// Whether both have the same entries in this place without looking at them.
    fn shares_chunk(&self, other: &Self, n: usize) -> bool {
        match (self.chunks.get(n), other.chunks.get(n)) {
            (Some(one), Some(two)) => Arc::ptr_eq(&one.entries, &two.entries),
            _ => false,
        }
    }

    /// How many entries at the start of both are shared and need not be compared.
    pub(crate) fn shared_start(&self, other: &Self) -> usize {
        let shared = (0..self.chunks.len()).take_while(|&n| self.shares_chunk(other, n)).count();
        shared.checked_sub(1).and_then(|last| self.chunks.get(last)).map_or(0, Chunk::end)
    }
}

/// The counts of a record when an entry gets other flags.
fn count_change(record: &mut MailboxRecord, entry: &Entry, flags: Flags) {
    let counts = &mut record.counts;
    let (was_seen, is_seen) = (entry.flags.contains(Flags::SEEN), flags.contains(Flags::SEEN));
    if was_seen != is_seen {
        counts.unseen = if is_seen { counts.unseen.saturating_sub(1) } else { counts.unseen + 1 };
    }
    let (was_deleted, is_deleted) = (entry.flags.contains(Flags::DELETED), flags.contains(Flags::DELETED));
    if !was_deleted && is_deleted {
        counts.deleted += 1;
        counts.deleted_bytes += u64::from(entry.size);
    } else if was_deleted && !is_deleted {
        counts.deleted = counts.deleted.saturating_sub(1);
        counts.deleted_bytes = counts.deleted_bytes.saturating_sub(u64::from(entry.size));
    }
}

/// Both in the order of UIDs; of the same UID the second.
fn merge(entries: &[Entry], changed: &[Entry]) -> Vec<Entry> {
    let mut merged = Vec::with_capacity(entries.len() + changed.len());
    let mut changed = changed.iter().copied().peekable();
    for entry in entries {
        while let Some(new) = changed.next_if(|new| new.uid < entry.uid) {
            merged.push(new);
        }
        merged.push(changed.next_if(|new| new.uid == entry.uid).unwrap_or(*entry));
    }
    merged.extend(changed);
    merged
}

/// Chunks in the making.
#[derive(Default)]
struct Builder {
    chunks: Vec<Chunk>,
    len: usize,
}

impl Builder {
    fn push_chunk(&mut self, entries: Arc<[Entry]>) {
        if entries.is_empty() {
            return;
        }
        let start = self.len;
        self.len += entries.len();
        self.chunks.push(Chunk { start, entries });
    }

    /// Adds entries to the last chunk, and to new ones as it fills. A chunk that is small after an expunge is filled, too.
    fn push_entries(&mut self, entries: impl Iterator<Item = Entry>) {
        let mut entries = entries.peekable();
        if entries.peek().is_none() {
            return;
        }
        let mut open = Vec::with_capacity(CHUNK_ENTRIES);
        if let Some(last) = self.chunks.pop_if(|last| last.entries.len() < CHUNK_ENTRIES) {
            self.len = last.start;
            open.extend_from_slice(&last.entries);
        }
        for entry in entries {
            if open.len() == CHUNK_ENTRIES {
                self.push_chunk(open.as_slice().into());
                open.clear();
            }
            open.push(entry);
        }
        self.push_chunk(open.into());
    }

    fn finish(self, record: Arc<MailboxRecord>) -> Snapshot {
        Snapshot { record, chunks: self.chunks, len: self.len }
    }
}
