//! The parts of a message (RFC 2046), each with where exactly it stands.
//!
//! One pass over the bytes: nothing is decoded and nothing copied. Any bytes are a message; what makes no sense in them is
//! taken as mail programs would. Lines may end in CRLF or in LF alone.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memmem};

use super::header::Fields;
use super::parameters::{ContentType, Disposition};
use super::transfer::{TransferEncoding, UnknownEncoding};

/// Multiparts and messages within each other at most; what is deeper is one part.
pub const DEPTH_MAX: usize = 50;

/// Parts of a message that are told apart; what comes behind belongs to the last.
pub const PARTS_MAX: usize = 1_000;

/// The parts of one message. The ranges are of the bytes that were parsed, and the methods that take `raw` want them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    /// The message itself first; every part before the parts within it.
    parts: Vec<Part>,
}

/// A part, or the whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub kind: PartKind,
    pub encoding: TransferEncoding,
    /// The header section, with its empty line.
    pub header: Range<usize>,
    /// What follows, to the line end that belongs to the next boundary.
    pub body: Range<usize>,
    /// The parts of a multipart; the message in a message/rfc822.
    pub(crate) children: Vec<usize>,
    pub(crate) fields: PartFields,
}

/// What a part is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    Text,
    /// Has at least one part: where none was found, its whole body is one, as plain text.
    Multipart,
    /// message/rfc822 or message/global, not encoded: has a message within.
    Message,
    /// Content of any other type, and what could not be taken apart (an encoded message; one too deep).
    Other,
}

/// Where the values stand that describe a part; empty where it has no such field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PartFields {
    pub content_type: Option<Range<usize>>,
    pub encoding: Option<Range<usize>>,
    pub id: Option<Range<usize>>,
    pub description: Option<Range<usize>>,
    pub disposition: Option<Range<usize>>,
    pub language: Option<Range<usize>>,
    pub location: Option<Range<usize>>,
    pub md5: Option<Range<usize>>,
}

/// What of a part `BODY[...]` asks for (RFC 3501 section 6.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `BODY[]`, `BODY[1.2]`: the body of a part; the whole message where the path is empty.
    Whole,
    /// `HEADER`: of the message, or of the one within a message/rfc822.
    Header,
    /// `TEXT`: the body of that message.
    Text,
    /// `MIME`: the header section of a part.
    Mime,
}

impl Structure {
    /// Bytes behind the 4 GiB that a record can count are not looked at.
    pub fn parse(raw: &[u8]) -> Self {
        let raw = &raw[..raw.len().min(u32::MAX as usize)];
        let mut parser = Parser { raw, parts: Vec::with_capacity(4), open: Vec::new() };
        parser.run();
        Self { parts: parser.parts }
    }

    /// The message itself.
    pub fn root(&self) -> &Part {
        &self.parts[0]
    }

    /// All parts, every one before those within it.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub fn children<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = &'a Part> {
        part.children.iter().map(|&child| &self.parts[child])
    }

    /// The part with that number, as `[1, 2]` for `1.2`. The empty path is the message itself. `None`: there is no such part.
    ///
    /// RFC 3501 section 6.4.5: the parts of a message/rfc822 are numbered as those of the message within, and a message
    /// that is no multipart has one part.
    pub fn part(&self, path: &[u32]) -> Option<&Part> {
        let mut part = self.root();
        // Whether `part` stands for a message rather than for a part of one.
        let mut is_message = true;
        for &number in path {
            if !is_message && part.kind == PartKind::Message {
                part = self.children(part).next()?;
                is_message = true;
            }
            if part.kind == PartKind::Multipart {
                let child = part.children.get((number as usize).checked_sub(1)?)?;
                part = &self.parts[*child];
            } else if !(is_message && number == 1) {
                return None;
            }
            is_message = false;
        }
        Some(part)
    }

    /// Where the bytes of a section stand in the message. `None`: there is no such part, or it has no such section.
    pub fn section(&self, path: &[u32], section: Section) -> Option<Range<usize>> {
        let part = self.part(path)?;
        if path.is_empty() {
            return match section {
                Section::Whole => Some(part.header.start..part.body.end),
                Section::Header => Some(part.header.clone()),
                Section::Text => Some(part.body.clone()),
                Section::Mime => None,
            };
        }
        let message = || self.children(part).next().filter(|_| part.kind == PartKind::Message);
        match section {
            Section::Whole => Some(part.body.clone()),
            Section::Mime => Some(part.header.clone()),
            Section::Header => Some(message()?.header.clone()),
            Section::Text => Some(message()?.body.clone()),
        }
    }
}

