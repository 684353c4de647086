//! From 8bit to 7bit: what a message must go through for a server without 8BITMIME (RFC 6152 section 3).
//!
//! Rewrites bodies and their Content-Transfer-Encoding fields, and nothing else. It knows no server and no envelope.

#[cfg(test)]
mod tests;

use std::ops::Range;

use mail_builder::encoders::{Base64Encoder, QuotedPrintableEncoder};
use mail_parser::{HeaderName, MessageParser};
use memchr::{memchr2_iter, memmem};

use crate::trace::header_end;

/// Multiparts and messages within each other at most; what is deeper is not converted.
const DEPTH_MAX: usize = 50;

/// The message with all of its bodies in ASCII, or `None` when its structure leaves no way to do that without harm.
///
/// Every part whose body has bytes above 127 is encoded: text as quoted-printable, anything else, and text that is mostly
/// such bytes, as base64; its Content-Transfer-Encoding field says so. All other parts stay byte for byte. Multiparts and
/// messages that claimed 8bit or binary claim 7bit. A message without MIME fields gets them, with the character set
/// `unknown-8bit` (RFC 1428), because nobody knows better.
///
/// - Bytes above 127 in header fields stay: a server that minds them refuses the message, as it would have.
/// - Before the first and behind the last part of a multipart, where nobody reads, they become `?`.
/// - Signed parts (RFC 1847) are converted like others, as other mail servers do: the signature breaks, the mail arrives.
///
/// `None`: a multipart without a boundary that stands in its body, `message/partial` and `message/external-body`, which
/// must not be encoded (RFC 2046 section 5.2), or more than 50 levels of nesting.
pub fn to_7bit(raw: &[u8]) -> Option<Vec<u8>> {
    let mut converter = Converter { out: Vec::with_capacity(raw.len() + raw.len() / 3), boundaries: Vec::new() };
    converter.entity(raw, EntityRole::Message, 0)?;
    Some(converter.out)
}

struct Converter {
    out: Vec<u8>,
    /// Of the multiparts around: no encoded line may look like one of their delimiters.
    boundaries: Vec<String>,
}

/// What an entity is when its header does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntityRole {
    /// A message of its own, with its own MIME-Version.
    Message,
    /// A part of a multipart; text if it has no Content-Type.
    Part,
    /// A part of a `multipart/digest`; a message if it has no Content-Type (RFC 2046 section 5.1.5).
    DigestPart,
}

impl Converter {
    fn entity(&mut self, raw: &[u8], role: EntityRole, depth: usize) -> Option<()> {
        let (header, body) = raw.split_at(header_end(raw));
        if body.is_ascii() {
            self.out.extend_from_slice(raw);
            return Some(());
        }
        if depth > DEPTH_MAX {
            return None;
        }
        let fields = Fields::read(header);
        let kind = match (&fields.kind, role) {
            (Some(kind), _) => kind.as_str(),
            (None, EntityRole::DigestPart) => "message/rfc822",
            (None, _) => "text/plain",
        };
        if kind.starts_with("multipart/") {
            let part_role = if kind == "multipart/digest" { EntityRole::DigestPart } else { EntityRole::Part };
            return self.multipart(header, &fields, body, part_role, depth);
        }
        let is_encoded = matches!(fields.encoding.as_deref(), Some("quoted-printable" | "base64"));
        match kind {
            "message/rfc822" | "message/global" if !is_encoded => {
                self.composite_header(header, &fields);
                self.entity(body, EntityRole::Message, depth + 1)
            }
            "message/partial" | "message/external-body" => None,
            _ => {
                self.leaf(header, &fields, kind, body, role);
                Some(())
            }
        }
    }

