//! FETCH, EXPUNGE and VANISHED responses (RFC 9051 section 7.5, RFC 7162 section 3.2.10).

use bytes::BytesMut;

use super::text::{Dialect, astring, date_time, list, literal_head, nstring, number};
use crate::imap::command::{Section, SectionText};
use crate::imap::date::DateTime;
use crate::imap::sequence::NumberSet;

/// One FETCH response as it is written. [`FetchLine::end`] ends it.
#[derive(Debug)]
pub struct FetchLine<'a> {
    out: &'a mut BytesMut,
    dialect: Dialect,
    has_items: bool,
}

impl<'a> FetchLine<'a> {
    /// `* 12 FETCH (`
    pub fn begin(out: &'a mut BytesMut, sequence_number: u32, dialect: Dialect) -> Self {
        out.extend_from_slice(b"* ");
        number(out, u64::from(sequence_number));
        out.extend_from_slice(b" FETCH (");
        Self { out, dialect, has_items: false }
    }

    /// Closes the line.
    pub fn end(self) {
        self.out.extend_from_slice(b")\r\n");
    }

    /// The buffer, for what is written by others: [`FetchLine::name`] goes first.
    pub fn out(&mut self) -> &mut BytesMut {
        self.out
    }

    /// A name and the space behind it; its value must follow.
    pub fn name(&mut self, name: &str) -> &mut BytesMut {
        self.space();
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b" ");
        self.out
    }

    pub fn uid(&mut self, uid: u32) {
        number(self.name("UID"), u64::from(uid));
    }

    /// Flags as they stand on the wire.
    pub fn flags<T: AsRef<str>>(&mut self, flags: impl IntoIterator<Item = T>) {
        list(self.name("FLAGS"), flags, |out, flag| out.extend_from_slice(flag.as_ref().as_bytes()));
    }

    pub fn mod_sequence(&mut self, mod_sequence: u64) {
        let out = self.name("MODSEQ");
        out.extend_from_slice(b"(");
        number(out, mod_sequence);
        out.extend_from_slice(b")");
    }

    pub fn internal_date(&mut self, at: DateTime) {
        date_time(self.name("INTERNALDATE"), at);
    }

    pub fn rfc822_size(&mut self, bytes: u64) {
        number(self.name("RFC822.SIZE"), bytes);
    }

    /// `None`: the mailbox keeps no such dates (RFC 8514).
    pub fn save_date(&mut self, at: Option<DateTime>) {
        let out = self.name("SAVEDATE");
        match at {
            Some(at) => date_time(out, at),
            None => out.extend_from_slice(b"NIL"),
        }
    }

    /// RFC 8474.
    pub fn email_id(&mut self, id: &str) {
        list(self.name("EMAILID"), [id], |out, id| out.extend_from_slice(id.as_bytes()));
    }

    /// `None`: messages belong to no threads.
    pub fn thread_id(&mut self, id: Option<&str>) {
        let out = self.name("THREADID");
        match id {
            Some(id) => list(out, [id], |out, id| out.extend_from_slice(id.as_bytes())),
            None => out.extend_from_slice(b"NIL"),
        }
    }

    /// `None`: not to be had without effort (RFC 8970).
    pub fn preview(&mut self, text: Option<&str>) {
        let dialect = self.dialect;
        nstring(self.name("PREVIEW"), text.map(str::as_bytes), dialect);
    }

    /// An item whose value was written beforehand: ENVELOPE, BODY, BODYSTRUCTURE.
    pub fn rendered(&mut self, name: &str, value: &[u8]) {
        self.name(name).extend_from_slice(value);
    }

    /// An item with a string as its value, `RFC822` and its kin. `None`: NIL.
    pub fn item(&mut self, name: &str, value: Option<&[u8]>) {
        let out = self.name(name);
        literal_or_nil(out, value);
    }

    /// `BODY[...]<offset>` and its bytes; `None`: there is no such part. `offset`: where a partial fetch began.
    pub fn body_section(&mut self, section: &Section, offset: Option<u64>, value: Option<&[u8]>) {
        self.body_section_name(section, offset);
        literal_or_nil(self.out, value);
    }

    /// `BODY[...]<offset> {length}`: as many bytes must follow, by whatever way.
    pub fn body_section_head(&mut self, section: &Section, offset: Option<u64>, length: u64) {
        self.body_section_name(section, offset);
        literal_head(self.out, length);
    }

    /// `BINARY[...]<offset>` and its bytes; `None`: there is no such part.
    pub fn binary(&mut self, part: &[u32], offset: Option<u64>, value: Option<&[u8]>) {
        match value {
            Some(bytes) => {
                self.binary_head(part, offset, bytes.len() as u64, memchr::memchr(0, bytes).is_some());
                self.out.extend_from_slice(bytes);
            }
            None => {
                self.binary_name(part, offset);
                self.out.extend_from_slice(b"NIL");
            }
        }
    }

    /// `BINARY[...]<offset> {length}`: as many bytes must follow, by whatever way. A literal8 where there is NUL in them (RFC
    /// 3516 section 4.2).
    pub fn binary_head(&mut self, part: &[u32], offset: Option<u64>, length: u64, has_nul: bool) {
        self.binary_name(part, offset);
        if has_nul {
            self.out.extend_from_slice(b"~");
        }
        literal_head(self.out, length);
    }

    pub fn binary_size(&mut self, part: &[u32], bytes: u64) {
        self.space();
        self.out.extend_from_slice(b"BINARY.SIZE[");
        part_numbers(self.out, part);
        self.out.extend_from_slice(b"] ");
        number(self.out, bytes);
    }

    fn binary_name(&mut self, part: &[u32], offset: Option<u64>) {
        self.space();
        self.out.extend_from_slice(b"BINARY[");
        part_numbers(self.out, part);
        self.out.extend_from_slice(b"]");
        self.origin(offset);
        self.out.extend_from_slice(b" ");
    }

    fn body_section_name(&mut self, section: &Section, offset: Option<u64>) {
        self.space();
        self.out.extend_from_slice(b"BODY[");
        part_numbers(self.out, &section.part);
        if let Some(text) = &section.text {
            if !section.part.is_empty() {
                self.out.extend_from_slice(b".");
            }
            let dialect = self.dialect;
            let fields = |out: &mut BytesMut, name: &[u8], fields: &[String]| {
                out.extend_from_slice(name);
                list(out, fields, |out, field| astring(out, field, dialect));
            };
            match text {
                SectionText::Header => self.out.extend_from_slice(b"HEADER"),
                SectionText::HeaderFields(names) => fields(self.out, b"HEADER.FIELDS ", names),
                SectionText::HeaderFieldsNot(names) => fields(self.out, b"HEADER.FIELDS.NOT ", names),
                SectionText::Text => self.out.extend_from_slice(b"TEXT"),
                SectionText::Mime => self.out.extend_from_slice(b"MIME"),
            }
        }
        self.out.extend_from_slice(b"]");
        self.origin(offset);
        self.out.extend_from_slice(b" ");
    }

    fn origin(&mut self, offset: Option<u64>) {
        if let Some(offset) = offset {
            self.out.extend_from_slice(b"<");
            number(self.out, offset);
            self.out.extend_from_slice(b">");
        }
    }

    fn space(&mut self) {
        if self.has_items {
            self.out.extend_from_slice(b" ");
        }
        self.has_items = true;
    }
}

/// `* 3 EXPUNGE`
pub fn expunge(out: &mut BytesMut, sequence_number: u32) {
    out.extend_from_slice(b"* ");
    number(out, u64::from(sequence_number));
    out.extend_from_slice(b" EXPUNGE\r\n");
}

/// `* VANISHED (EARLIER) 1:3`. `earlier`: it answers a question and shifts no sequence numbers. Nothing of an empty set.
pub fn vanished(out: &mut BytesMut, uids: &NumberSet, earlier: bool) {
    if uids.is_empty() {
        return;
    }
    out.extend_from_slice(if earlier { b"* VANISHED (EARLIER) " } else { b"* VANISHED " });
    uids.write(out);
    out.extend_from_slice(b"\r\n");
}

fn literal_or_nil(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        Some(bytes) => {
            literal_head(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
        None => out.extend_from_slice(b"NIL"),
    }
}

fn part_numbers(out: &mut BytesMut, part: &[u32]) {
    for (index, part) in part.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b".");
        }
        number(out, u64::from(*part));
    }
}
