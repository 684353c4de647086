//! Copying and moving messages from one mailbox to another.

use postrider_core::Timestamp;
use postrider_core::mailbox::{Flags, NamedFlags, UidSet};

use super::entries::{self, Stored};
use super::expunge::{self, Which};
use super::touched::{Slot, Touched};
use crate::error::StoreError;
use crate::records::*;
use crate::sqlite::batch::Batch;
use crate::sqlite::failure::Failure;

pub(super) fn copy(batch: &mut Batch<'_>, copy: &CopyMessages) -> Result<Copied, Failure> {
    let (from, to) = (batch.mailboxes.existing(copy.from)?, batch.mailboxes.existing(copy.to)?);
    copy_all(batch, (from, to), Some(&copy.uids), copy.moves, copy.now)
}

/// Copies or moves messages of these UIDs, or all.
pub(super) fn copy_all(
    batch: &mut Batch<'_>,
    (from, to): (Slot, Slot),
    uids: Option<&UidSet>,
    moves: bool,
    now: Timestamp,
) -> Result<Copied, Failure> {
    let uid_validity = batch.mailboxes[to].uid_validity;
    let found = find(batch, from, uids)?;
    if found.is_empty() {
        return Ok(Copied { uid_validity, uids: Vec::new() });
    }
    if !moves {
        let bytes = found.iter().map(|stored| u64::from(stored.entry.size)).sum();
        let more = Usage { bytes, messages: found.len() as u64 };
        let user = batch.mailboxes[to].user;
        let quota = batch.mailboxes.quota(user)?;
        if !batch.mailboxes.has_room(user, quota, more, Usage::default())? {
            return Err(Failure::Refused(StoreError::OverQuota));
        }
    }
    let keywords = Keywords::of(&mut batch.mailboxes, (from, to), &found)?;
    let modseq = batch.mailboxes.next_modseq(to);
    let mut copied = Vec::with_capacity(found.len());
    for stored in &found {
        let flags = keywords.translate(stored.entry.flags);
        let entry = Entry { flags, modseq, saved_at: now, ..stored.entry };
        copied.push((stored.entry.uid, batch.mailboxes.add(to, Stored { entry, ..*stored })?));
        if !moves {
            expunge::refer(batch, stored.seq, 1)?;
        }
    }
    if moves {
        let uids = found.iter().map(|stored| stored.entry.uid).collect();
        expunge::take(batch, from, Which::All(&uids), (from == to).then_some(modseq))?;
    }
    Ok(Copied { uid_validity, uids: copied })
}

fn find(batch: &mut Batch<'_>, slot: Slot, uids: Option<&UidSet>) -> Result<Vec<Stored>, Failure> {
    batch.mailboxes.settle(slot)?;
    let mut found = Vec::new();
    entries::walk(batch.connection, batch.mailboxes[slot].number, uids, |chunk| {
        found.extend(chunk.entries().filter(|stored| uids.is_none_or(|uids| uids.contains(stored.entry.uid))));
        Ok(())
    })?;
    Ok(found)
}

/// What one mailbox's keywords are in another.
struct Keywords {
    /// By their number in the one.
    there: Vec<Flags>,
}

impl Keywords {
    /// Of the keywords that these entries have; the other mailbox gets those that it does not have yet, as far as it has room.
    fn of(touched: &mut Touched<'_>, (from, to): (Slot, Slot), found: &[Stored]) -> Result<Self, Failure> {
        let used = found.iter().fold(Flags::NONE, |used, stored| used | stored.entry.flags);
        let named = NamedFlags::of(used & !Flags::SYSTEM, &touched[from].keywords);
        let named = named.fitting(&touched[to].keywords);
        touched.flags(to, &named)?;
        let (here, there) = (&touched[from].keywords, &touched[to].keywords);
        let number = |keyword| there.iter().position(|known| known == keyword);
        Ok(Self { there: here.iter().map(|keyword| number(keyword).map_or(Flags::NONE, Flags::keyword)).collect() })
    }

    fn translate(&self, flags: Flags) -> Flags {
        let keywords = flags.keywords().filter_map(|number| self.there.get(number).copied());
        keywords.fold(flags & Flags::SYSTEM, |all, keyword| all | keyword)
    }
}
