//! Messages, however broken: they are read without panic, each listed attachment can be fetched, parts stand within each
//! other, and what IMAP shows of them keeps its grammar.

use postrider_core::mailbox::{BaseSubject, Digest};
use postrider_core::mime::{Needle, Part, PartKind, Section, Structure, header_end, select_fields};
use postrider_core::{Content, Summary};

pub(crate) fn run(data: &[u8]) {
    let summary = Summary::parse(data);
    let content = Content::parse(data);
    assert_eq!(summary.attachments, content.attachments);
    assert_eq!(summary.is_8bit, !data.is_ascii());
    for (n, attachment) in content.attachments.iter().enumerate() {
        let (described, bytes) = Content::attachment(data, n).expect("what is listed is there");
        assert_eq!((&described, bytes.len() as u64), (attachment, attachment.size));
    }
    assert_eq!(Content::attachment(data, content.attachments.len()), None);

    let structure = Structure::parse(data);
    parts(data, &structure);
    digest(data, &structure);
    // Any beginning of the data as a needle, and one that is not ASCII.
    let start = String::from_utf8_lossy(&data[..data.len().min(3)]).into_owned();
    for text in [start.as_str(), "a", "\u{fc}"] {
        let needle = Needle::new(text);
        let is_in_body = needle.matches_body(data, &structure);
        assert!(!is_in_body || needle.matches_message(data, &structure));
        needle.matches_field(data, "Subject");
        assert!(needle.matches(text), "{text:?} contains itself");
    }
}

/// The message is whole, and every part stands within its parent, behind its elder sibling.
fn parts(data: &[u8], structure: &Structure) {
    assert_eq!(structure.section(&[], Section::Whole), Some(0..data.len()));
    assert_eq!(structure.root().header, 0..header_end(data));
    for part in structure.parts() {
        assert!(part.header.start <= part.header.end && part.header.end == part.body.start);
        assert!(part.body.start <= part.body.end);
        let mut last = part.body.start;
        for child in structure.children(part) {
            assert!(last <= child.header.start && child.body.end <= part.body.end);
            last = child.body.end;
        }
        let _ = part.decoded(data);
        let _ = part.disposition(data);
    }
    numbers(structure, structure.root(), &mut Vec::new());
}

/// Each part is found by its number.
fn numbers(structure: &Structure, part: &Part, path: &mut Vec<u32>) {
    if !path.is_empty() {
        assert_eq!(structure.part(path), Some(part));
    }
    for (n, child) in structure.children(part).enumerate() {
        if part.kind == PartKind::Multipart {
            path.push(n as u32 + 1);
            numbers(structure, child, path);
            path.pop();
        }
    }
}

fn digest(data: &[u8], structure: &Structure) {
    let digest = Digest::of(data);
    assert_eq!(digest, Digest::of_structure(data, structure));
    assert_eq!(Digest::decode(digest.as_bytes().clone()), Ok(digest.clone()));
    for text in [digest.envelope(), digest.body(), digest.body_structure()] {
        assert_eq!(value(text), Some(&b""[..]), "{}", text.escape_ascii());
    }
    let names = ["From", "Subject", "References", "Content-Type"];
    if let Some(fields) = digest.header_fields(&names) {
        assert_eq!(fields, select_fields(&data[..digest.header_bytes() as usize], &names, false));
    }
    let base = BaseSubject::of(digest.subject());
    assert_eq!(BaseSubject::of(&base.text).text, base.text);
    // Damaged anywhere, it is refused or read without panic.
    for at in 0..digest.as_bytes().len().min(128) {
        let mut bytes = digest.as_bytes().to_vec();
        bytes[at] ^= data.first().copied().unwrap_or(1) | 1;
        if let Ok(damaged) = Digest::decode(bytes.into()) {
            let _ = (damaged.subject(), damaged.envelope(), damaged.sent_at(), damaged.references().count());
        }
    }
}

/// What follows IMAP's value (RFC 3501 section 4) at the start: a list, a string, a number or NIL.
fn value(text: &[u8]) -> Option<&[u8]> {
    match text.first()? {
        b'(' => {
            let mut rest = &text[1..];
            while !rest.starts_with(b")") {
                rest = value(rest)?;
                rest = rest.strip_prefix(b" ").unwrap_or(rest);
            }
            Some(&rest[1..])
        }
        b'"' => {
            let mut at = 1;
            while *text.get(at)? != b'"' {
                assert!(text[at].is_ascii() && !matches!(text[at], 0 | b'\r' | b'\n'));
                at += if text[at] == b'\\' { 2 } else { 1 };
            }
            Some(&text[at + 1..])
        }
        b'{' => {
            let end = text.iter().position(|&b| b == b'}')?;
            let size: usize = std::str::from_utf8(&text[1..end]).ok()?.parse().ok()?;
            let literal = text.get(end + 3..end + 3 + size)?;
            assert!(!literal.contains(&0) && text[end + 1..].starts_with(b"\r\n"));
            Some(&text[end + 3 + size..])
        }
        b'N' => text.strip_prefix(b"NIL"),
        b'0'..=b'9' => Some(&text[text.iter().take_while(|b| b.is_ascii_digit()).count()..]),
        _ => None,
    }
}
