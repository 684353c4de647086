//! Opening a message so that each of its parts is found.
//!
//! The library that decodes bodies looks for the innermost delimiter only, and for none in a header section: a message within that
//! has no empty line, or a multipart within that is never closed, would take what follows with it, and a sender could hide a file
//! so. [`Structure`] says what parts there are, for IMAP as for this. Only where the library has lost one is the message written
//! down anew, in a form in which it loses nothing; what is stored stays as it is.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use mail_builder::encoders::Base64Encoder;
use mail_parser::parsers::MessageStream;
use mail_parser::{HeaderName, Message, MessageParser, PartType};
use memchr::memmem;

use crate::mime::{Fields, Part, PartKind, Structure, TransferEncoding};

/// How the delimiters of a message that is written down anew begin.
const DELIMITER: &str = "postrider-part-";

/// Digits that follow it and stand nowhere in the message.
const DELIMITER_DIGITS: usize = 8;

/// Reads a message: `read` gets it with its own header section, and with all its parts, which are two only where they must be.
/// `None`: it has not even a header field.
pub(super) fn open<R>(raw: &[u8], read: impl FnOnce(&Message<'_>, &Message<'_>) -> R) -> Option<R> {
    let parsed = MessageParser::default().parse(raw)?;
    let Some(structure) = structure_with_lost_parts(&parsed, raw) else { return Some(read(&parsed, &parsed)) };
    let anew = written_anew(raw, &structure);
    let whole = MessageParser::default().parse(&anew);
    Some(read(&parsed, whole.as_ref().unwrap_or(&parsed)))
}

/// The parts of a message, if the parse has not got all of them.
fn structure_with_lost_parts(parsed: &Message<'_>, raw: &[u8]) -> Option<Structure> {
    let is_multipart = parsed.headers().iter().any(|header| {
        header.name == HeaderName::ContentType
            && header.value.as_content_type().is_some_and(|kind| kind.ctype().eq_ignore_ascii_case("multipart"))
    });
    if !is_multipart {
        return None;
    }
    let structure = Structure::parse(raw);
    let mut leaves = Vec::new();
    add_leaves(&structure, structure.root(), &mut leaves);
    // Both lists go from the first byte to the last.
    let is_found = |leaf: &&Part| {
        let found = parsed.parts.binary_search_by_key(&leaf.header.start, |part| part.offset_header as usize);
        found.is_ok_and(|at| !matches!(parsed.parts[at].body, PartType::Multipart(_)))
    };
    let is_whole = leaves.iter().all(is_found);
    (!is_whole).then_some(structure)
}

/// What is listed of a message: all that is no multipart. A message within is one, whatever is in it.
fn add_leaves<'a>(structure: &'a Structure, part: &'a Part, leaves: &mut Vec<&'a Part>) {
    if !is_divided(structure, part) {
        return leaves.push(part);
    }
    for child in structure.children(part) {
        add_leaves(structure, child, leaves);
    }
}

/// Whether a multipart's body has a delimiter. Without one its only part is that body.
fn is_divided(structure: &Structure, part: &Part) -> bool {
    part.kind == PartKind::Multipart
        && structure.children(part).next().is_some_and(|first| first.header.start > part.body.start)
}

fn written_anew(raw: &[u8], structure: &Structure) -> Vec<u8> {
    let out = Vec::with_capacity(raw.len() + raw.len() / 2);
    let mut writer = Writer { raw, structure, delimiter: unused_delimiter(raw), multiparts: 0, out };
    let root = structure.root();
    for field in Fields::new(&raw[root.header.clone()]) {
        let is_described_anew = field.name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
        if !is_described_anew && !field.name.is_empty() {
            writer.out.extend_from_slice(field.line.trim_ascii_end());
            writer.out.extend_from_slice(b"\r\n");
        }
    }
    writer.part(root);
    writer.out
}

/// The beginning of delimiters that no line of the message can be taken for.
fn unused_delimiter(raw: &[u8]) -> String {
    let used: HashSet<&[u8]> = memmem::find_iter(raw, DELIMITER)
        .filter_map(|at| raw.get(at + DELIMITER.len()..)?.get(..DELIMITER_DIGITS))
        .collect();
    let mut digits = (0_u32..).map(|number| format!("{number:0DELIMITER_DIGITS$x}"));
    let unused = digits.find(|digits| !used.contains(digits.as_bytes()));
    format!("{DELIMITER}{}", unused.unwrap_or_default())
}

