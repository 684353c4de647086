//! SELECT and EXAMINE (RFC 9051 sections 6.3.2 and 6.3.3), with CONDSTORE and QRESYNC (RFC 7162).

use bytes::BytesMut;
use postrider_core::mailbox::{Flags, MailboxName, UidSet};
use postrider_store::StoreError;
use postrider_wire::imap::command::{Qresync, Select};
use postrider_wire::imap::response::{self, Code, Condition, Status};
use postrider_wire::imap::sequence::NumberSet;

use super::selected::{Selected, number_set};
use super::session::Session;

impl Session {
    pub(super) async fn select(&mut self, select: Select) -> Status {
        if select.qresync.is_some() && !self.qresync {
            // RFC 7162 section 3.2.5.
            return Status::bad("ENABLE QRESYNC first");
        }
        // RFC 9051 section 6.3.2: whatever comes of it, the mailbox before is left.
        let had_selected = self.selected.is_some();
        self.unselect().await;
        if had_selected {
            self.tell_closed();
        }
        self.condstore |= select.condstore || select.qresync.is_some();
        let selected = match self.open(&select).await {
            Ok(Some(selected)) => selected,
            Ok(None) => return no_such_mailbox(),
            Err(error) => return self.store_failed("a mailbox could not be opened", &error),
        };
        self.tell_selected(&selected);
        if let Some(qresync) = &select.qresync
            && let Err(error) = self.tell_since(&selected, qresync).await
        {
            return self.store_failed("a mailbox's changes could not be read", &error);
        }
        self.selected = Some(selected);
        self.wire.set_selected(true);
        match select.read_only {
            true => Status::ok("Opened read-only").with_code(Code::ReadOnly),
            false => Status::ok("Opened").with_code(Code::ReadWrite),
        }
    }

    /// What follows is no more about the mailbox that was selected (RFC 7162 section 3.2.11).
    pub(super) fn tell_closed(&mut self) {
        if self.qresync || self.wire.dialect().rev2 {
            Status::ok("The mailbox before is closed").with_code(Code::Closed).write_untagged(self.wire.output());
        }
    }

    async fn open(&self, select: &Select) -> Result<Option<Selected>, StoreError> {
        let (Some(user), Ok(name)) = (self.user_id(), MailboxName::parse(&select.mailbox)) else { return Ok(None) };
        let Some(record) = self.store().mailbox(user, &name).await? else { return Ok(None) };
        let recent_from = async {
            match (self.wire.dialect().rev2, select.read_only) {
                (true, _) => Ok(u32::MAX),
                // EXAMINE takes nothing from who comes later (RFC 3501 section 6.3.2); who only looks sees none.
                (false, true) => Ok(record.uid_next),
                (false, false) => self.store().take_recent(record.id).await,
            }
        };
        // Together: one waits for the disk while the other reads.
        let (shared, recent_from) = tokio::join!(self.context.registry.open(record.id), recent_from);
        let Some(shared) = shared? else { return Ok(None) };
        Ok(Selected::new(shared, select.read_only, recent_from?))
    }

    fn tell_selected(&mut self, selected: &Selected) {
        let dialect = self.wire.dialect();
        let out = self.wire.output();
        let record = selected.record();
        response::exists(out, selected.view.len() as u32);
        if !dialect.rev2 {
            response::recent(out, selected.recent());
            // Mostly there is none, and nothing to look for.
            let mut unseen = selected.view.iter().map(|entry| !entry.flags.contains(Flags::SEEN));
            if record.counts.unseen > 0
                && let Some(index) = unseen.position(|is_unseen| is_unseen)
            {
                code(out, Code::Unseen(index as u32 + 1), "The first that is not seen");
            }
        }
        selected.write_known_flags(out);
        code(out, Code::UidValidity(record.uid_validity), "UIDs are valid");
        code(out, Code::UidNext(record.uid_next), "The next UID");
        code(out, Code::HighestModSeq(record.highest_modseq), "The latest change");
        code(out, Code::MailboxId(record.id.to_string()), "The mailbox");
        if dialect.rev2 {
            let line = response::ListLine {
                attributes: &[],
                name: record.name.as_str(),
                delimiter: Some(MailboxName::SEPARATOR),
                ..response::ListLine::default()
            };
            response::list(out, &line, dialect);
        }
    }

    /// What happened since the client was here last (RFC 7162 section 3.2.5). Nothing where it knows another mailbox of this
    /// name.
    async fn tell_since(&mut self, selected: &Selected, known: &Qresync) -> Result<(), StoreError> {
        if known.uid_validity != selected.record().uid_validity {
            return Ok(());
        }
        let Some(delta) = self.store().mailbox_delta(selected.shared.id, known.mod_sequence).await? else {
            return Ok(());
        };
        let asked = match &known.known_uids {
            Some(uids) => uids.resolve(selected.view.last_uid()),
            None => NumberSet::from_ranges(vec![1..=selected.record().uid_next.saturating_sub(1)]),
        };
        let vanished = if delta.is_complete { number_set(&delta.expunged) } else { absent(selected, known) };
        let telling = self.telling(false);
        let out = self.wire.output();
        response::vanished(out, &vanished.intersection(&asked), true);
        for entry in selected.view.iter().filter(|entry| entry.modseq > known.mod_sequence) {
            if asked.contains(entry.uid)
                && let Some(index) = selected.view.index_of(entry.uid)
            {
                selected.write_flags(out, index as u32 + 1, entry, telling);
            }
        }
        Ok(())
    }
}

/// All UIDs that are not there, from the first that the client may not know to be gone: what is told where it is not remembered
/// what went when.
fn absent(selected: &Selected, known: &Qresync) -> NumberSet {
    let there: UidSet = selected.view.iter().map(|entry| entry.uid).collect();
    // Where a sequence number still has the UID that the client knows, nothing before it is gone (section 3.2.5.2).
    let matched = known.sequence_match.as_ref().map_or(0, |(numbers, uids)| {
        let (numbers, uids) = (numbers.resolve(u32::MAX), uids.resolve(u32::MAX));
        let pairs = numbers.iter().zip(uids.iter());
        let holds = pairs.take_while(|(number, uid)| selected.view.index_of(*uid) == Some(*number as usize - 1));
        holds.last().map_or(0, |(_, uid)| uid)
    });
    let mut gaps = Vec::new();
    let mut next = matched + 1;
    for &(first, last) in there.ranges() {
        if last < next {
            continue;
        }
        if first > next {
            gaps.push(next..=first - 1);
        }
        next = last.saturating_add(1);
    }
    if next < selected.record().uid_next {
        gaps.push(next..=selected.record().uid_next - 1);
    }
    NumberSet::from_ranges(gaps)
}

/// `* OK [PERMANENTFLAGS (...)]`: what can be changed for good; nothing in a mailbox that is read only.
pub(super) fn write_permanent_flags<'n>(
    out: &mut BytesMut,
    names: impl Iterator<Item = &'n str>,
    is_read_only: bool,
    keywords: usize,
) {
    let flags = names.filter(|_| !is_read_only).map(super::session::wire_flag).collect();
    let new_keywords = !is_read_only && keywords < Flags::KEYWORDS_MAX;
    code(out, Code::PermanentFlags { flags, new_keywords }, "What can be changed");
}

fn code(out: &mut BytesMut, code: Code, text: &'static str) {
    Status::new(Condition::Ok, Some(code), text).write_untagged(out);
}

pub(super) fn no_such_mailbox() -> Status {
    Status::refusal(Code::Nonexistent, "There is no such mailbox")
}