    fn multipart(
        &mut self,
        header: &[u8],
        fields: &Fields,
        body: &[u8],
        part_role: EntityRole,
        depth: usize,
    ) -> Option<()> {
        // A delimiter above 127 could not be rewritten without its parameter.
        let boundary = fields.boundary.as_deref().filter(|b| !b.is_empty() && b.is_ascii())?;
        let delimiters = delimiters(body, boundary);
        let first = delimiters.first()?;
        self.composite_header(header, fields);
        self.ignored(&body[..first.line.start]);
        self.boundaries.push(boundary.to_owned());
        for (i, delimiter) in delimiters.iter().enumerate() {
            self.out.extend_from_slice(&body[delimiter.line.clone()]);
            if delimiter.is_last {
                break;
            }
            // The line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1).
            let part_end = delimiters.get(i + 1).map_or(body.len(), |next| next.line.start);
            self.entity(&body[delimiter.line.end..part_end.max(delimiter.line.end)], part_role, depth + 1)?;
        }
        self.boundaries.pop();
        if let Some(last) = delimiters.last().filter(|delimiter| delimiter.is_last) {
            self.ignored(&body[last.line.end..]);
        }
        Some(())
    }

    /// A body that is one piece of content.
    fn leaf(&mut self, header: &[u8], fields: &Fields, kind: &str, body: &[u8], role: EntityRole) {
        match fields.encoding.as_deref() {
            // Stray bytes in what claims to be encoded already: mend them so that decoders see no difference.
            Some("quoted-printable") => {
                self.out.extend_from_slice(header);
                self.escape_strays(body);
            }
            // RFC 2045 section 6.8: decoders pass over what is not in their alphabet.
            Some("base64") => {
                self.out.extend_from_slice(header);
                self.out.extend(body.iter().filter(|b| b.is_ascii()));
            }
            _ => {
                let is_text = kind.starts_with("text/") || kind.starts_with("message/");
                let encoding = if is_text && self.suits_quoted_printable(body) { "quoted-printable" } else { "base64" };
                self.leaf_header(header, fields, encoding, role);
                if encoding == "base64" {
                    Base64Encoder::new().wrap_lines().encode_into(body, &mut self.out);
                } else {
                    QuotedPrintableEncoder::new().preserve_line_breaks().encode_into(body, &mut self.out);
                }
            }
        }
    }

    fn suits_quoted_printable(&self, body: &[u8]) -> bool {
        let high = body.iter().filter(|b| !b.is_ascii()).count();
        let is_dense = high > body.len() / 2;
        // A soft line break could bring a boundary that stands in the text to the start of a line.
        let has_boundary = self.boundaries.iter().any(|boundary| memmem::find(body, boundary.as_bytes()).is_some());
        !is_dense && !has_boundary && lines_are_plain(body)
    }

    fn leaf_header(&mut self, header: &[u8], fields: &Fields, encoding: &str, role: EntityRole) {
        let mut added = String::new();
        if role == EntityRole::Message && !fields.has_mime_version {
            added.push_str("MIME-Version: 1.0\r\n");
        }
        if role == EntityRole::Message && fields.kind.is_none() {
            added.push_str("Content-Type: text/plain; charset=unknown-8bit\r\n");
        }
        let field = format!("Content-Transfer-Encoding: {encoding}\r\n");
        if fields.encoding_ranges.is_empty() {
            added.push_str(&field);
        }
        self.header(header, fields, &field, &added);
    }

    /// RFC 2045 section 6.4: multiparts and messages are only ever 7bit, 8bit or binary.
    fn composite_header(&mut self, header: &[u8], fields: &Fields) {
        match fields.encoding.as_deref() {
            Some("8bit" | "binary") => self.header(header, fields, "Content-Transfer-Encoding: 7bit\r\n", ""),
            _ => self.out.extend_from_slice(header),
        }
    }

