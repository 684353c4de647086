//! Entries of mailboxes as they stand in rows: 160 UIDs to a row, each entry in the same number of bytes.
//!
//! A row's key is made of the mailbox's number and of the UIDs in it, so that a mailbox is read by one walk over
//! neighbouring rows, and a UID is found without an index.

use postrider_core::mailbox::{Flags, UidSet};
use postrider_core::{ObjectId, Timestamp};
use rusqlite::{Connection, Row};

use crate::records::{Entry, Modseq};
use crate::sqlite::failure::{Failure, corrupt};
use crate::sqlite::sequence;

/// UIDs of one row: as many as fill a page of the database ([`super::super::open`]), so that no page has half a row to
/// spare, and none has to be followed to another.
const CHUNK_UIDS: u32 = 160;

/// Bits of the number of a row within its mailbox.
const CHUNK_BITS: u32 = 26;

/// An entry: its place among the UIDs of the row (1 byte), modseq (8), flags (8), e-mail (12) and slot (1), size (4), internal date (8) and
/// saved date (8), all little-endian.
const ENTRY_BYTES: usize = 50;

/// Where modseq and flags stand in it.
const MODSEQ: std::ops::Range<usize> = 1..9;
const FLAGS: std::ops::Range<usize> = 9..17;

/// Rows that are held in memory while a mailbox is walked through.
const WALK_CHUNKS: usize = 32;

/// An entry as the engine knows it: with the row of its e-mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sqlite) struct Stored {
    pub(in crate::sqlite) entry: Entry,
    /// `emails.seq`.
    pub(in crate::sqlite) seq: i64,
}

/// A row of entries.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) key: i64,
    /// The highest of its entries, or more.
    pub(super) modseq: Modseq,
    content: Vec<u8>,
}

/// The key of the row that a UID is in.
pub(super) fn key(mailbox: i64, uid: u32) -> i64 {
    mailbox << CHUNK_BITS | i64::from(uid / CHUNK_UIDS)
}

/// The keys that rows of a mailbox can have: first and last.
pub(super) fn keys(mailbox: i64) -> (i64, i64) {
    (key(mailbox, 0), key(mailbox, u32::MAX))
}

/// Where a UID stands among those of its row.
fn place(uid: u32) -> u8 {
    (uid % CHUNK_UIDS) as u8
}

/// The keys of the rows that UIDs may be in, as ranges that do not overlap.
fn spans(mailbox: i64, uids: &UidSet) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for &(first, last) in uids.ranges() {
        let (first, last) = (key(mailbox, first), key(mailbox, last));
        match spans.last_mut() {
            Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
            _ => spans.push((first, last)),
        }
    }
    spans
}

impl Chunk {
    pub(super) fn new(key: i64) -> Self {
        Self { key, modseq: 0, content: Vec::new() }
    }

    pub(super) fn read(connection: &Connection, key: i64) -> rusqlite::Result<Option<Self>> {
        let mut statement = connection.prepare_cached("SELECT chunk, modseq, content FROM entries WHERE chunk = ?1")?;
        let mut rows = statement.query([key])?;
        rows.next()?.map(Self::of).transpose()
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let content = row.get_ref(2)?.as_blob()?.to_vec();
        Ok(Self { key: row.get(0)?, modseq: row.get::<_, i64>(1)? as u64, content })
    }