struct Writer<'a> {
    raw: &'a [u8],
    structure: &'a Structure,
    delimiter: String,
    /// Written so far: each has a delimiter of its own.
    multiparts: usize,
    out: Vec<u8>,
}

impl Writer<'_> {
    /// The fields that describe a part, the empty line, and its body.
    fn part(&mut self, part: &Part) {
        if !is_divided(self.structure, part) {
            return self.leaf(part);
        }
        // The point keeps the tenth from beginning like the first.
        let delimiter = format!("{}-{}.", self.delimiter, self.multiparts);
        self.multiparts += 1;
        let subtype = part.content_type(self.raw).subtype;
        self.line(&format!("Content-Type: multipart/{subtype}; boundary=\"{delimiter}\"\r\n"));
        let structure = self.structure;
        for child in structure.children(part) {
            self.line(&format!("\r\n--{delimiter}"));
            self.part(child);
        }
        self.line(&format!("\r\n--{delimiter}--"));
    }

    fn leaf(&mut self, part: &Part) {
        self.field("Content-Type", &self.leaf_type(part));
        let described = [("Content-Disposition", &part.fields.disposition), ("Content-ID", &part.fields.id)];
        for (name, range) in described {
            if let Some(value) = range.clone().and_then(|range| self.raw.get(range)) {
                self.field(name, value);
            }
        }
        let body = &self.raw[part.body.clone()];
        match (part.kind, part.encoding) {
            // Encoded, it is decoded again and then read for itself: nothing in it can reach beyond.
            (PartKind::Message, _) => {
                self.line("Content-Transfer-Encoding: base64\r\n");
                Base64Encoder::new().wrap_lines().encode_into(body, &mut self.out);
                return;
            }
            (_, TransferEncoding::Base64) => self.line("Content-Transfer-Encoding: base64\r\n"),
            (_, TransferEncoding::QuotedPrintable) => self.line("Content-Transfer-Encoding: quoted-printable\r\n"),
            (_, TransferEncoding::Identity | TransferEncoding::Unknown) => self.line(""),
        }
        self.out.extend_from_slice(body);
    }

    /// The type of a part as it was written, unless the library would take the part for one that has others in it.
    fn leaf_type(&self, part: &Part) -> Vec<u8> {
        let written = part.fields.content_type.clone().and_then(|range| self.raw.get(range)).unwrap_or_default();
        let mut line = written.to_vec();
        line.extend_from_slice(b"\r\n");
        let read = MessageStream::new(&line).parse_content_type();
        let read = read.as_content_type().map(|kind| (kind.ctype().to_ascii_lowercase(), kind.subtype()));
        let is_encoded = matches!(part.encoding, TransferEncoding::Base64 | TransferEncoding::QuotedPrintable);
        match (part.kind, read) {
            (PartKind::Message, Some((main, Some("rfc822" | "global")))) if main == "message" => written.to_vec(),
            (PartKind::Message, _) => b"message/rfc822".to_vec(),
            (PartKind::Multipart, _) | (PartKind::Text, None) => b"text/plain".to_vec(),
            (PartKind::Other, Some((main, _))) if main == "message" && is_encoded => written.to_vec(),
            (_, Some((main, _))) if main == "multipart" || main == "message" => {
                let own = part.content_type(self.raw);
                let holds = own.main != "multipart" && !matches!(&*own.subtype, "rfc822" | "global");
                if holds { format!("{}/{}", own.main, own.subtype).into_bytes() } else { OPAQUE.to_vec() }
            }
            (PartKind::Other, None) => OPAQUE.to_vec(),
            (PartKind::Text | PartKind::Other, Some(_)) => written.to_vec(),
        }
    }

    /// A field in one line.
    fn field(&mut self, name: &str, value: &[u8]) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        self.out.extend(value.trim_ascii().iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.out.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}

/// The type of what is not taken apart.
const OPAQUE: &[u8] = b"application/octet-stream";
