//! Where an e-mail stands in the tables: its sequence number, computed from its id.
//!
//! An index from ids to rows would be one more b-tree to touch for each e-mail. Instead the row number is made of the
//! id's seconds and counter, which sort e-mails by the time of their making, and a few bits for the process that made it.
//! Two processes may use the same counter in the same second; so each pair of second and counter has 128 slots, an id
//! takes a free one, and whoever looks for it looks at all of them. Nearly always there is but one.

use rusqlite::Connection;
use rusqlite::OptionalExtension as _;

use postrider_core::{ObjectId, Timestamp};

const SLOT_BITS: u32 = 7;
const SLOT_MASK: i64 = (1 << SLOT_BITS) - 1;
const COUNTER_BITS: u32 = 24;

/// The row numbers that an id may have: first and last.
pub(super) fn slots(id: ObjectId) -> (i64, i64) {
    let bytes = id.as_bytes();
    let seconds = i64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let counter = i64::from(u32::from_be_bytes([0, bytes[9], bytes[10], bytes[11]]));
    let first = (seconds << COUNTER_BITS | counter) << SLOT_BITS;
    (first, first | SLOT_MASK)
}

/// Which of an id's slots a row number is.
pub(super) fn slot(seq: i64) -> u8 {
    (seq & SLOT_MASK) as u8
}

/// The row number of an id in this slot.
pub(super) fn of(id: ObjectId, slot: u8) -> i64 {
    slots(id).0 | i64::from(slot) & SLOT_MASK
}

/// The lowest row number of an e-mail whose id was made at `at` or later.
pub(super) fn lower_bound(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1000).clamp(0, i64::from(u32::MAX)) << (COUNTER_BITS + SLOT_BITS)
}

/// The highest row number of an e-mail whose id was made at `at` or earlier.
pub(super) fn upper_bound(at: Timestamp) -> i64 {
    lower_bound(at) | ((1 << (COUNTER_BITS + SLOT_BITS)) - 1)
}

/// The row of the e-mail with this id.
pub(super) fn find(connection: &Connection, id: ObjectId) -> rusqlite::Result<Option<i64>> {
    let (first, last) = slots(id);
    let mut statement = connection.prepare_cached("SELECT seq FROM emails WHERE seq BETWEEN ?1 AND ?2 AND id = ?3")?;
    statement.query_row((first, last, id.as_bytes()), |row| row.get(0)).optional()
}

/// What stands in the slots of an id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Free(i64),
    /// The id is there already, or no slot is left.
    Taken,
}

/// Finds the place for a new e-mail.
pub(super) fn place(connection: &Connection, id: ObjectId) -> rusqlite::Result<Place> {
    let (first, last) = slots(id);
    let mut statement = connection.prepare_cached("SELECT seq, id FROM emails WHERE seq BETWEEN ?1 AND ?2")?;
    let mut rows = statement.query((first, last))?;
    let mut taken = 0u128;
    while let Some(row) = rows.next()? {
        if row.get_ref(1)?.as_blob()? == id.as_bytes() {
            return Ok(Place::Taken);
        }
        taken |= 1 << (row.get::<_, i64>(0)? & SLOT_MASK);
    }
    let free = (0..=SLOT_MASK).find(|slot| taken & 1 << slot == 0);
    Ok(free.map_or(Place::Taken, |slot| Place::Free(first | slot)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seconds: u32, random: [u8; 5], counter: u32) -> ObjectId {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        bytes[4..9].copy_from_slice(&random);
        bytes[9..].copy_from_slice(&counter.to_be_bytes()[1..]);
        ObjectId::from_bytes(bytes)
    }

    #[test]
    fn rows_sort_by_second_then_counter() {
        let a = slots(id(1, [9; 5], 0xff_ffff));
        let b = slots(id(2, [0; 5], 0));
        let c = slots(id(2, [0; 5], 1));
        assert!(a.1 < b.0 && b.1 < c.0);
        assert_eq!(slots(id(u32::MAX, [255; 5], 0xff_ffff)).1, i64::MAX);
        assert_eq!(slots(id(5, [0; 5], 0)).0, lower_bound(Timestamp::from_millis(5999)));
        assert_eq!(lower_bound(Timestamp::from_millis(-1)), 0);
    }

    #[test]
    fn ids_that_differ_only_in_their_process_each_find_a_slot() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE emails (seq INTEGER PRIMARY KEY, id BLOB)").unwrap();
        let ids: Vec<_> = (0..128).map(|n| id(7, [n, 0, 0, 0, 3], 1)).collect();
        for id in &ids {
            let Place::Free(seq) = place(&connection, *id).unwrap() else { panic!("no slot for {id}") };
            connection.execute("INSERT INTO emails VALUES (?1, ?2)", (seq, id.as_bytes())).unwrap();
            assert_eq!(find(&connection, *id).unwrap(), Some(seq));
        }
        assert!(ids.iter().all(|id| place(&connection, *id).unwrap() == Place::Taken));
        assert_eq!(place(&connection, id(7, [200; 5], 1)).unwrap(), Place::Taken, "all 128 slots are full");
        assert_eq!(find(&connection, id(7, [200; 5], 1)).unwrap(), None);
        connection.execute("DELETE FROM emails WHERE id = ?1", [ids[0].as_bytes()]).unwrap();
        assert_eq!(place(&connection, ids[5]).unwrap(), Place::Taken, "found behind the gap");
    }
}
