//! Taking messages out of mailboxes, and what nothing refers to any more out of the store.

use postrider_core::mailbox::{Flags, UidSet};

use super::entries::{self, Stored};
use super::touched::Slot;
use crate::records::*;
use crate::sqlite::accept::HOLD_STAYS;
use crate::sqlite::batch::Batch;
use crate::sqlite::failure::Failure;
use crate::sqlite::record;

/// Which entries are taken away.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'u> {
    /// Those that are marked, of these UIDs if any are given.
    Deleted(Option<&'u UidSet>),
    All(&'u UidSet),
}

impl<'u> Which<'u> {
    fn uids(self) -> Option<&'u UidSet> {
        match self {
            Self::Deleted(uids) => uids,
            Self::All(uids) => Some(uids),
        }
    }

    fn contains(self, entry: &Entry) -> bool {
        let is_marked = matches!(self, Self::All(_)) || entry.flags.contains(Flags::DELETED);
        is_marked && self.uids().is_none_or(|uids| uids.contains(entry.uid))
    }
}

/// Expunges, as a change of its own or as part of the one with this modseq.
pub(super) fn expunge(
    batch: &mut Batch<'_>,
    slot: Slot,
    which: Which<'_>,
    modseq: Option<Modseq>,
) -> Result<Expunged, Failure> {
    let before = batch.mailboxes[slot].modseq;
    let taken = take(batch, slot, which, modseq)?;
    for stored in &taken {
        release(batch, stored.seq, 1)?;
    }
    let uids = taken.iter().map(|stored| stored.entry.uid).collect();
    Ok(Expunged { uids, modseq_before: before, modseq: batch.mailboxes[slot].modseq })
}

/// Takes entries out of a mailbox; what they refer to stays. Returns them by UID.
pub(super) fn take(
    batch: &mut Batch<'_>,
    slot: Slot,
    which: Which<'_>,
    modseq: Option<Modseq>,
) -> Result<Vec<Stored>, Failure> {
    let connection = batch.connection;
    let touched = &mut batch.mailboxes;
    let mut taken = Vec::new();
    if matches!(which, Which::Deleted(_)) && touched[slot].counts.deleted == 0 {
        return Ok(taken);
    }
    touched.settle(slot)?;
    entries::walk(connection, touched[slot].number, which.uids(), |mut chunk| {
        let is_changed = chunk.retain(|stored| {
            let is_taken = which.contains(&stored.entry);
            if is_taken {
                taken.push(*stored);
            }
            !is_taken
        });
        if is_changed {
            chunk.write(connection)?;
        }
        Ok(())
    })?;
    if !taken.is_empty() {
        taken.iter().for_each(|stored| touched.count(slot, &stored.entry, -1));
        let modseq = modseq.unwrap_or_else(|| touched.next_modseq(slot));
        let uids = taken.iter().map(|stored| stored.entry.uid).collect();
        touched.remember_expunged(slot, modseq, &uids)?;
    }
    Ok(taken)
}

/// How much these entries are.
pub(super) fn usage_of(batch: &mut Batch<'_>, slot: Slot, uids: &UidSet) -> Result<Usage, Failure> {
    batch.mailboxes.settle(slot)?;
    let mut usage = Usage::default();
    entries::walk(batch.connection, batch.mailboxes[slot].number, Some(uids), |chunk| {
        for stored in chunk.entries().filter(|stored| uids.contains(stored.entry.uid)) {
            usage.bytes += u64::from(stored.entry.size);
            usage.messages += 1;
        }
        Ok(())
    })?;
    Ok(usage)
}

/// So many entries more refer to an e-mail.
pub(super) fn refer(batch: &Batch<'_>, seq: i64, entries: i64) -> rusqlite::Result<()> {
    batch
        .connection
        .prepare_cached("UPDATE emails SET entries = entries + ?2 WHERE seq = ?1")?
        .execute((seq, entries))?;
    Ok(())
}

/// So many entries refer to an e-mail no more: it goes if nothing else keeps it.
pub(in crate::sqlite) fn release(batch: &mut Batch<'_>, seq: i64, entries: i64) -> Result<(), Failure> {
    let left = {
        let mut statement = batch
            .connection
            .prepare_cached("UPDATE emails SET entries = entries - ?2 WHERE seq = ?1 RETURNING entries, hold")?;
        let mut rows = statement.query((seq, entries))?;
        // A statement that returns rows has changed all of them with the first.
        match rows.next()? {
            Some(row) => Some((row.get::<_, i64>(0)?, row.get::<_, u8>(1)?)),
            None => None,
        }
    };
    if left.is_some_and(|(entries, hold)| entries <= 0 && hold & HOLD_STAYS == 0) {
        record::purge(batch, seq)?;
    }
    Ok(())
}