impl Part {
    /// Type, subtype and parameters, after the rules for a missing or broken field (RFC 2045 section 5.2).
    pub fn content_type<'a>(&self, raw: &'a [u8]) -> ContentType<'a> {
        let written = self.fields.content_type.as_ref().and_then(|range| ContentType::parse(raw.get(range.clone())?));
        let plain = |main: &'static str, subtype: &'static str, written: Option<ContentType<'a>>| ContentType {
            main: main.into(),
            subtype: subtype.into(),
            parameters: written.map(|written| written.parameters).unwrap_or_default(),
        };
        match (self.kind, written) {
            (PartKind::Message, None) => plain("message", "rfc822", None),
            // Nothing within could be shown.
            (PartKind::Other, Some(written)) if matches!(&*written.main, "multipart" | "message") => {
                let holds = written.main == "message" && !matches!(&*written.subtype, "rfc822" | "global");
                if holds { written } else { plain("application", "octet-stream", Some(written)) }
            }
            (PartKind::Other, None) => plain("application", "octet-stream", None),
            (_, Some(written)) => written,
            (_, None) => ContentType::plain_text(),
        }
    }

    pub fn disposition<'a>(&self, raw: &'a [u8]) -> Option<Disposition<'a>> {
        Disposition::parse(raw.get(self.fields.disposition.clone()?)?)
    }

    /// The body without its transfer encoding, in its own charset (RFC 3516). Borrowed where it is not encoded.
    pub fn decoded<'a>(&self, raw: &'a [u8]) -> Result<Cow<'a, [u8]>, UnknownEncoding> {
        self.encoding.decode(raw.get(self.body.clone()).unwrap_or_default())
    }
}

struct Parser<'a> {
    raw: &'a [u8],
    parts: Vec<Part>,
    /// The parts around the current position, outermost first.
    open: Vec<Open<'a>>,
}

struct Open<'a> {
    part: usize,
    /// `None` where no delimiter of its own can come (any more).
    boundary: Option<Cow<'a, [u8]>>,
    is_digest: bool,
}

/// A delimiter line of an open multipart (RFC 2046 section 5.1.1).
struct Delimiter {
    /// Where the line end before it starts, which is part of it.
    start: usize,
    end: usize,
    /// Index into `open`.
    level: usize,
    is_last: bool,
}

impl<'a> Parser<'a> {
    fn run(&mut self) {
        let mut next = Some((0, false));
        loop {
            let mut at = match next.take() {
                Some((start, is_digest_part)) => self.open_part(start, is_digest_part),
                None => return self.close(0, self.raw.len()),
            };
            // Up to the delimiter that opens another part; the others only close what is open.
            while let Some(delimiter) = self.next_delimiter(at) {
                self.close(delimiter.level + 1, delimiter.start);
                let Some(multipart) = self.open.last_mut() else { break };
                at = delimiter.end;
                if delimiter.is_last || self.parts.len() >= PARTS_MAX {
                    multipart.boundary = None;
                    continue;
                }
                let id = self.parts.len();
                self.parts[multipart.part].children.push(id);
                next = Some((delimiter.end, multipart.is_digest));
                break;
            }
        }
    }

    /// Reads headers from `start` on, as deep as messages lie in messages. Returns where the innermost body starts.
    fn open_part(&mut self, mut start: usize, mut is_digest_part: bool) -> usize {
        loop {
            let id = self.parts.len();
            let header_end = self.header_end(start);
            let mut part = read_part(self.raw, start..header_end, is_digest_part);
            let mut open = Open { part: id, boundary: None, is_digest: false };
            let is_deep = self.open.len() >= DEPTH_MAX || id + 1 >= PARTS_MAX;
            match part.kind {
                PartKind::Multipart if is_deep => part.kind = PartKind::Other,
                PartKind::Message if is_deep => part.kind = PartKind::Other,
                PartKind::Multipart => {
                    let range = part.fields.content_type.clone().unwrap_or_default();
                    if let Some(kind) = ContentType::parse(&self.raw[range]) {
                        open.is_digest = kind.subtype == "digest";
                        let boundary = kind.parameters.0.into_iter().find(|(name, _)| name == "boundary");
                        open.boundary = boundary.map(|(_, value)| value).filter(|value| !value.is_empty());
                    }
                }
                _ => {}
            }
            let is_message = part.kind == PartKind::Message;
            if is_message {
                part.children.push(id + 1);
            }
            self.parts.push(part);
            self.open.push(open);
            if !is_message {
                return header_end;
            }
            (start, is_digest_part) = (header_end, false);
        }
    }

    /// As [`super::header_end`], but a delimiter ends a header section too.
    fn header_end(&self, start: usize) -> usize {
        let raw = self.raw;
        let mut line = start;
        let has_boundary = self.open.iter().any(|open| open.boundary.is_some());
        while line < raw.len() {
            match &raw[line..] {
                [b'\n', ..] => return line + 1,
                [b'\r', b'\n', ..] => return line + 2,
                [b'-', b'-', ..] if has_boundary && self.delimiter_at(line).is_some() => return line,
                rest => line += memchr(b'\n', rest).map_or(rest.len(), |end| end + 1),
            }
        }
        raw.len()
    }

