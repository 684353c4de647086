//! How a digest is made: one pass over the header section, then the texts one after another.

use super::super::collation_key;
use super::super::subject::BaseSubject;
use super::date::sent_at;
use super::*;
use crate::mime::{
    AddressList, EnvelopeFields, Item, PartKind, decode_words, decode_words_into, preview, write_body_structure,
};

/// What sorting compares of a text is its beginning.
const SORT_KEY_BYTES_MAX: usize = 256;

/// The digest of a message that has this structure.
pub(super) fn encode(raw: &[u8], structure: &Structure) -> Digest {
    let header = &raw[structure.root().header.clone()];
    let fields = HeaderFields::read(header);
    let mut encoder = Encoder::new();
    encoder.number(HEADER_BYTES_AT, header.len() as u32);
    if fields.is_complete {
        encoder.bits |= HEADER_IS_COMPLETE;
    }
    if has_attachment(raw, structure) {
        encoder.bits |= HAS_ATTACHMENT;
    }
    if let Some((at, day)) = fields.envelope.date.and_then(sent_at) {
        encoder.bits |= HAS_SENT_AT;
        encoder.out[SENT_AT_AT..SENT_AT_AT + 8].copy_from_slice(&at.as_millis().to_le_bytes());
        encoder.number(SENT_DAY_AT, day.as_days() as u32);
    }
    encoder.searched(&fields);
    encoder.threaded(&fields);
    encoder.text(Slot::Preview, |out| out.extend_from_slice(preview(raw, structure).as_bytes()));
    encoder.text(Slot::Envelope, |out| fields.envelope.write(out));
    encoder.text(Slot::Body, |out| write_body_structure(raw, structure, false, out));
    encoder.text(Slot::BodyStructure, |out| write_body_structure(raw, structure, true, out));
    encoder.text(Slot::Header, |out| out.extend_from_slice(&fields.kept));
    encoder.finish()
}

/// What one pass over the header section finds.
struct HeaderFields<'a> {
    envelope: EnvelopeFields<'a>,
    references: Option<&'a [u8]>,
    kept: Vec<u8>,
    is_complete: bool,
}

impl<'a> HeaderFields<'a> {
    fn read(header: &'a [u8]) -> Self {
        let mut fields =
            Self { envelope: EnvelopeFields::default(), references: None, kept: Vec::new(), is_complete: true };
        fields.kept.reserve(header.len().min(2 << 10));
        for field in Fields::new(header) {
            fields.envelope.take(&field);
            if fields.references.is_none() && field.is("References") {
                fields.references = Some(field.limited_value());
            }
            if fields.is_complete && Digest::keeps_field(field.name) {
                fields.kept.extend_from_slice(field.line);
                if !field.line.ends_with(b"\n") {
                    fields.kept.extend_from_slice(b"\r\n");
                }
                fields.is_complete = fields.kept.len() <= KEPT_HEADER_BYTES_MAX;
            }
        }
        if !fields.is_complete {
            fields.kept.clear();
        }
        fields
    }
}

/// Writes the texts, one after another, in the order of [`Slot`].
struct Encoder {
    out: Vec<u8>,
    bits: u8,
    next: usize,
}

impl Encoder {
    fn new() -> Self {
        let mut out = Vec::with_capacity(4 << 10);
        out.resize(TEXTS_AT, 0);
        Self { out, bits: 0, next: 0 }
    }

