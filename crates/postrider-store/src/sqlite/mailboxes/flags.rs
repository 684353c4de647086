//! Changing flags.

use postrider_core::mailbox::UidSet;

use super::entries;
use crate::records::*;
use crate::sqlite::batch::Batch;
use crate::sqlite::failure::Failure;

pub(super) fn store(batch: &mut Batch<'_>, store: &StoreFlags) -> Result<FlagsStored, Failure> {
    let connection = batch.connection;
    let touched = &mut batch.mailboxes;
    let slot = touched.existing(store.mailbox)?;
    let flags = match store.operation {
        FlagsOperation::Remove => store.flags.known(&touched[slot].keywords),
        FlagsOperation::Replace | FlagsOperation::Add => touched.flags(slot, &store.flags)?,
    };
    touched.settle(slot)?;
    let (number, before) = (touched[slot].number, touched[slot].modseq);
    let modseq = before + 1;
    let (mut changed, mut conflicted) = (UidSet::new(), UidSet::new());
    entries::walk(connection, number, Some(&store.uids), |mut chunk| {
        let mailbox = &mut touched[slot];
        let is_changed = chunk.change_flags(modseq, |entry| {
            if !store.uids.contains(entry.uid) {
                return None;
            }
            if store.unchanged_since.is_some_and(|since| entry.modseq > since) {
                conflicted.push(entry.uid);
                return None;
            }
            let new = store.operation.apply(entry.flags, flags);
            if new == entry.flags {
                return None;
            }
            changed.push(entry.uid);
            mailbox.count_flags(entry, -1);
            mailbox.count_flags(&Entry { flags: new, ..*entry }, 1);
            Some(new)
        });
        if is_changed {
            chunk.write(connection)?;
        }
        Ok(())
    })?;
    let modseq = if changed.is_empty() { before } else { touched.next_modseq(slot) };
    let keywords = touched[slot].keywords.clone();
    Ok(FlagsStored { changed, conflicted, modseq_before: before, modseq, flags, keywords })
}
