//! GETMETADATA and SETMETADATA (RFC 5464).

use super::{Fault, Parsed, Parser, Request};
use crate::imap::command::{CommandBody, GetMetadata, MetadataDepth, SetMetadata};

/// `GETMETADATA [SP getmetadata-options] SP mailbox SP entries`. Options may stand behind the mailbox too: RFC 5464's own
/// examples have them there.
pub(in crate::imap) fn get_metadata(parser: &mut Parser<'_>) -> Parsed<Request> {
    let mut get = GetMetadata {
        mailbox: String::new(),
        max_size_bytes: None,
        depth: MetadataDepth::default(),
        entries: Vec::new(),
    };
    parser.space()?;
    if parser.peek() == Some(b'(') {
        options(parser, &mut get)?;
        parser.space()?;
    }
    get.mailbox = parser.mailbox()?;
    parser.space()?;
    if [&b"(MAXSIZE "[..], b"(DEPTH "]
        .iter()
        .any(|option| parser.rest().get(..option.len()).is_some_and(|text| text.eq_ignore_ascii_case(option)))
    {
        options(parser, &mut get)?;
        parser.space()?;
    }
    // A root alone is no entry, but with DEPTH what is below it is asked for.
    let below_roots = get.depth != MetadataDepth::Zero;
    let read = |parser: &mut Parser<'_>| entry(parser, below_roots);
    get.entries = if parser.peek() == Some(b'(') { parser.list(false, read)? } else { vec![read(parser)?] };
    Ok(Request::Command(CommandBody::GetMetadata(get)))
}

fn options(parser: &mut Parser<'_>, get: &mut GetMetadata) -> Parsed<()> {
    parser.list(false, |parser| {
        let start = parser.position;
        let name = parser.word("MAXSIZE or DEPTH")?;
        parser.space()?;
        if name.eq_ignore_ascii_case("MAXSIZE") {
            get.max_size_bytes = Some(parser.number64("a size")?);
        } else if name.eq_ignore_ascii_case("DEPTH") {
            get.depth = match parser.word("0, 1 or infinity")?.to_ascii_lowercase().as_str() {
                "0" => MetadataDepth::Zero,
                "1" => MetadataDepth::One,
                "infinity" => MetadataDepth::Infinity,
                _ => return parser.expected("0, 1 or infinity"),
            };
        } else {
            return Err(Fault::Expected("MAXSIZE or DEPTH", start));
        }
        Ok(())
    })?;
    Ok(())
}

/// `SETMETADATA SP mailbox SP "(" entry SP value *(SP entry SP value) ")"`
pub(in crate::imap) fn set_metadata(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    let mailbox = parser.mailbox()?;
    parser.space()?;
    let entries = parser.list(false, |parser| {
        let name = entry(parser, false)?;
        parser.space()?;
        Ok((name, parser.nstring8("a value or NIL")?))
    })?;
    Ok(Request::Command(CommandBody::SetMetadata(SetMetadata { mailbox, entries })))
}

/// Section 3.2: ASCII without wildcards, in parts that are not empty.
fn entry(parser: &mut Parser<'_>, may_be_root: bool) -> Parsed<String> {
    let start = parser.position;
    let name = parser.astring("the name of an entry")?;
    let is_root = ["/private", "/shared"].iter().any(|root| name.eq_ignore_ascii_case(root));
    let has_root = (is_root && may_be_root)
        || ["/private/", "/shared/"].iter().any(|root| {
            name.get(..root.len()).is_some_and(|start| start.eq_ignore_ascii_case(root)) && name.len() > root.len()
        });
    let is_plain = name.len() <= parser.limits.mailbox_name_bytes_max
        && !name.contains("//")
        && !name.ends_with('/')
        && name.bytes().all(|b| (b.is_ascii_graphic() || b == b' ') && !matches!(b, b'*' | b'%'));
    if !has_root || !is_plain {
        return Err(Fault::Expected("an entry as /private/comment or /shared/comment", start));
    }
    Ok(name.into_owned())
}
