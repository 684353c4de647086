//! The mailbox that a session has selected, as its client was told of it, and telling it what has changed since.
//!
//! Sequence numbers are those of the view: they stay as they are until an expunge is told, which happens only where RFC 3501
//! section 7.4.1 allows it.

use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use postrider_core::mailbox::{Flags, Keyword, UidSet};
use postrider_store::{Entry, FlagsOperation, FlagsStored, MailboxRecord};
use postrider_wire::imap::flag::Flag;
use postrider_wire::imap::response::{self, Dialect, FetchLine, Status};
use postrider_wire::imap::sequence::{MessageSet, NumberSet};
use tokio::sync::watch;

use super::opened::Opened;
use super::registry::SharedMailbox;
use super::snapshot::Snapshot;
use crate::memory::MemoryShare;

/// The system flags and how they stand on the wire.
pub(super) const SYSTEM_FLAGS: [(Flags, &str); 5] = [
    (Flags::ANSWERED, "\\Answered"),
    (Flags::FLAGGED, "\\Flagged"),
    (Flags::DELETED, "\\Deleted"),
    (Flags::SEEN, "\\Seen"),
    (Flags::DRAFT, "\\Draft"),
];

/// What a client wants to be told, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling {
    pub(super) dialect: Dialect,
    /// MODSEQ with flags: the client has enabled CONDSTORE (RFC 7162 section 3.1).
    pub(super) condstore: bool,
    /// VANISHED instead of EXPUNGE (RFC 7162 section 3.2.10).
    pub(super) qresync: bool,
    /// Whether sequence numbers may shift now.
    pub(super) expunges: bool,
    /// Whether changes of flags are told now, or later.
    pub(super) flags: bool,
}

/// A selected mailbox.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) shared: Arc<SharedMailbox>,
    /// What the client knows.
    pub(super) view: Arc<Snapshot>,
    /// Whether the view has all that happened up to its modseq; otherwise some of that is told later.
    is_whole: bool,
    pub(super) is_read_only: bool,
    /// Messages from this UID on are recent (RFC 3501 section 2.3.2).
    pub(super) recent_from: u32,
    /// The message that was fetched last, if it is large: for who reads it piece by piece.
    pub(super) opened: Option<(Arc<Opened>, MemoryShare)>,
    latest: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Keywords of the mailbox that FLAGS has named.
    told_keywords: usize,
}

/// The messages that a command is about: places in the view, upwards, apart from each other.
pub(super) type Places = Vec<Range<usize>>;

impl Selected {
    pub(super) fn new(shared: Arc<SharedMailbox>, is_read_only: bool, recent_from: u32) -> Option<Self> {
        let latest = shared.watch();
        let view = latest.borrow().clone()?;
        let told_keywords = view.record.keywords.len();
        Some(Self { shared, view, is_whole: true, is_read_only, recent_from, opened: None, latest, told_keywords })
    }

    pub(super) fn record(&self) -> &MailboxRecord {
        &self.view.record
    }

