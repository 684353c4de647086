//! Some messages of a FETCH: read from the store, and written as the wire has them.
//!
//! Chunks are made on tasks of their own while the session writes those before. They know the session only as far as their
//! answer depends on it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use postrider_core::mailbox::{Digest, Flags, NamedFlags, UidSet};
use postrider_core::{ObjectId, Timestamp};
use postrider_store::{Entry, FlagsOperation, FlagsStored, MailboxRecord, Store, StoreError, StoreFlags};
use postrider_wire::imap::command::{FetchItem, Partial, Section, SectionText};
use postrider_wire::imap::date::DateTime;
use postrider_wire::imap::response::text::literal_head;
use postrider_wire::imap::response::{Dialect, FetchLine};
use tracing::debug;

use super::plan::{Plan, Target};
use crate::imap::digests::digests;
use crate::imap::opened::{Opened, cut, place_of};
use crate::imap::registry::SharedMailbox;
use crate::imap::selected::flag_names;
use crate::memory::MemoryShare;

/// Literals from this size on are written from where they are instead of being copied behind what stands before them.
const DIRECT_BYTES_MIN: usize = 32 << 10;

/// Bytes that the description of one message, or what stands around its literals, takes as a rule.
const LINE_BYTES: usize = 768;

/// What all chunks of one FETCH share.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) store: Arc<dyn Store>,
    pub(super) mailbox: Arc<SharedMailbox>,
    /// As the client knows it.
    pub(super) record: Arc<MailboxRecord>,
    pub(super) plan: Plan,
    pub(super) dialect: Dialect,
    pub(super) condstore: bool,
    pub(super) recent_from: u32,
    pub(super) sets_seen: bool,
}

/// A chunk, ready to be written.
#[derive(Debug)]
pub(super) struct Rendered {
    /// In this order; `text` last.
    pub(super) pieces: Vec<Bytes>,
    pub(super) text: BytesMut,
    /// Messages that were to be told of and are not there any more.
    pub(super) has_gone: bool,
    /// Parts whose encoding is not known (RFC 3516 section 4.3).
    pub(super) has_unknown_encoding: bool,
    /// What became of the messages that are seen now.
    pub(super) seen: Option<FlagsStored>,
    /// The message, where it was one.
    pub(super) opened: Option<Arc<Opened>>,
    pub(super) share: MemoryShare,
}

/// What was read of one message.
#[derive(Debug, Default)]
struct Read {
    digest: Option<Digest>,
    opened: Option<Arc<Opened>>,
}

impl Fetching {
    /// Reads messages and writes what was asked of them. `known`: one of them, if it is open already.
    pub(super) async fn chunk(
        self: Arc<Self>,
        targets: Vec<Target>,
        known: Option<Arc<Opened>>,
        share: MemoryShare,
    ) -> Result<Rendered, StoreError> {
        let read = self.read(&targets, known).await?;
        let is_there = |read: &Read| {
            (!self.plan.needs_digest || read.digest.is_some()) && (!self.plan.needs_raw || read.opened.is_some())
        };
        let seen = if self.sets_seen {
            let unseen = targets
                .iter()
                .zip(&read)
                .filter(|((_, entry), read)| !entry.flags.contains(Flags::SEEN) && is_there(read));
            self.set_seen(unseen.map(|((_, entry), _)| entry.uid).collect()).await
        } else {
            None
        };
        let mut rendered = Rendered {
            pieces: Vec::new(),
            text: BytesMut::with_capacity(self.text_bytes(&targets)),
            has_gone: false,
            has_unknown_encoding: false,
            seen: None,
            opened: None,
            share,
        };
        let mut fields = Vec::new();
        for ((number, entry), read) in targets.iter().zip(&read) {
            if is_there(read) {
                self.render(&mut rendered, *number, entry, read, seen.as_ref(), &mut fields);
            } else {
                rendered.has_gone = true;
            }
        }
        rendered.seen = seen;
        if let [read] = &read[..] {
            rendered.opened.clone_from(&read.opened);
        }
        Ok(rendered)
    }

    /// What is needed of each message; less of those that are gone.
    async fn read(&self, targets: &[Target], known: Option<Arc<Opened>>) -> Result<Vec<Read>, StoreError> {
        let mut all: Vec<Read> = targets.iter().map(|_| Read::default()).collect();
        let ids: Vec<ObjectId> = targets.iter().map(|(_, entry)| entry.email).collect();
        if self.plan.needs_digest {
            let digests = digests(self.store.as_ref(), &ids).await?;
            all.iter_mut().zip(digests).for_each(|(read, digest)| read.digest = digest);
        }
        if self.plan.needs_raw {
            if let (Some(known), [read]) = (known, &mut all[..]) {
                read.opened = Some(known);
                return Ok(all);
            }
            let messages = self.store.messages(&ids).await?;
            for (read, (raw, email)) in all.iter_mut().zip(messages.into_iter().zip(&ids)) {
                read.opened = raw.map(|raw| Arc::new(Opened::new(*email, raw)));
            }
        } else {
            self.open_where_fields_are_not_kept(&mut all, &ids).await?;
        }
        Ok(all)
    }