    /// Writes the row; one without entries goes.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.content.is_empty() {
            connection.prepare_cached("DELETE FROM entries WHERE chunk = ?1")?.execute([self.key])?;
        } else {
            connection.prepare_cached("INSERT OR REPLACE INTO entries VALUES (?1, ?2, ?3)")?.execute((
                self.key,
                self.modseq as i64,
                &self.content[..],
            ))?;
        }
        Ok(())
    }

    /// Adds an entry behind the others: its UID is greater than theirs.
    pub(super) fn push(&mut self, stored: &Stored) {
        self.modseq = self.modseq.max(stored.entry.modseq);
        self.content.extend_from_slice(&encode(stored));
    }

    /// Puts an entry in its place; `false` if its UID is there.
    pub(super) fn insert(&mut self, stored: &Stored) -> bool {
        let low = place(stored.entry.uid);
        let position = self.content.chunks_exact(ENTRY_BYTES).position(|entry| entry[0] >= low);
        match position.map(|position| position * ENTRY_BYTES) {
            None => self.push(stored),
            Some(at) if self.content.get(at) == Some(&low) => return false,
            Some(at) => {
                self.modseq = self.modseq.max(stored.entry.modseq);
                self.content.splice(at..at, encode(stored));
            }
        }
        true
    }

    /// By UID.
    pub(super) fn entries(&self) -> impl Iterator<Item = Stored> + '_ {
        decode_all(self.key, &self.content)
    }

    /// Gives entries other flags: `change` says which, if any, and they get this modseq. Returns whether there were any.
    pub(super) fn change_flags(&mut self, modseq: Modseq, mut change: impl FnMut(&Entry) -> Option<Flags>) -> bool {
        let mut is_changed = false;
        for bytes in self.content.chunks_exact_mut(ENTRY_BYTES) {
            if let Some(flags) = change(&decode(self.key, bytes).entry) {
                bytes[MODSEQ].copy_from_slice(&modseq.to_le_bytes());
                bytes[FLAGS].copy_from_slice(&flags.bits().to_le_bytes());
                is_changed = true;
            }
        }
        if is_changed {
            self.modseq = modseq;
        }
        is_changed
    }

    /// Keeps the entries that `keep` names. Returns whether any are gone.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Stored) -> bool) -> bool {
        let before = self.content.len();
        let mut kept = Vec::with_capacity(before);
        for bytes in self.content.chunks_exact(ENTRY_BYTES) {
            if keep(&decode(self.key, bytes)) {
                kept.extend_from_slice(bytes);
            }
        }
        self.content = kept;
        self.content.len() < before
    }
}

/// Visits the rows that UIDs may be in, or all of a mailbox, by UID. `visit` may write the row that it is given.
pub(super) fn walk(
    connection: &Connection,
    mailbox: i64,
    uids: Option<&UidSet>,
    mut visit: impl FnMut(Chunk) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for (mut first, last) in uids.map_or_else(|| vec![keys(mailbox)], |uids| spans(mailbox, uids)) {
        while first <= last {
            let chunks = read(connection, first, last, WALK_CHUNKS)?;
            let is_last = chunks.len() < WALK_CHUNKS;
            first = chunks.last().map_or(last, |chunk| chunk.key) + 1;
            chunks.into_iter().try_for_each(&mut visit)?;
            if is_last {
                break;
            }
        }
    }
    Ok(())
}

/// Up to `count` rows.
pub(super) fn read(connection: &Connection, first: i64, last: i64, count: usize) -> rusqlite::Result<Vec<Chunk>> {
    let mut statement = connection.prepare_cached(
        "SELECT chunk, modseq, content FROM entries WHERE chunk BETWEEN ?1 AND ?2 ORDER BY chunk LIMIT ?3",
    )?;
    let chunks = statement.query_map((first, last, count as i64), Chunk::of)?;
    chunks.collect()
}

/// Entries of a mailbox that were changed after a modseq, by UID; all after none.
pub(super) fn changed_since(
    connection: &Connection,
    mailbox: i64,
    since: Option<Modseq>,
    count: u64,
) -> Result<Vec<Entry>, crate::StoreError> {
    let (first, last) = keys(mailbox);
    let since = since.map_or(-1, |since| i64::try_from(since).unwrap_or(i64::MAX));
    let mut statement = connection.prepare_cached(
        "SELECT chunk, content FROM entries WHERE chunk BETWEEN ?1 AND ?2 AND modseq > ?3 ORDER BY chunk",
    )?;
    let mut rows = statement.query((first, last, since))?;
    let mut entries = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(1 << 20));
    while let Some(row) = rows.next()? {
        let content = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        if content.len() % ENTRY_BYTES != 0 {
            return Err(corrupt(format!("a row of entries has {} bytes", content.len())));
        }
        let all = decode_all(row.get(0)?, content).map(|stored| stored.entry);
        entries.extend(all.filter(|entry| entry.modseq as i64 > since));
    }
    Ok(entries)
}

fn decode_all(key: i64, content: &[u8]) -> impl Iterator<Item = Stored> + '_ {
    content.chunks_exact(ENTRY_BYTES).map(move |bytes| decode(key, bytes))
}