    /// Waits until there may be something to tell.
    pub(super) async fn changed(&mut self) {
        if self.latest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The places of messages that a client names by sequence numbers or UIDs. UIDs that are not there are left out; sequence
    /// numbers that are not are an error (RFC 9051 section 9: `seq-number`).
    pub(super) fn places(&self, set: &MessageSet, by_uid: bool, saved: &UidSet) -> Result<Places, Status> {
        let set = match set {
            MessageSet::Saved => return Ok(self.places_of(saved)),
            MessageSet::Set(set) => set,
        };
        if by_uid {
            let largest = self.view.last_uid();
            let uids = set.resolve(largest);
            return Ok(self.places_of(&UidSet::from_ranges(uids.ranges().iter().map(|r| (*r.start(), *r.end())))));
        }
        let count = u32::try_from(self.view.len()).unwrap_or(u32::MAX);
        let numbers = set.resolve(count);
        if set.largest_number().is_some_and(|number| number > count) {
            return Err(Status::bad("There is no message of such a sequence number"));
        }
        Ok(numbers.ranges().iter().map(|range| *range.start() as usize - 1..*range.end() as usize).collect())
    }

    fn places_of(&self, uids: &UidSet) -> Places {
        let mut places: Places = Vec::new();
        for range in self.view.places_of(uids).filter(|range| !range.is_empty()) {
            match places.last_mut() {
                Some(before) if before.end == range.start => before.end = range.end,
                _ => places.push(range),
            }
        }
        places
    }

    /// The entries in these places, with their sequence numbers.
    pub(super) fn entries<'s>(&'s self, places: &'s Places) -> impl Iterator<Item = (u32, &'s Entry)> {
        places
            .iter()
            .flat_map(|range| self.view.range(range.start, range.end))
            .map(|(index, entry)| (index as u32 + 1, entry))
    }

    pub(super) fn uids(&self, places: &Places) -> UidSet {
        self.entries(places).map(|(_, entry)| entry.uid).collect()
    }

    /// The names of a message's flags, `\Recent` included where the client's revision knows it.
    pub(super) fn flag_names(&self, entry: &Entry, dialect: Dialect) -> impl Iterator<Item = &str> {
        let is_recent = !dialect.rev2 && entry.uid >= self.recent_from;
        flag_names(entry.flags, &self.view.record.keywords).chain(is_recent.then_some("\\Recent"))
    }

    pub(super) fn recent(&self) -> u32 {
        (self.view.len() - self.view.index_from(self.recent_from)) as u32
    }

    /// Takes note of a change of flags that the client made itself: it is not told of it once more. Where somebody else changed the
    /// same message meanwhile nothing is noted, and all of it is told.
    pub(super) fn know(&mut self, operation: FlagsOperation, stored: &FlagsStored) {
        let Some(latest) = self.latest.borrow().clone() else { return };
        if self.is_whole && self.view.modseq() == stored.modseq_before && latest.modseq() == stored.modseq {
            // Nothing else has happened, and nothing is left to be told: the latest is what the client knows with its own change.
            self.view = latest;
            return;
        }
        self.is_whole = false;
        let is_known = |entry: &&Entry| {
            entry.modseq == stored.modseq
                && self.view.index_of(entry.uid).and_then(|index| self.view.get(index)).is_some_and(|before| {
                    operation.apply(before.flags, stored.flags) == entry.flags && before.modseq <= stored.modseq_before
                })
        };
        let known: Vec<Entry> =
            latest.of_uids(&stored.changed).map(|(_, entry)| entry).filter(is_known).copied().collect();
        self.view = Arc::new(self.view.rebuilt(latest.record.clone(), &known, &UidSet::new()));
    }

    /// Tells what has happened since the client was last told, as far as it may hear it now. `false` if the mailbox is gone.
    pub(super) fn tell(&mut self, out: &mut BytesMut, telling: Telling) -> bool {
        let Some(latest) = self.latest.borrow_and_update().clone() else { return false };
        if Arc::ptr_eq(&latest, &self.view) {
            // An own change may have brought keywords.
            self.tell_keywords(out);
            return true;
        }
        let news = News::between(&self.view, &latest);
        let changed = if telling.flags { news.changed.as_slice() } else { &[] };
        let expunged = if telling.expunges { news.expunged.as_slice() } else { &[] };
        let count_before = self.view.len();
        self.is_whole = changed.len() == news.changed.len() && expunged.len() == news.expunged.len();
        self.view = if self.is_whole {
            latest
        } else {
            let entries: Vec<Entry> = changed.iter().chain(&news.new).copied().collect();
            let gone = expunged.iter().map(|(_, uid)| *uid).collect();
            Arc::new(self.view.rebuilt(latest.record.clone(), &entries, &gone))
        };
        write_expunged(out, expunged, telling.qresync);
        if self.view.len() != count_before - expunged.len() {
            response::exists(out, self.view.len() as u32);
            if !telling.dialect.rev2 {
                response::recent(out, self.recent());
            }
        }
        self.tell_keywords(out);
        for entry in changed {
            if let Some(index) = self.view.index_of(entry.uid) {
                self.write_flags(out, index as u32 + 1, entry, telling);
            }
        }
        true
    }

