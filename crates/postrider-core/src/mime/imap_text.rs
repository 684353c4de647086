//! IMAP's own writing of a message's description: strings, ENVELOPE, BODY and BODYSTRUCTURE (RFC 3501 sections 4.3 and
//! 7.4.2, RFC 9051 section 7.5.2).
//!
//! Values are those of the header, not decoded. What is written can be copied onto the wire as it is.

use super::address_list::{AddressList, Item};
use super::header::{Field, Fields, unfold};
use super::parameters::{Disposition, Parameters};
use super::structure::{Part, PartKind, Structure};
use super::transfer::TransferEncoding;

/// The longest BODYSTRUCTURE. What would be longer is written without the messages within messages, and if that is too long as
/// well, as one part of content.
pub const BODY_STRUCTURE_BYTES_MAX: usize = 256 << 10;

/// Appends a string: quoted where that can carry it, as a literal otherwise. NUL, which neither can, is left out.
pub fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    let is_plain = |&b: &u8| (b' '..127).contains(&b) && b != b'"' && b != b'\\' || b == b'\t';
    if bytes.iter().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    if bytes.contains(&0) {
        let without: Vec<u8> = bytes.iter().copied().filter(|&b| b != 0).collect();
        return write_string(&without, out);
    }
    if bytes.iter().any(|&b| matches!(b, b'\r' | b'\n') || b >= 128) {
        out.extend_from_slice(format!("{{{}}}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    for &byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn write_nstring(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => write_string(bytes, out),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// A header field's value, unfolded; NIL where there is no such field.
fn write_value(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => write_string(&unfold(value), out),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// The values of the fields that ENVELOPE shows.
#[derive(Debug, Default)]
pub(crate) struct EnvelopeFields<'a> {
    pub date: Option<&'a [u8]>,
    pub subject: Option<&'a [u8]>,
    pub in_reply_to: Option<&'a [u8]>,
    pub message_id: Option<&'a [u8]>,
    pub from: AddressList,
    pub sender: AddressList,
    pub reply_to: AddressList,
    pub to: AddressList,
    pub cc: AddressList,
    pub bcc: AddressList,
}

impl<'a> EnvelopeFields<'a> {
    fn read(section: &'a [u8]) -> Self {
        let mut fields = Self::default();
        for field in Fields::new(section) {
            fields.take(&field);
        }
        fields
    }

    /// Of a text field that comes twice the first holds; addresses are joined.
    pub(crate) fn take(&mut self, field: &Field<'a>) {
        let mut text = |name: &str, place: fn(&mut Self) -> &mut Option<&'a [u8]>| {
            if field.is(name) && place(self).is_none() {
                *place(self) = Some(field.limited_value());
            }
        };
        match field.name {
            [b'd' | b'D', ..] => text("Date", |f| &mut f.date),
            [b'i' | b'I', ..] => text("In-Reply-To", |f| &mut f.in_reply_to),
            [b'm' | b'M', ..] => text("Message-ID", |f| &mut f.message_id),
            [b's' | b'S', _, b'b' | b'B', ..] => text("Subject", |f| &mut f.subject),
            [b'f' | b'F', ..] if field.is("From") => self.from.read(field.value),
            [b's' | b'S', ..] if field.is("Sender") => self.sender.read(field.value),
            [b'r' | b'R', ..] if field.is("Reply-To") => self.reply_to.read(field.value),
            [b't' | b'T', ..] if field.is("To") => self.to.read(field.value),
            [b'c' | b'C', ..] if field.is("Cc") => self.cc.read(field.value),
            [b'b' | b'B', ..] if field.is("Bcc") => self.bcc.read(field.value),
            _ => {}
        }
    }

    /// Appends ENVELOPE with its parentheses.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'(');
        write_value(self.date, out);
        out.push(b' ');
        write_value(self.subject, out);
        // RFC 3501 section 7.4.2: Sender and Reply-To that are missing or empty are those of From.
        let or_from = |list| if AddressList::is_empty(list) { &self.from } else { list };
        let lists = [&self.from, or_from(&self.sender), or_from(&self.reply_to), &self.to, &self.cc, &self.bcc];
        for list in lists {
            out.push(b' ');
            write_addresses(list, out);
        }
        out.push(b' ');
        write_value(self.in_reply_to, out);
        out.push(b' ');
        write_value(self.message_id, out);
        out.push(b')');
    }
}

fn write_addresses(list: &AddressList, out: &mut Vec<u8>) {
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for item in list.items() {
        match item {
            Item::Mailbox { name, route, local, domain } => {
                out.push(b'(');
                write_nstring(name, out);
                out.push(b' ');
                write_nstring(route, out);
                out.push(b' ');
                write_string(local, out);
                out.push(b' ');
                // NIL would be the start of a group.
                write_string(domain.unwrap_or_default(), out);
                out.push(b')');
            }
            Item::GroupStart(name) => {
                out.extend_from_slice(b"(NIL NIL ");
                write_string(name, out);
                out.extend_from_slice(b" NIL)");
            }
            Item::GroupEnd => out.extend_from_slice(b"(NIL NIL NIL NIL)"),
        }
    }
    out.push(b')');
}

/// Appends BODYSTRUCTURE, or BODY where it is not `extended`, with its parentheses.
pub(crate) fn write_body_structure(raw: &[u8], structure: &Structure, extended: bool, out: &mut Vec<u8>) {
    let start = out.len();
    for shows_messages in [true, false] {
        let mut writer =
            Writer { raw, structure, extended, shows_messages, end: start + BODY_STRUCTURE_BYTES_MAX, out };
        writer.part(structure.root());
        if writer.out.len() <= writer.end {
            return;
        }
        out.truncate(start);
    }
    let size = structure.root().body.len();
    let extension = if extended { " NIL NIL NIL NIL" } else { "" };
    let text = format!("(\"application\" \"octet-stream\" NIL NIL NIL \"binary\" {size}{extension})");
    out.extend_from_slice(text.as_bytes());
}

struct Writer<'a> {
    raw: &'a [u8],
    structure: &'a Structure,
    extended: bool,
    /// Otherwise a message within is written as content.
    shows_messages: bool,
    /// Behind this, what is written does not matter: it is thrown away.
    end: usize,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    /// Recursion ends with the structure's depth, at [`super::structure::DEPTH_MAX`].
    fn part(&mut self, part: &Part) {
        if self.out.len() > self.end {
            return;
        }
        self.out.push(b'(');
        match part.kind {
            PartKind::Multipart => self.multipart(part),
            _ => self.single(part),
        }
        self.out.push(b')');
    }

    fn multipart(&mut self, part: &Part) {
        for child in self.structure.children(part) {
            self.part(child);
        }
        let content_type = part.content_type(self.raw);
        self.out.push(b' ');
        self.string(content_type.subtype.as_bytes());
        if self.extended {
            self.out.push(b' ');
            self.parameters(&content_type.parameters, false);
            self.extension(part);
        }
    }

    fn single(&mut self, part: &Part) {
        let content_type = part.content_type(self.raw);
        let is_message = part.kind == PartKind::Message && self.shows_messages;
        let (main, subtype) = match part.kind {
            PartKind::Message if !is_message => ("application", "octet-stream"),
            _ => (&*content_type.main, &*content_type.subtype),
        };
        self.string(main.as_bytes());
        self.out.push(b' ');
        self.string(subtype.as_bytes());
        self.out.push(b' ');
        self.parameters(&content_type.parameters, part.kind == PartKind::Text);
        self.out.push(b' ');
        self.value(&part.fields.id);
        self.out.push(b' ');
        self.value(&part.fields.description);
        self.out.push(b' ');
        self.encoding(part);
        self.number(part.body.len());
        let body = &self.raw[part.body.clone()];
        if is_message && let Some(message) = self.structure.children(part).next() {
            self.out.push(b' ');
            EnvelopeFields::read(&self.raw[message.header.clone()]).write(self.out);
            self.out.push(b' ');
            self.part(message);
            self.number(memchr::memchr_iter(b'\n', body).count());
        } else if part.kind == PartKind::Text {
            self.number(memchr::memchr_iter(b'\n', body).count());
        }
        if self.extended {
            self.out.push(b' ');
            self.value(&part.fields.md5);
            self.extension(part);
        }
    }

    /// Disposition, language and location.
    fn extension(&mut self, part: &Part) {
        self.out.push(b' ');
        match part.disposition(self.raw) {
            Some(Disposition { kind, parameters }) => {
                self.out.push(b'(');
                self.string(kind.as_bytes());
                self.out.push(b' ');
                self.parameters(&parameters, false);
                self.out.push(b')');
            }
            None => self.out.extend_from_slice(b"NIL"),
        }
        self.out.push(b' ');
        self.languages(part);
        self.out.push(b' ');
        self.value(&part.fields.location);
    }

    /// RFC 3282: one language as a string, several as a list.
    fn languages(&mut self, part: &Part) {
        let raw = self.raw;
        let value = unfold(part.fields.language.clone().map_or(&[][..], |range| &raw[range]));
        let languages: Vec<&[u8]> =
            value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|language| !language.is_empty()).collect();
        match languages.as_slice() {
            [] => self.out.extend_from_slice(b"NIL"),
            [language] => self.string(language),
            _ => {
                for (i, language) in languages.iter().enumerate() {
                    self.out.push(if i == 0 { b'(' } else { b' ' });
                    self.string(language);
                }
                self.out.push(b')');
            }
        }
    }

    /// Text that names no charset is in ASCII (RFC 2045 section 5.2).
    fn parameters(&mut self, parameters: &Parameters<'_>, is_text: bool) {
        let wants_charset = is_text && parameters.get("charset").is_none();
        if parameters.0.is_empty() && !wants_charset {
            self.out.extend_from_slice(b"NIL");
            return;
        }
        let charset = wants_charset.then_some(("charset", &b"us-ascii"[..]));
        let written = parameters.0.iter().map(|(name, value)| (&**name, &**value));
        for (i, (name, value)) in written.chain(charset).enumerate() {
            self.out.push(if i == 0 { b'(' } else { b' ' });
            self.string(name.as_bytes());
            self.out.push(b' ');
            self.string(value);
        }
        self.out.push(b')');
    }

    /// The encoding's name; 7bit where there is no field (RFC 2045 section 6.1).
    fn encoding(&mut self, part: &Part) {
        let value = part.fields.encoding.clone().map_or(&[][..], |range| &self.raw[range]);
        let name = TransferEncoding::name(value).to_ascii_lowercase();
        self.string(if name.is_empty() { b"7bit" } else { &name });
    }

    fn number(&mut self, number: usize) {
        self.out.extend_from_slice(format!(" {number}").as_bytes());
    }

    fn value(&mut self, range: &Option<std::ops::Range<usize>>) {
        write_value(range.clone().map(|range| &self.raw[range]), self.out);
    }

    fn string(&mut self, bytes: &[u8]) {
        write_string(bytes, self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_structure(message: &str) -> String {
        let mut out = Vec::new();
        write_body_structure(message.as_bytes(), &Structure::parse(message.as_bytes()), true, &mut out);
        String::from_utf8(out).expect("it is UTF-8")
    }

    #[test]
    fn strings() {
        for (bytes, written) in [
            (&b""[..], &b"\"\""[..]),
            (b"a\tb ~", b"\"a\tb ~\""),
            (b"a\"b\\", b"\"a\\\"b\\\\\""),
            (b"a\r\nb", b"{4}\r\na\r\nb"),
            (b"a\nb", b"{3}\r\na\nb"),
            (b"\xc3\xbc\"", b"{3}\r\n\xc3\xbc\""),
            (b"a\0b", b"\"ab\""),
            (b"\0\n", b"{1}\r\n\n"),
        ] {
            let mut out = Vec::new();
            write_string(bytes, &mut out);
            assert_eq!(out, written, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_message_within() {
        let message = "Content-Type: message/rfc822\r\nContent-Language: de, en\r\nContent-Location: a\r\n b\r\n\
            Content-MD5: Q2hl\r\nContent-Description: d\r\n\r\nSubject: s\r\nCc: a@x.org\r\n\
            Content-Type: text/x-own; charset=utf-8\r\nContent-Transfer-Encoding: X-Own\r\n\r\none\r\ntwo";
        assert_eq!(
            body_structure(message),
            "(\"message\" \"rfc822\" NIL NIL \"d\" \"7bit\" 110 \
             (NIL \"s\" NIL NIL NIL NIL ((NIL NIL \"a\" \"x.org\")) NIL NIL NIL) \
             (\"text\" \"x-own\" (\"charset\" \"utf-8\") NIL NIL \"x-own\" 8 1 NIL NIL NIL NIL) 6 \
             \"Q2hl\" NIL (\"de\" \"en\") \"a b\")"
        );
    }

    #[test]
    fn what_is_too_long_is_told_shortly() {
        let part = format!("--x\r\n\r\nFrom: {}\r\n\r\n\r\n", "a,".repeat(500));
        let digest = "Content-Type: multipart/digest; boundary=x\r\n\r\n".to_owned() + &part.repeat(100);
        let without_messages = body_structure(&digest);
        assert!(without_messages.len() < BODY_STRUCTURE_BYTES_MAX);
        assert_eq!(without_messages.matches("octet-stream").count(), 100);
        let part = format!("--x\r\nContent-Type: a/b; {}\r\n\r\n", "c=\"\"; ".repeat(60));
        let parts = "Content-Type: multipart/mixed; boundary=x\r\n\r\n".to_owned() + &part.repeat(900);
        let size = parts.len() - "Content-Type: multipart/mixed; boundary=x\r\n\r\n".len();
        let whole = format!("(\"application\" \"octet-stream\" NIL NIL NIL \"binary\" {size} NIL NIL NIL NIL)");
        assert_eq!(body_structure(&parts), whole);
    }
}
