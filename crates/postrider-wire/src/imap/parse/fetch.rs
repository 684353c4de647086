//! FETCH and STORE (RFC 9051 sections 6.4.5, 6.4.6; RFC 3516, RFC 7162, RFC 8474, RFC 8514, RFC 8970).

use super::{Fault, Parsed, Parser, Request};
use crate::imap::command::{CommandBody, Fetch, FetchItem, Partial, Section, SectionText, Store, StoreAction};
use crate::imap::response::Dialect;
use crate::imap::server::Limits;

/// Depth of a part's number; deeper ones no mail has.
const PART_DEPTH_MAX: usize = 100;

/// `FETCH SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")") [fetch-modifiers]`
pub(in crate::imap) fn fetch(parser: &mut Parser<'_>, uid: bool) -> Parsed<Request> {
    parser.space()?;
    let set = parser.message_set()?;
    parser.space()?;
    let mut items = Vec::new();
    if uid {
        items.push(FetchItem::Uid);
    }
    if parser.peek() == Some(b'(') {
        parser.list(false, |parser| {
            let item = fetch_item(parser)?;
            add(&mut items, item);
            Ok(())
        })?;
    } else if let Some(names) = fetch_macro(parser) {
        names.iter().for_each(|item| add(&mut items, item.clone()));
    } else {
        let item = fetch_item(parser)?;
        add(&mut items, item);
    }
    let mut fetch = Fetch { uid, set, items, changed_since: None, vanished: false };
    if parser.rest().starts_with(b" (") {
        parser.space()?;
        fetch_modifiers(parser, &mut fetch)?;
    }
    Ok(Request::Command(CommandBody::Fetch(fetch)))
}

fn add(items: &mut Vec<FetchItem>, item: FetchItem) {
    if !items.contains(&item) {
        items.push(item);
    }
}

