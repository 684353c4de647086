//! STORE and UID STORE (RFC 9051 section 6.4.6, RFC 7162 section 3.1.3).

use std::sync::Arc;

use postrider_core::mailbox::{Keyword, KeywordError, NamedFlags, UidSet};
use postrider_store::{Entry, FlagsOperation, FlagsStored, StoreError, StoreFlags};
use postrider_wire::imap::command::{Store, StoreAction};
use postrider_wire::imap::flag::Flag;
use postrider_wire::imap::response::{Code, FetchLine, Status};
use postrider_wire::imap::sequence::NumberSet;

use super::selected::{Places, number_set, system_flag};
use super::session::{End, Session};

/// Answers that are written before it is looked whether they are many.
const ANSWERS_BETWEEN_FLUSHES: usize = 512;

impl Session {
    pub(super) async fn store_flags(&mut self, store: Store) -> Result<Status, End> {
        // RFC 7162 section 3.1: who makes a STORE conditional wants to hear of modseqs.
        self.condstore |= store.unchanged_since.is_some();
        let Some(selected) = &self.selected else { return Ok(Status::bad("No mailbox is selected")) };
        if selected.is_read_only {
            return Ok(Status::refusal(Code::NoPerm, "The mailbox was opened read-only"));
        }
        let places = match selected.places(&store.set, store.uid, &self.saved) {
            Ok(places) => places,
            Err(status) => return Ok(status),
        };
        let Ok(flags) = named_flags(&store.flags) else { return Ok(no_such_keyword()) };
        let uids = selected.uids(&places);
        let operation = match store.action {
            StoreAction::Replace => FlagsOperation::Replace,
            StoreAction::Add => FlagsOperation::Add,
            StoreAction::Remove => FlagsOperation::Remove,
        };
        let mailbox = selected.shared.clone();
        let request = StoreFlags {
            mailbox: mailbox.id,
            uids: uids.clone(),
            operation,
            flags,
            unchanged_since: store.unchanged_since,
        };
        let stored = match self.store().store_flags(request).await {
            Ok(stored) => stored,
            Err(StoreError::Limit(_)) => {
                return Ok(Status::refusal(Code::Limit, "The mailbox can have no more keywords"));
            }
            Err(error) => return Ok(self.store_failed("flags could not be stored", &error)),
        };
        if mailbox.flags_stored(operation, &stored).await {
            self.tell_stored(&places, operation, &stored, store.silent).await?;
        }
        Ok(self.stored_status(&uids, &stored, store.uid))
    }

    /// The messages with the flags that they have now; of a silent STORE no more than the modseqs, where these are wanted (RFC 7162
    /// section 3.1.3).
    async fn tell_stored(
        &mut self,
        places: &Places,
        operation: FlagsOperation,
        stored: &FlagsStored,
        is_silent: bool,
    ) -> Result<(), End> {
        let telling = self.telling(false);
        let Some(selected) = &mut self.selected else { return Ok(()) };
        selected.know(operation, stored);
        if is_silent && !self.condstore {
            return Ok(());
        }
        selected.tell_keywords(self.wire.output());
        let Some(latest) = selected.shared.snapshot() else { return Ok(()) };
        // Where somebody else was there meanwhile, what is true now is told, and nothing of what is gone.
        let is_known = Arc::ptr_eq(&latest, &selected.view);
        let now = |entry: &Entry| {
            if is_known {
                Some(*entry)
            } else {
                latest.index_of(entry.uid).and_then(|index| latest.get(index)).copied()
            }
        };
        for range in places {
            for start in range.clone().step_by(ANSWERS_BETWEEN_FLUSHES) {
                let end = range.end.min(start + ANSWERS_BETWEEN_FLUSHES);
                let Some(selected) = &self.selected else { return Ok(()) };
                for (index, entry) in selected.view.range(start, end) {
                    let Some(entry) = now(entry).filter(|entry| !stored.conflicted.contains(entry.uid)) else {
                        continue;
                    };
                    let number = index as u32 + 1;
                    if !is_silent {
                        selected.write_flags(self.wire.output(), number, &entry, telling);
                    } else if stored.changed.contains(entry.uid) {
                        let mut line = FetchLine::begin(self.wire.output(), number, telling.dialect);
                        line.uid(entry.uid);
                        line.mod_sequence(stored.modseq);
                        line.end();
                    }
                }
                self.flush_if_large().await?;
            }
        }
        Ok(())
    }

    fn stored_status(&self, uids: &UidSet, stored: &FlagsStored, by_uid: bool) -> Status {
        let Some(selected) = &self.selected else { return Status::ok("Stored") };
        if !stored.conflicted.is_empty() {
            // Section 3.1.3: sequence numbers or UIDs, as the client named them.
            let conflicted: NumberSet = match by_uid {
                true => number_set(&stored.conflicted),
                false => {
                    let indices = stored.conflicted.iter().filter_map(|uid| selected.view.index_of(uid));
                    indices.map(|index| index as u32 + 1).collect()
                }
            };
            return Status::ok("Some have changed meanwhile").with_code(Code::Modified(conflicted));
        }
        let there = selected.shared.snapshot().map_or(0, |latest| latest.of_uids(uids).count() as u64);
        match (there < uids.len(), by_uid) {
            (false, _) => Status::ok("Stored"),
            (true, true) => Status::ok("Stored, but some are gone").with_code(Code::ExpungeIssued),
            // RFC 2180 section 4.2.1.
            (true, false) => Status::refusal(Code::ExpungeIssued, "Some of the messages are gone"),
        }
    }
}

/// Flags by name, as the store wants them.
pub(super) fn named_flags(flags: &[Flag]) -> Result<NamedFlags, KeywordError> {
    let mut named = NamedFlags::default();
    for flag in flags {
        match flag {
            Flag::Keyword(name) => {
                let keyword: Keyword = name.parse()?;
                if !named.keywords.contains(&keyword) {
                    named.keywords.push(keyword);
                }
            }
            // Nobody can set \Recent (RFC 3501 section 2.3.2); it has no bit.
            system => named.system |= system_flag(system),
        }
    }
    Ok(named)
}

pub(super) fn no_such_keyword() -> Status {
    Status::refusal(Code::Limit, "A keyword is too long")
}
