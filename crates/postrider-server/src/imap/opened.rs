//! A message opened to be read in parts: the sections that BODY[...] and BINARY[...] name (RFC 9051 section 6.4.5).
//!
//! Sections are cut out of the stored bytes, not copied. It knows no mailbox and no session.

use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use postrider_core::ObjectId;
use postrider_core::mime::{self, Structure, UnknownEncoding};
use postrider_wire::imap::command::{Partial, Section, SectionText};

/// A message and, once somebody asks for a part, where its parts stand.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) email: ObjectId,
    pub(super) raw: Bytes,
    structure: OnceLock<Structure>,
    /// The part that was decoded last, for who reads it piece by piece.
    decoded: Mutex<Option<(Vec<u32>, Bytes)>>,
}

impl Opened {
    pub(super) fn new(email: ObjectId, raw: Bytes) -> Self {
        Self { email, raw, structure: OnceLock::new(), decoded: Mutex::default() }
    }

    pub(super) fn structure(&self) -> &Structure {
        self.structure.get_or_init(|| Structure::parse(&self.raw))
    }

    /// What `BODY[section]` is. `None`: there is no such part, or it has no such section.
    pub(super) fn section(&self, section: &Section) -> Option<Bytes> {
        let part = &section.part;
        let Some(text) = &section.text else { return self.bytes(part, mime::Section::Whole) };
        match text {
            SectionText::Header => self.bytes(part, mime::Section::Header),
            SectionText::Text => self.bytes(part, mime::Section::Text),
            SectionText::Mime => self.bytes(part, mime::Section::Mime),
            SectionText::HeaderFields(names) => {
                let header = self.range(part, mime::Section::Header)?;
                Some(mime::select_fields(self.raw.get(header)?, names, false).into())
            }
            SectionText::HeaderFieldsNot(names) => {
                let header = self.range(part, mime::Section::Header)?;
                Some(mime::select_fields(self.raw.get(header)?, names, true).into())
            }
        }
    }

    /// What `BINARY[part]` is: the body without its transfer encoding. `None`: there is no such part.
    ///
    /// The whole message, a multipart and a message within are what they are: only other parts can be encoded.
    pub(super) fn decoded(&self, part: &[u32]) -> Result<Option<Bytes>, UnknownEncoding> {
        if part.is_empty() {
            return Ok(Some(self.raw.clone()));
        }
        let Some(found) = self.structure().part(part) else { return Ok(None) };
        let mut last = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, decoded)) = last.as_ref().filter(|(known, _)| known == part) {
            return Ok(Some(decoded.clone()));
        }
        Ok(Some(match found.decoded(&self.raw)? {
            std::borrow::Cow::Borrowed(_) => self.raw.slice(found.body.clone()),
            std::borrow::Cow::Owned(decoded) => last.insert((part.to_vec(), decoded.into())).1.clone(),
        }))
    }

    /// What keeping it open takes of memory.
    pub(super) fn held_bytes(&self) -> usize {
        let last = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        self.raw.len() + last.as_ref().map_or(0, |(_, decoded)| decoded.len())
    }

    fn bytes(&self, part: &[u32], section: mime::Section) -> Option<Bytes> {
        self.range(part, section).map(|range| self.raw.slice(range))
    }

    /// The parts of the message itself are known without taking it apart.
    fn range(&self, part: &[u32], section: mime::Section) -> Option<Range<usize>> {
        if !part.is_empty() {
            return self.structure().section(part, section);
        }
        match section {
            mime::Section::Whole => Some(0..self.raw.len()),
            mime::Section::Header => Some(0..mime::header_end(&self.raw)),
            mime::Section::Text => Some(mime::header_end(&self.raw)..self.raw.len()),
            mime::Section::Mime => None,
        }
    }
}

/// Where `<offset.length>` of so many bytes stands: nothing where it begins behind their end (RFC 9051 section 6.4.5).
pub(super) fn place_of(partial: Partial, len: usize) -> Range<usize> {
    let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(len);
    place(partial.offset)..place(partial.offset.saturating_add(partial.length))
}

/// `<offset.length>` of some bytes, or all of them.
pub(super) fn cut(bytes: Bytes, partial: Option<Partial>) -> Bytes {
    partial.map(|partial| bytes.slice(place_of(partial, bytes.len()))).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_fetches_end_with_the_text() {
        let bytes = Bytes::from_static(b"0123456789");
        let cut = |offset, length| cut(bytes.clone(), Some(Partial { offset, length }));
        assert_eq!(cut(0, 4), "0123");
        assert_eq!(cut(8, 4), "89");
        assert_eq!(cut(10, 1), "");
        assert_eq!(cut(u64::MAX, u64::MAX), "");
        assert_eq!(cut(3, u64::MAX), "3456789");
    }

    #[test]
    fn sections_of_the_message_itself() {
        let opened = Opened::new(ObjectId::default(), Bytes::from_static(b"A: b\r\nC: d\r\n\r\ntext\r\n"));
        let section = |text| opened.section(&Section { part: Vec::new(), text });
        assert_eq!(section(None).as_deref(), Some(&opened.raw[..]));
        assert_eq!(section(Some(SectionText::Header)).as_deref(), Some(&b"A: b\r\nC: d\r\n\r\n"[..]));
        assert_eq!(section(Some(SectionText::Text)).as_deref(), Some(&b"text\r\n"[..]));
        assert_eq!(section(Some(SectionText::Mime)), None);
        let fields = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let selected = section(Some(SectionText::HeaderFields(fields(&["c"]))));
        assert_eq!(selected.as_deref(), Some(&b"C: d\r\n\r\n"[..]));
        let others = section(Some(SectionText::HeaderFieldsNot(fields(&["c"]))));
        assert_eq!(others.as_deref(), Some(&b"A: b\r\n\r\n"[..]));
    }
}