    /// Copies a header section with its encoding field replaced and others added at its end.
    fn header(&mut self, header: &[u8], fields: &Fields, encoding_field: &str, added: &str) {
        // Behind the section a body follows, so that an empty line ends it.
        let end = header.len() - 2;
        let mut copied = 0;
        for range in &fields.encoding_ranges {
            self.out.extend_from_slice(&header[copied..range.start]);
            self.out.extend_from_slice(encoding_field.as_bytes());
            copied = range.end;
        }
        self.out.extend_from_slice(&header[copied..end.max(copied)]);
        self.out.extend_from_slice(added.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    fn ignored(&mut self, bytes: &[u8]) {
        self.out.extend(bytes.iter().map(|&b| if b.is_ascii() { b } else { b'?' }));
    }

    /// Writes each byte above 127 of a quoted-printable body as its escape.
    fn escape_strays(&mut self, body: &[u8]) {
        const LINE_BYTES_MAX: usize = 76;
        let mut column = 0;
        for &byte in body {
            if byte.is_ascii() {
                self.out.push(byte);
                column = if byte == b'\n' { 0 } else { column + 1 };
                continue;
            }
            if column + 3 >= LINE_BYTES_MAX {
                self.out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            self.out.extend_from_slice(format!("={byte:02X}").as_bytes());
            column += 3;
        }
    }
}

/// What a header section says about its body.
#[derive(Debug, Default)]
struct Fields {
    /// `type/subtype` in lower case.
    kind: Option<String>,
    boundary: Option<String>,
    /// In lower case.
    encoding: Option<String>,
    /// Where Content-Transfer-Encoding fields stand, in order, with their line ends.
    encoding_ranges: Vec<Range<usize>>,
    has_mime_version: bool,
}

impl Fields {
    fn read(header: &[u8]) -> Self {
        let mut fields = Self::default();
        let Some(parsed) = MessageParser::default().parse_headers(header) else { return fields };
        for field in parsed.headers() {
            match &field.name {
                HeaderName::ContentType => {
                    let Some(content_type) = field.value.as_content_type() else { continue };
                    let subtype = content_type.subtype().unwrap_or_default();
                    fields.kind = Some(format!("{}/{subtype}", content_type.ctype()).to_ascii_lowercase());
                    fields.boundary = content_type.attribute("boundary").map(str::to_owned);
                }
                HeaderName::ContentTransferEncoding => {
                    fields.encoding = field.value.as_text().map(|text| text.trim().to_ascii_lowercase());
                    let range = field.offset_field as usize..field.offset_end as usize;
                    // The section's own end is never part of a field.
                    if range.end + 2 <= header.len() && header[..range.end].ends_with(b"\n") {
                        fields.encoding_ranges.push(range);
                    }
                }
                HeaderName::MimeVersion => fields.has_mime_version = true,
                _ => {}
            }
        }
        fields
    }
}

/// A delimiter line in a multipart's body.
struct Delimiter {
    /// With the line end before it, if there is one, and its own.
    line: Range<usize>,
    /// Ends the multipart.
    is_last: bool,
}

/// The delimiter lines of a multipart (RFC 2046 section 5.1.1), up to the last.
fn delimiters(body: &[u8], boundary: &str) -> Vec<Delimiter> {
    let dashed = format!("--{boundary}");
    let mut found = Vec::new();
    for at in memmem::find_iter(body, dashed.as_bytes()) {
        let before = &body[..at];
        if !(before.is_empty() || before.ends_with(b"\n")) {
            continue;
        }
        let after = &body[at + dashed.len()..];
        let is_last = after.starts_with(b"--");
        let padding = if is_last { &after[2..] } else { after };
        let blank = padding.iter().take_while(|&&b| b == b' ' || b == b'\t').count();
        let line_end = match &padding[blank..] {
            [] => 0,
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            // A longer boundary that begins like this one.
            _ => continue,
        };
        let start = if before.ends_with(b"\r\n") { at - 2 } else { at - usize::from(!before.is_empty()) };
        let end = body.len() - padding.len() + blank + line_end;
        found.push(Delimiter { line: start..end, is_last });
        if is_last {
            break;
        }
    }
    // Two delimiters next to each other share a line end: it belongs to the first.
    for i in 1..found.len() {
        let previous_end = found[i - 1].line.end;
        found[i].line.start = found[i].line.start.max(previous_end);
    }
    found
}

/// Whether a text can be taken apart at its CRLFs and put together again: no bare CR or LF, no NUL.
pub(crate) fn lines_are_plain(text: &[u8]) -> bool {
    !text.contains(&0)
        && memchr2_iter(b'\r', b'\n', text).all(|at| match text[at] {
            b'\r' => text.get(at + 1) == Some(&b'\n'),
            _ => at > 0 && text[at - 1] == b'\r',
        })
}