    /// The first delimiter of any open multipart at or behind `from`, which is where a line starts.
    fn next_delimiter(&self, from: usize) -> Option<Delimiter> {
        if self.open.iter().all(|open| open.boundary.is_none()) {
            return None;
        }
        if let Some(delimiter) = self.delimiter_at(from) {
            return Some(delimiter);
        }
        let rest = self.raw.get(from..)?;
        memmem::find_iter(rest, b"\n--").find_map(|at| self.delimiter_at(from + at + 1))
    }

    /// The delimiter whose line starts at `line`.
    fn delimiter_at(&self, line: usize) -> Option<Delimiter> {
        let text = self.raw.get(line..)?.strip_prefix(b"--")?;
        for (level, open) in self.open.iter().enumerate().rev() {
            let Some(boundary) = &open.boundary else { continue };
            let Some(after) = text.strip_prefix(&**boundary) else { continue };
            let (is_last, padding) = match after.strip_prefix(b"--") {
                Some(after) => (true, after),
                None => (false, after),
            };
            let blanks = padding.iter().take_while(|&&b| b == b' ' || b == b'\t').count();
            let line_end = match &padding[blanks..] {
                [] => 0,
                [b'\r', b'\n', ..] => 2,
                [b'\n', ..] => 1,
                // A longer boundary that begins like this one.
                _ => continue,
            };
            let end = self.raw.len() - padding.len() + blanks + line_end;
            let before = &self.raw[..line];
            let start = line - if before.ends_with(b"\r\n") { 2 } else { usize::from(before.ends_with(b"\n")) };
            return Some(Delimiter { start, end, level, is_last });
        }
        None
    }

    /// Ends all that is open at `level` and deeper where `end` is.
    fn close(&mut self, level: usize, end: usize) {
        while self.open.len() > level {
            let Some(open) = self.open.pop() else { return };
            let id = self.parts.len();
            // An empty body: the empty line of the header section is also the delimiter's. Messages around it reach as far.
            let child = self.parts[open.part].children.last().map_or(0, |&child| self.parts[child].body.end);
            let part = &mut self.parts[open.part];
            part.body.end = end.max(part.body.start).max(child);
            if part.kind == PartKind::Multipart && part.children.is_empty() {
                part.children.push(id);
                let body = part.body.clone();
                self.parts.push(Part {
                    kind: PartKind::Text,
                    encoding: TransferEncoding::Identity,
                    header: body.start..body.start,
                    body,
                    children: Vec::new(),
                    fields: PartFields::default(),
                });
            }
        }
    }
}

/// A part as its header section describes it, its body still empty.
fn read_part(raw: &[u8], header: Range<usize>, is_digest_part: bool) -> Part {
    let mut fields = PartFields::default();
    for field in Fields::new(&raw[header.clone()]) {
        if !field.name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-")) {
            continue;
        }
        let place = match field.name[8..].to_ascii_lowercase().as_slice() {
            b"type" => &mut fields.content_type,
            b"transfer-encoding" => &mut fields.encoding,
            b"id" => &mut fields.id,
            b"description" => &mut fields.description,
            b"disposition" => &mut fields.disposition,
            b"language" => &mut fields.language,
            b"location" => &mut fields.location,
            b"md5" => &mut fields.md5,
            _ => continue,
        };
        if place.is_none() {
            let value = field.value_range();
            *place = Some(header.start + value.start..header.start + value.end);
        }
    }
    let value = |range: &Option<Range<usize>>| range.clone().map(|range| &raw[range]);
    let encoding = value(&fields.encoding).map_or(TransferEncoding::Identity, TransferEncoding::parse);
    let kind = match value(&fields.content_type).map(ContentType::parse) {
        // RFC 2046 section 5.1.5: a message unless it says otherwise.
        None if is_digest_part => message_kind(encoding),
        None | Some(None) => PartKind::Text,
        Some(Some(kind)) => match &*kind.main {
            "text" => PartKind::Text,
            "multipart" => PartKind::Multipart,
            "message" if matches!(&*kind.subtype, "rfc822" | "global") => message_kind(encoding),
            _ => PartKind::Other,
        },
    };
    let body = header.end..header.end;
    Part { kind, encoding, header, body, children: Vec::new(), fields }
}

/// RFC 2046 section 5.2.1: a message within is not encoded. One that is cannot be taken apart.
fn message_kind(encoding: TransferEncoding) -> PartKind {
    if encoding == TransferEncoding::Identity { PartKind::Message } else { PartKind::Other }
}