    /// Few messages have more of header fields than a digest keeps.
    async fn open_where_fields_are_not_kept(&self, all: &mut [Read], ids: &[ObjectId]) -> Result<(), StoreError> {
        let asks = self.plan.items.iter().any(|item| matches!(item, FetchItem::BodySection { .. }));
        if !asks {
            return Ok(());
        }
        for (read, id) in all.iter_mut().zip(ids) {
            if read.digest.as_ref().is_some_and(|digest| !digest.header_is_complete()) {
                let raw = self.store.messages(std::slice::from_ref(id)).await?.into_iter().next().flatten();
                read.opened = raw.map(|raw| Arc::new(Opened::new(*id, raw)));
            }
        }
        Ok(())
    }

    /// A message can be read also where it cannot be marked as seen.
    async fn set_seen(&self, uids: UidSet) -> Option<FlagsStored> {
        if uids.is_empty() {
            return None;
        }
        let store = StoreFlags {
            mailbox: self.mailbox.id,
            uids,
            operation: FlagsOperation::Add,
            flags: NamedFlags::from(Flags::SEEN),
            unchanged_since: None,
        };
        let stored = match self.store.store_flags(store).await {
            Ok(stored) => stored,
            Err(error) => {
                debug!(%error, "messages that were read stay unseen");
                return None;
            }
        };
        self.mailbox.flags_stored(FlagsOperation::Add, &stored).await;
        Some(stored)
    }

    /// What the text of a chunk is likely to take.
    fn text_bytes(&self, targets: &[Target]) -> usize {
        let body = |entry: &Entry| Some(entry.size as usize).filter(|size| *size < DIRECT_BYTES_MIN).unwrap_or(0);
        let bodies = if self.plan.needs_raw { targets.iter().map(|(_, entry)| body(entry)).sum() } else { 0 };
        bodies + targets.len() * if self.plan.needs_digest { LINE_BYTES } else { LINE_BYTES / 4 }
    }

    fn render(
        &self,
        rendered: &mut Rendered,
        number: u32,
        entry: &Entry,
        read: &Read,
        seen: Option<&FlagsStored>,
        fields: &mut Vec<u8>,
    ) {
        let mut entry = *entry;
        let is_seen_now = seen.filter(|stored| stored.changed.contains(entry.uid));
        if let Some(stored) = is_seen_now {
            entry.flags |= Flags::SEEN;
            entry.modseq = stored.modseq;
        }
        let Rendered { pieces, text, has_unknown_encoding, .. } = rendered;
        let mut writer = Writer { line: FetchLine::begin(text, number, self.dialect), pieces };
        for item in &self.plan.items {
            *has_unknown_encoding |= !self.item(&mut writer, item, &entry, read, fields);
        }
        // RFC 9051 section 6.4.5: the flags that changed are told with it; and RFC 7162 section 3.1 the modseq.
        if is_seen_now.is_some() {
            if !self.plan.has(&FetchItem::Flags) {
                self.flags(&mut writer.line, &entry);
            }
            if self.condstore && !self.plan.has(&FetchItem::ModSeq) {
                writer.line.mod_sequence(entry.modseq);
            }
        }
        writer.line.end();
    }