    /// FLAGS and PERMANENTFLAGS where the mailbox has keywords that the client was not told of.
    pub(super) fn tell_keywords(&mut self, out: &mut BytesMut) {
        let count = self.view.record.keywords.len();
        if count > self.told_keywords {
            self.told_keywords = count;
            self.write_known_flags(out);
        }
    }

    /// `* FLAGS (...)` and `* OK [PERMANENTFLAGS (...)]`.
    pub(super) fn write_known_flags(&self, out: &mut BytesMut) {
        let keywords = &self.view.record.keywords;
        let names = || SYSTEM_FLAGS.iter().map(|(_, name)| *name).chain(keywords.iter().map(Keyword::as_str));
        response::flags(out, names());
        super::select::write_permanent_flags(out, names(), self.is_read_only, keywords.len());
    }

    /// `* n FETCH (UID u FLAGS (...))`.
    pub(super) fn write_flags(&self, out: &mut BytesMut, number: u32, entry: &Entry, telling: Telling) {
        let mut line = FetchLine::begin(out, number, telling.dialect);
        line.uid(entry.uid);
        line.flags(self.flag_names(entry, telling.dialect));
        if telling.condstore {
            line.mod_sequence(entry.modseq);
        }
        line.end();
    }
}

/// The bit of a system flag; none for `\\Recent` and keywords.
pub(super) fn system_flag(flag: &Flag) -> Flags {
    let known = SYSTEM_FLAGS.iter().find(|(_, name)| *name == flag.as_str());
    known.map_or(Flags::NONE, |(flag, _)| *flag)
}

/// The names of flags in a mailbox that has these keywords.
pub(super) fn flag_names(flags: Flags, keywords: &[Keyword]) -> impl Iterator<Item = &str> {
    let system = SYSTEM_FLAGS.iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, name)| *name);
    system.chain(flags.keywords().filter_map(move |number| keywords.get(number)).map(Keyword::as_str))
}

/// A set of UIDs as the wire has them.
pub(super) fn number_set(uids: &UidSet) -> NumberSet {
    NumberSet::from_ranges(uids.ranges().iter().map(|&(first, last)| first..=last).collect())
}

/// What the client does not know yet.
#[derive(Debug, Default)]
struct News {
    /// Sequence numbers of the older snapshot, with UIDs, upwards.
    expunged: Vec<(u32, u32)>,
    changed: Vec<Entry>,
    new: Vec<Entry>,
}

impl News {
    fn between(view: &Snapshot, latest: &Snapshot) -> Self {
        let mut news = Self::default();
        let start = view.shared_start(latest);
        let mut after = latest.range(start, latest.len()).map(|(_, entry)| entry).peekable();
        for (index, entry) in view.range(start, view.len()) {
            match after.next_if(|next| next.uid == entry.uid) {
                Some(next) if next.modseq != entry.modseq => news.changed.push(*next),
                Some(_) => {}
                None => news.expunged.push((index as u32 + 1, entry.uid)),
            }
        }
        news.new.extend(after.copied());
        news
    }
}

fn write_expunged(out: &mut BytesMut, expunged: &[(u32, u32)], qresync: bool) {
    if qresync {
        let uids: NumberSet = expunged.iter().map(|(_, uid)| *uid).collect();
        response::vanished(out, &uids, false);
        return;
    }
    // From the end, so that no number shifts under the next.
    for (number, _) in expunged.iter().rev() {
        response::expunge(out, *number);
    }
}