/// RFC 9051 section 6.4.5: macros stand alone.
fn fetch_macro(parser: &mut Parser<'_>) -> Option<&'static [FetchItem]> {
    const FULL: &[FetchItem] =
        &[FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size, FetchItem::Envelope, FetchItem::Body];
    [("FAST", &FULL[..3]), ("ALL", &FULL[..4]), ("FULL", FULL)]
        .into_iter()
        .find_map(|(name, items)| parser.take_word(name).then_some(items))
}

/// RFC 7162 sections 3.1.4.1 and 3.2.6.
fn fetch_modifiers(parser: &mut Parser<'_>, fetch: &mut Fetch) -> Parsed<()> {
    let start = parser.position;
    parser.list(false, |parser| {
        let start = parser.position;
        let name = parser.word("CHANGEDSINCE or VANISHED")?;
        if name.eq_ignore_ascii_case("CHANGEDSINCE") {
            parser.space()?;
            fetch.changed_since = Some(parser.mod_sequence()?);
            add(&mut fetch.items, FetchItem::ModSeq);
        } else if name.eq_ignore_ascii_case("VANISHED") {
            fetch.vanished = true;
        } else {
            return Err(Fault::Expected("CHANGEDSINCE or VANISHED", start));
        }
        Ok(())
    })?;
    if fetch.vanished && (!fetch.uid || fetch.changed_since.is_none()) {
        return Err(Fault::Expected("VANISHED only in UID FETCH with CHANGEDSINCE", start));
    }
    Ok(())
}

/// `fetch-att`
pub(super) fn fetch_item(parser: &mut Parser<'_>) -> Parsed<FetchItem> {
    let start = parser.position;
    let name = parser.word("what to fetch")?.to_ascii_uppercase();
    let has_section = parser.peek() == Some(b'[');
    Ok(match (name.as_str(), has_section) {
        ("UID", false) => FetchItem::Uid,
        ("FLAGS", false) => FetchItem::Flags,
        ("INTERNALDATE", false) => FetchItem::InternalDate,
        ("RFC822.SIZE", false) => FetchItem::Rfc822Size,
        ("ENVELOPE", false) => FetchItem::Envelope,
        ("BODY", false) => FetchItem::Body,
        ("BODYSTRUCTURE", false) => FetchItem::BodyStructure,
        ("RFC822", false) => FetchItem::Rfc822,
        ("RFC822.HEADER", false) => FetchItem::Rfc822Header,
        ("RFC822.TEXT", false) => FetchItem::Rfc822Text,
        ("MODSEQ", false) => FetchItem::ModSeq,
        ("SAVEDATE", false) => FetchItem::SaveDate,
        ("EMAILID", false) => FetchItem::EmailId,
        ("THREADID", false) => FetchItem::ThreadId,
        ("PREVIEW", false) => FetchItem::Preview { lazy: preview_is_lazy(parser)? },
        ("BODY" | "BODY.PEEK", true) => {
            let section = section(parser)?;
            FetchItem::BodySection { peek: name.ends_with("PEEK"), section, partial: partial(parser)? }
        }
        ("BINARY" | "BINARY.PEEK", true) => {
            let part = bracketed_part(parser)?;
            FetchItem::Binary { peek: name.ends_with("PEEK"), part, partial: partial(parser)? }
        }
        ("BINARY.SIZE", true) => FetchItem::BinarySize { part: bracketed_part(parser)? },
        _ => return Err(Fault::Expected("an item that can be fetched", start)),
    })
}

/// `PREVIEW [SP "(" "LAZY" ")"]` (RFC 8970). What follows another item, ` (`, is a modifier's beginning.
fn preview_is_lazy(parser: &mut Parser<'_>) -> Parsed<bool> {
    const LAZY: &[u8] = b" (LAZY)";
    let stands = parser.rest().get(..LAZY.len()).is_some_and(|text| text.eq_ignore_ascii_case(LAZY));
    parser.position += if stands { LAZY.len() } else { 0 };
    Ok(stands)
}

impl Section {
    /// Reads what stands between the brackets of `BODY[...]`: `1.2.MIME`. URLs name sections so, too (RFC 5092).
    pub fn parse(text: &str) -> Option<Self> {
        let limits = Limits::default();
        let bracketed = format!("[{text}]");
        let mut parser = Parser::new(bracketed.as_bytes(), &[], Dialect::default(), &limits);
        let section = section(&mut parser).ok()?;
        parser.end().ok()?;
        Some(section)
    }
}

/// `"[" [section-spec] "]"`
fn section(parser: &mut Parser<'_>) -> Parsed<Section> {
    parser.require(b'[', "[")?;
    let (part, is_open) = part_numbers(parser)?;
    let mut section = Section { part, text: None };
    if section.part.is_empty() || is_open {
        section.text = section_text(parser, !section.part.is_empty())?;
    }
    parser.require(b']', "]")?;
    Ok(section)
}

fn section_text(parser: &mut Parser<'_>, has_part: bool) -> Parsed<Option<SectionText>> {
    if !has_part && parser.peek() == Some(b']') {
        return Ok(None);
    }
    let start = parser.position;
    let name = parser.word("a section")?.to_ascii_uppercase();
    Ok(Some(match name.as_str() {
        "HEADER" => SectionText::Header,
        "TEXT" => SectionText::Text,
        "MIME" if has_part => SectionText::Mime,
        "HEADER.FIELDS" => SectionText::HeaderFields(header_names(parser)?),
        "HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(header_names(parser)?),
        _ => return Err(Fault::Expected("HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, MIME or TEXT", start)),
    }))
}

/// `SP "(" header-fld-name *(SP header-fld-name) ")"`
fn header_names(parser: &mut Parser<'_>) -> Parsed<Vec<String>> {
    parser.space()?;
    parser.list(false, |parser| Ok(parser.astring("the name of a header field")?.into_owned()))
}

/// `"[" [section-part] "]"`
fn bracketed_part(parser: &mut Parser<'_>) -> Parsed<Vec<u32>> {
    parser.require(b'[', "[")?;
    let (part, is_open) = part_numbers(parser)?;
    if is_open {
        return parser.expected("the number of a part");
    }
    parser.require(b']', "]")?;
    Ok(part)
}

/// `1.2.3`, and whether a dot follows with no number behind it.
fn part_numbers(parser: &mut Parser<'_>) -> Parsed<(Vec<u32>, bool)> {
    let mut part = Vec::new();
    while parser.peek().is_some_and(|b| b.is_ascii_digit()) {
        part.push(parser.nonzero("the number of a part")?);
        if part.len() > PART_DEPTH_MAX {
            return parser.expected("a part that is not so deep");
        }
        if !parser.take(b'.') {
            return Ok((part, false));
        }
    }
    let is_open = !part.is_empty();
    Ok((part, is_open))
}

/// `"<" number64 "." nz-number64 ">"`
fn partial(parser: &mut Parser<'_>) -> Parsed<Option<Partial>> {
    if !parser.take(b'<') {
        return Ok(None);
    }
    let offset = parser.number64("an offset")?;
    parser.require(b'.', ". between offset and length")?;
    let start = parser.position;
    let length = parser.number64("a length")?;
    if length == 0 {
        return Err(Fault::Expected("a length above 0", start));
    }
    parser.require(b'>', ">")?;
    Ok(Some(Partial { offset, length }))
}

/// `STORE SP sequence-set [SP store-modifiers] SP store-att-flags`
pub(in crate::imap) fn store(parser: &mut Parser<'_>, uid: bool) -> Parsed<Request> {
    parser.space()?;
    let set = parser.message_set()?;
    parser.space()?;
    let mut unchanged_since = None;
    if parser.take(b'(') {
        if !parser.take_word_and_space("UNCHANGEDSINCE") {
            return parser.expected("UNCHANGEDSINCE");
        }
        unchanged_since = Some(parser.mod_sequence()?);
        parser.close()?;
        parser.space()?;
    }
    let action = match parser.peek() {
        Some(b'+') => StoreAction::Add,
        Some(b'-') => StoreAction::Remove,
        _ => StoreAction::Replace,
    };
    parser.position += usize::from(action != StoreAction::Replace);
    let start = parser.position;
    let name = parser.word("FLAGS")?;
    let silent = name.eq_ignore_ascii_case("FLAGS.SILENT");
    if !silent && !name.eq_ignore_ascii_case("FLAGS") {
        return Err(Fault::Expected("FLAGS or FLAGS.SILENT", start));
    }
    parser.space()?;
    let flags = if parser.peek() == Some(b'(') { parser.flag_list()? } else { bare_flags(parser)? };
    Ok(Request::Command(CommandBody::Store(Store { uid, set, unchanged_since, action, silent, flags })))
}

/// `flag *(SP flag)`
fn bare_flags(parser: &mut Parser<'_>) -> Parsed<Vec<crate::imap::flag::Flag>> {
    let mut flags = vec![parser.flag()?];
    while parser.take(b' ') && parser.peek().is_some() {
        flags.push(parser.flag()?);
        parser.check_count(flags.len())?;
    }
    Ok(flags)
}