fn encode(stored: &Stored) -> [u8; ENTRY_BYTES] {
    let Stored { entry, seq } = stored;
    let mut bytes = [0; ENTRY_BYTES];
    bytes[0] = place(entry.uid);
    bytes[MODSEQ].copy_from_slice(&entry.modseq.to_le_bytes());
    bytes[FLAGS].copy_from_slice(&entry.flags.bits().to_le_bytes());
    bytes[17..29].copy_from_slice(entry.email.as_bytes());
    bytes[29] = sequence::slot(*seq);
    bytes[30..34].copy_from_slice(&entry.size.to_le_bytes());
    bytes[34..42].copy_from_slice(&entry.internal_date.as_millis().to_le_bytes());
    bytes[42..50].copy_from_slice(&entry.saved_at.as_millis().to_le_bytes());
    bytes
}

/// Of exactly [`ENTRY_BYTES`].
fn decode(key: i64, bytes: &[u8]) -> Stored {
    let eight = |at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(eight)
    };
    let mut id = [0; 12];
    id.copy_from_slice(&bytes[17..29]);
    let email = ObjectId::from_bytes(id);
    let chunk = ((key & ((1 << CHUNK_BITS) - 1)) as u32).min(u32::MAX / CHUNK_UIDS);
    let entry = Entry {
        uid: (chunk * CHUNK_UIDS).saturating_add(u32::from(bytes[0])),
        modseq: eight(1),
        flags: Flags::from_bits(eight(9)),
        email,
        size: u32::from_le_bytes([bytes[30], bytes[31], bytes[32], bytes[33]]),
        internal_date: Timestamp::from_millis(eight(34) as i64),
        saved_at: Timestamp::from_millis(eight(42) as i64),
    };
    Stored { entry, seq: sequence::of(email, bytes[29]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(uid: u32, modseq: Modseq) -> Stored {
        let email = ObjectId::from_bytes([uid as u8, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let entry = Entry {
            uid,
            modseq,
            flags: Flags::SEEN | Flags::keyword(55),
            email,
            size: u32::MAX,
            internal_date: Timestamp::from_millis(-5),
            saved_at: Timestamp::from_millis(1_800_000_000_123),
        };
        Stored { entry, seq: sequence::of(email, 127) }
    }

    #[test]
    fn entries_come_back_as_they_went() {
        for uid in [1, 159, 160, 1_000_000, u32::MAX] {
            let mut chunk = Chunk::new(key(77, uid));
            chunk.push(&stored(uid, 9));
            assert_eq!(chunk.entries().collect::<Vec<_>>(), [stored(uid, 9)]);
            assert_eq!(chunk.modseq, 9);
        }
    }

    #[test]
    fn entries_find_their_place() {
        let mut chunk = Chunk::new(key(1, 160));
        for uid in [170, 160, 319, 161] {
            assert!(chunk.insert(&stored(uid, u64::from(uid))));
            assert!(!chunk.insert(&stored(uid, 1)));
        }
        let uids: Vec<u32> = chunk.entries().map(|stored| stored.entry.uid).collect();
        assert_eq!((uids, chunk.modseq), (vec![160, 161, 170, 319], 319));
    }

    #[test]
    fn a_full_row_fits_a_page() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("PRAGMA page_size = 8192; CREATE TABLE entries (chunk INTEGER PRIMARY KEY, modseq INTEGER, content BLOB)").unwrap();
        let pages = || -> i64 { connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap() };
        let before = pages();
        let mut chunk = Chunk::new(key(i64::from(u32::MAX), u32::MAX - CHUNK_UIDS));
        let first = (u32::MAX - CHUNK_UIDS) / CHUNK_UIDS * CHUNK_UIDS;
        (first..first + CHUNK_UIDS).for_each(|uid| chunk.push(&stored(uid, u64::from(u32::MAX))));
        chunk.write(&connection).unwrap();
        assert_eq!(pages(), before, "no page beside the table's own");
        assert_eq!(Chunk::read(&connection, chunk.key).unwrap().unwrap().entries().count(), CHUNK_UIDS as usize);
    }

    #[test]
    fn spans_do_not_overlap() {
        let uids = UidSet::from_ranges([(1, 3), (150, 170), (300, 300), (800, 800), (2_500, u32::MAX)]);
        let base = key(5, 0);
        let expected = [(base, base + 1), (base + 5, base + 5), (base + 15, keys(5).1)];
        assert_eq!(spans(5, &uids), expected);
        assert!(keys(5).1 < keys(6).0);
    }
}
