//! What a FETCH needs to know of each message, and which messages it is about, in chunks.

use std::sync::Arc;

use postrider_core::mailbox::Digest;
use postrider_store::{Entry, Modseq};
use postrider_wire::imap::command::{FetchItem, SectionText};

use crate::imap::selected::Places;
use crate::imap::snapshot::Snapshot;

/// Messages in one chunk: of those that are described from the mailbox alone or from digests, and of those that are opened.
const DESCRIBED_MESSAGES_MAX: usize = 256;
const OPENED_MESSAGES_MAX: usize = 128;

/// Of opened messages in one chunk together, but for the last: what is written of it passes in one go as a rule.
const OPENED_BYTES_MAX: usize = 240 << 10;

/// What a digest is taken to be at most, given its message; it is about 2 KiB of nearly all.
const DIGEST_BYTES_TAKEN: usize = 8 << 10;

/// The items of a FETCH, and what has to be read to answer them.
#[derive(Debug)]
pub(super) struct Plan {
    /// In the client's order.
    pub(super) items: Vec<FetchItem>,
    pub(super) needs_digest: bool,
    /// Otherwise no message is opened.
    pub(super) needs_raw: bool,
    /// Whether parts are decoded.
    pub(super) decodes: bool,
    /// Whether it makes messages seen, where the mailbox is not read-only.
    pub(super) sets_seen: bool,
}

impl Plan {
    pub(super) fn new(items: Vec<FetchItem>) -> Self {
        let needs_raw = items.iter().any(opens_message);
        // With the message at hand its fields are read there.
        let needs_digest = items.iter().any(|item| is_described(item) || (!needs_raw && is_kept_fields(item)));
        let decodes = items.iter().any(|item| matches!(item, FetchItem::Binary { .. } | FetchItem::BinarySize { .. }));
        let sets_seen = items.iter().any(sets_seen);
        Self { items, needs_digest, needs_raw, decodes, sets_seen }
    }

    pub(super) fn has(&self, wanted: &FetchItem) -> bool {
        self.items.contains(wanted)
    }
}

/// Told from the digest alone.
fn is_described(item: &FetchItem) -> bool {
    use FetchItem::*;
    matches!(item, Envelope | Body | BodyStructure | Preview { .. } | ThreadId)
}

/// Header fields that digests keep.
fn is_kept_fields(item: &FetchItem) -> bool {
    let FetchItem::BodySection { section, .. } = item else { return false };
    let Some(SectionText::HeaderFields(names)) = &section.text else { return false };
    section.part.is_empty() && names.iter().all(|name| Digest::keeps_field(name.as_bytes()))
}

fn opens_message(item: &FetchItem) -> bool {
    use FetchItem::*;
    match item {
        BodySection { .. } => !is_kept_fields(item),
        Rfc822 | Rfc822Header | Rfc822Text | Binary { .. } | BinarySize { .. } => true,
        _ => false,
    }
}

/// RFC 9051 section 6.4.5: all that shows the message's content, unless it only peeks.
fn sets_seen(item: &FetchItem) -> bool {
    use FetchItem::*;
    match item {
        BodySection { peek, .. } | Binary { peek, .. } => !peek,
        Rfc822 | Rfc822Text => true,
        _ => false,
    }
}

/// A message to be told of: its sequence number, and what the client knows of it.
pub(super) type Target = (u32, Entry);

/// The messages that a FETCH is about, upwards, chunk by chunk.
#[derive(Debug)]
pub(super) struct Targets {
    view: Arc<Snapshot>,
    places: std::vec::IntoIter<std::ops::Range<usize>>,
    rest: std::ops::Range<usize>,
    changed_since: Option<Modseq>,
}

impl Targets {
    pub(super) fn new(view: Arc<Snapshot>, places: Places, changed_since: Option<Modseq>) -> Self {
        Self { view, places: places.into_iter(), rest: 0..0, changed_since }
    }

    /// The next ones, and the bytes that reading them takes. Empty at the end.
    pub(super) fn next_chunk(&mut self, plan: &Plan) -> (Vec<Target>, usize) {
        let (messages_max, bytes_max) = match plan.needs_raw {
            true => (OPENED_MESSAGES_MAX, OPENED_BYTES_MAX),
            false => (DESCRIBED_MESSAGES_MAX, usize::MAX),
        };
        let (mut chunk, mut bytes) = (Vec::new(), 0usize);
        while chunk.len() < messages_max && bytes < bytes_max {
            let Some(target) = self.next() else { break };
            let size = target.1.size as usize;
            bytes += if plan.needs_raw { size } else { 0 };
            bytes += if plan.decodes { size } else { 0 };
            bytes += if plan.needs_digest { DIGEST_BYTES_TAKEN } else { 0 };
            chunk.push(target);
        }
        (chunk, bytes)
    }
}

impl Iterator for Targets {
    type Item = Target;

    fn next(&mut self) -> Option<Target> {
        loop {
            for index in self.rest.by_ref() {
                if let Some(entry) = self.view.get(index)
                    && self.changed_since.is_none_or(|since| entry.modseq > since)
                {
                    return Some((index as u32 + 1, *entry));
                }
            }
            self.rest = self.places.next()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use postrider_wire::imap::command::Section;

    use super::*;

    fn fields(names: &[&str], part: Vec<u32>, peek: bool) -> FetchItem {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let section = Section { part, text: Some(SectionText::HeaderFields(names)) };
        FetchItem::BodySection { peek, section, partial: None }
    }

    #[test]
    fn messages_are_opened_only_for_what_is_not_kept() {
        let list = [FetchItem::Uid, FetchItem::Envelope, FetchItem::BodyStructure, fields(&["To", "cc"], vec![], true)];
        let plan = Plan::new(list.to_vec());
        assert_eq!((plan.needs_digest, plan.needs_raw, plan.sets_seen), (true, false, false));
        let plan = Plan::new(vec![FetchItem::Flags, FetchItem::Rfc822Size, FetchItem::EmailId]);
        assert_eq!((plan.needs_digest, plan.needs_raw, plan.sets_seen), (false, false, false));
        for item in [fields(&["To", "X-Other"], vec![], false), fields(&["To"], vec![1], false), FetchItem::Rfc822] {
            let plan = Plan::new(vec![item]);
            assert_eq!((plan.needs_digest, plan.needs_raw, plan.sets_seen), (false, true, true));
        }
        let plan = Plan::new(vec![fields(&["To"], vec![], false), FetchItem::Rfc822Header]);
        assert_eq!((plan.needs_digest, plan.needs_raw, plan.sets_seen), (false, true, true));
    }
}