    fn number(&mut self, at: usize, number: u32) {
        self.out[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, slot: Slot, write: impl FnOnce(&mut Vec<u8>)) {
        debug_assert_eq!(slot as usize, self.next, "texts are written in order");
        write(&mut self.out);
        let end = self.out.len() as u32;
        self.number(ENDS_AT + 4 * self.next, end);
        self.next += 1;
    }

    fn str(&mut self, slot: Slot, text: &str, bytes_max: usize) {
        let text = &text[..text.floor_char_boundary(bytes_max)];
        self.text(slot, |out| out.extend_from_slice(text.as_bytes()));
    }

    /// Subject, addresses and what of them sorting compares.
    fn searched(&mut self, fields: &HeaderFields<'_>) {
        let envelope = &fields.envelope;
        let subject = decode_words(envelope.subject.unwrap_or_default());
        let subject = &subject[..subject.floor_char_boundary(SEARCH_TEXT_BYTES_MAX)];
        let base = BaseSubject::of(subject);
        if base.is_reply_or_forward {
            self.bits |= IS_REPLY_OR_FORWARD;
        }
        self.str(Slot::Subject, subject, SEARCH_TEXT_BYTES_MAX);
        let mut text = String::with_capacity(256);
        let lists = [&envelope.from, &envelope.to, &envelope.cc, &envelope.bcc];
        for (slot, list) in [Slot::From, Slot::To, Slot::Cc, Slot::Bcc].into_iter().zip(lists) {
            text.clear();
            write_search_text(list, &mut text);
            self.str(slot, &text, SEARCH_TEXT_BYTES_MAX);
        }
        self.str(Slot::SubjectKey, &collation_key(&base.text), SORT_KEY_BYTES_MAX);
        let lists = [&envelope.from, &envelope.to, &envelope.cc];
        for (slot, list) in [Slot::FromKey, Slot::ToKey, Slot::CcKey].into_iter().zip(lists) {
            self.str(slot, &collation_key(&first_local_part(list)), SORT_KEY_BYTES_MAX);
        }
        for (slot, list) in [Slot::DisplayFromKey, Slot::DisplayToKey].into_iter().zip(lists) {
            self.str(slot, &collation_key(&first_display(list)), SORT_KEY_BYTES_MAX);
        }
    }

    /// What threading needs.
    fn threaded(&mut self, fields: &HeaderFields<'_>) {
        let message_id = message_ids(fields.envelope.message_id.unwrap_or_default(), 1).pop().unwrap_or_default();
        let in_reply_to = message_ids(fields.envelope.in_reply_to.unwrap_or_default(), 1).pop().unwrap_or_default();
        let references = message_ids(fields.references.unwrap_or_default(), REFERENCES_MAX);
        let root = references.first().filter(|id| !id.is_empty());
        let root = root.or(Some(&in_reply_to).filter(|id| !id.is_empty())).unwrap_or(&message_id);
        let thread_id = if root.is_empty() { String::new() } else { format!("T{:032x}", fnv_1a(root.as_bytes())) };
        self.str(Slot::ThreadId, &thread_id, MESSAGE_ID_BYTES_MAX);
        self.str(Slot::MessageId, &message_id, MESSAGE_ID_BYTES_MAX);
        self.str(Slot::InReplyTo, &in_reply_to, MESSAGE_ID_BYTES_MAX);
        self.text(Slot::References, |out| out.extend_from_slice(references.join(" ").as_bytes()));
    }

    fn finish(mut self) -> Digest {
        debug_assert_eq!(self.next, SLOTS, "every text is written");
        self.out[0] = VERSION;
        self.out[1] = self.bits;
        Digest(self.out.into())
    }
}

/// The Message-IDs of a field (RFC 5256 section 3, `REFERENCES`): what stands in angle brackets, without quotes and blanks. More
/// than `count_max` are the first and the last ones.
fn message_ids(value: &[u8], count_max: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut rest = value;
    while let Some(start) = memchr::memchr(b'<', rest) {
        rest = &rest[start + 1..];
        let Some(end) = memchr::memchr2(b'>', b'<', rest) else { break };
        if rest[end] == b'<' {
            continue;
        }
        let id: Vec<u8> =
            rest[..end].iter().copied().filter(|&b| b > b' ' && b != 127 && b != b'"' && b != b'\\').collect();
        rest = &rest[end + 1..];
        if id.is_empty() || id.len() > MESSAGE_ID_BYTES_MAX {
            continue;
        }
        let id = String::from_utf8(id).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        if count_max == 1 {
            return vec![id];
        }
        if ids.len() == count_max {
            // In the middle: the thread is known by its root and its parents.
            ids.remove(1);
        }
        ids.push(id);
    }
    ids
}

/// FNV-1a with 128 bits: short, and even enough to group by.
fn fnv_1a(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

fn write_search_text(list: &AddressList, out: &mut String) {
    for item in list.items() {
        if !out.is_empty() {
            out.push_str(", ");
        }
        match item {
            Item::Mailbox { name, local, domain, .. } => {
                if let Some(name) = name {
                    decode_words_into(name, out);
                    out.push(' ');
                }
                out.push('<');
                out.push_str(&address_text(local, domain));
                out.push('>');
            }
            Item::GroupStart(name) => {
                decode_words_into(name, out);
                out.push(':');
            }
            Item::GroupEnd => out.push(';'),
        }
        if out.len() > SEARCH_TEXT_BYTES_MAX {
            return;
        }
    }
}

fn address_text(local: &[u8], domain: Option<&[u8]>) -> String {
    let local = String::from_utf8_lossy(local);
    match domain {
        Some(domain) => format!("{local}@{}", String::from_utf8_lossy(domain)),
        None => local.into_owned(),
    }
}

/// RFC 5256 section 3: the mailbox of the first address; a group's name where that comes first.
fn first_local_part(list: &AddressList) -> String {
    match list.items().next() {
        Some(Item::Mailbox { local, .. }) => String::from_utf8_lossy(local).into_owned(),
        Some(Item::GroupStart(name)) => String::from_utf8_lossy(name).into_owned(),
        Some(Item::GroupEnd) | None => String::new(),
    }
}

/// RFC 5957 section 3: the display name of the first address, otherwise the address.
fn first_display(list: &AddressList) -> String {
    match list.items().next() {
        Some(Item::Mailbox { name: Some(name), .. }) => decode_words(name).into_owned(),
        Some(Item::Mailbox { name: None, local, domain, .. }) => address_text(local, domain),
        Some(Item::GroupStart(name)) => decode_words(name).into_owned(),
        Some(Item::GroupEnd) | None => String::new(),
    }
}

fn has_attachment(raw: &[u8], structure: &Structure) -> bool {
    structure.parts().iter().any(|part| match part.disposition(raw) {
        Some(disposition) => disposition.kind == "attachment",
        None => part.kind == PartKind::Other && part.content_type(raw).parameters.get("name").is_some(),
    })
}