    /// Writes one item. `false`: it is left out, because a part is encoded in a way that is not known.
    fn item(
        &self,
        writer: &mut Writer<'_>,
        item: &FetchItem,
        entry: &Entry,
        read: &Read,
        fields: &mut Vec<u8>,
    ) -> bool {
        let line = &mut writer.line;
        let (digest, opened) = (read.digest.as_ref(), read.opened.as_deref());
        match item {
            FetchItem::Uid => line.uid(entry.uid),
            FetchItem::Flags => self.flags(line, entry),
            FetchItem::InternalDate => line.internal_date(date_time(entry.internal_date)),
            FetchItem::Rfc822Size => line.rfc822_size(u64::from(entry.size)),
            FetchItem::ModSeq => line.mod_sequence(entry.modseq),
            FetchItem::SaveDate => line.save_date(Some(date_time(entry.saved_at))),
            FetchItem::EmailId => line.email_id(&entry.email.to_string()),
            FetchItem::ThreadId => line.thread_id(digest.and_then(Digest::thread_id)),
            FetchItem::Preview { .. } => line.preview(digest.map(Digest::preview)),
            FetchItem::Envelope => line.rendered("ENVELOPE", digest.map_or(b"NIL", Digest::envelope)),
            FetchItem::Body => line.rendered("BODY", digest.map_or(b"NIL", Digest::body)),
            FetchItem::BodyStructure => line.rendered("BODYSTRUCTURE", digest.map_or(b"NIL", Digest::body_structure)),
            FetchItem::BodySection { section, partial, .. } => {
                if let (None, Some(digest), Some(SectionText::HeaderFields(names))) = (opened, digest, &section.text) {
                    fields.clear();
                    digest.write_header_fields(names, fields);
                    writer.copied(section, *partial, fields);
                } else {
                    writer.section(section, *partial, opened.and_then(|opened| opened.section(section)));
                }
            }
            FetchItem::Rfc822 => writer.literal("RFC822", opened.map(|opened| opened.raw.clone())),
            FetchItem::Rfc822Header => {
                let section = Section { part: Vec::new(), text: Some(SectionText::Header) };
                writer.literal("RFC822.HEADER", opened.and_then(|opened| opened.section(&section)));
            }
            FetchItem::Rfc822Text => {
                let section = Section { part: Vec::new(), text: Some(SectionText::Text) };
                writer.literal("RFC822.TEXT", opened.and_then(|opened| opened.section(&section)));
            }
            FetchItem::Binary { part, partial, .. } => match opened.map(|opened| opened.decoded(part)).transpose() {
                Ok(decoded) => {
                    writer.binary(part, *partial, decoded.flatten());
                }
                Err(_) => return false,
            },
            FetchItem::BinarySize { part } => match opened.map(|opened| opened.decoded(part)).transpose() {
                Ok(decoded) => line.binary_size(part, decoded.flatten().map_or(0, |decoded| decoded.len() as u64)),
                Err(_) => return false,
            },
        }
        true
    }

    fn flags(&self, line: &mut FetchLine<'_>, entry: &Entry) {
        let is_recent = !self.dialect.rev2 && entry.uid >= self.recent_from;
        line.flags(flag_names(entry.flags, &self.record.keywords).chain(is_recent.then_some("\\Recent")));
    }
}

/// One FETCH response, and what was written before it.
struct Writer<'a> {
    line: FetchLine<'a>,
    pieces: &'a mut Vec<Bytes>,
}

impl Writer<'_> {
    /// An item with a string as its value.
    fn literal(&mut self, name: &str, value: Option<Bytes>) {
        match value {
            Some(bytes) => {
                literal_head(self.line.name(name), bytes.len() as u64);
                self.bytes(bytes);
            }
            None => self.line.item(name, None),
        }
    }

    fn section(&mut self, section: &Section, partial: Option<Partial>, value: Option<Bytes>) {
        let offset = partial.map(|partial| partial.offset);
        match value {
            Some(bytes) => {
                let bytes = cut(bytes, partial);
                self.line.body_section_head(section, offset, bytes.len() as u64);
                self.bytes(bytes);
            }
            None => self.line.body_section(section, offset, None),
        }
    }

    /// The bytes of a part without their encoding.
    fn binary(&mut self, part: &[u32], partial: Option<Partial>, value: Option<Bytes>) {
        let offset = partial.map(|partial| partial.offset);
        match value {
            Some(bytes) => {
                let bytes = cut(bytes, partial);
                self.line.binary_head(part, offset, bytes.len() as u64, memchr::memchr(0, &bytes).is_some());
                self.bytes(bytes);
            }
            None => self.line.binary(part, offset, None),
        }
    }

    /// As [`Writer::section`], of bytes that are only lent.
    fn copied(&mut self, section: &Section, partial: Option<Partial>, value: &[u8]) {
        let place = partial.map_or(0..value.len(), |partial| place_of(partial, value.len()));
        self.line.body_section(section, partial.map(|partial| partial.offset), value.get(place));
    }

    /// The bytes of a literal.
    fn bytes(&mut self, bytes: Bytes) {
        let text = self.line.out();
        if bytes.len() < DIRECT_BYTES_MIN {
            text.extend_from_slice(&bytes);
        } else {
            self.pieces.push(text.split().freeze());
            self.pieces.push(bytes);
        }
    }
}

fn date_time(at: Timestamp) -> DateTime {
    DateTime::utc(at.as_millis().div_euclid(1000))
}
