//! SEARCH (RFC 9051 section 6.4.4; RFC 4731, RFC 5032, RFC 5182, RFC 7162, RFC 8474, RFC 8514).

use super::{Fault, Parsed, Parser, Request};
use crate::imap::command::{CommandBody, ModSeqEntry, ModSeqEntryKind, Search, SearchKey, SearchReturn};
use crate::imap::flag::Flag;
use crate::imap::response::Status;

/// `SEARCH [search-return-opts] SP search-program`
pub(in crate::imap) fn search(parser: &mut Parser<'_>, uid: bool) -> Parsed<Request> {
    parser.space()?;
    let returns = return_options(parser)?;
    if parser.take_word_and_space("CHARSET") {
        charset(parser)?;
        parser.space()?;
    }
    let key = search_keys(parser)?;
    Ok(Request::Command(CommandBody::Search(Search { uid, returns, key })))
}

/// `["RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")" SP]`
pub(super) fn return_options(parser: &mut Parser<'_>) -> Parsed<Option<SearchReturn>> {
    if !parser.take_word_and_space("RETURN") {
        return Ok(None);
    }
    let mut returns = SearchReturn::default();
    parser.list(true, |parser| {
        let start = parser.position;
        match parser.word("a return option")?.to_ascii_uppercase().as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            "SAVE" => returns.save = true,
            _ => return Err(Fault::Expected("MIN, MAX, ALL, COUNT or SAVE", start)),
        }
        Ok(())
    })?;
    parser.space()?;
    // RFC 4731 section 3.1.
    if returns == SearchReturn::default() {
        returns.all = true;
    }
    Ok(Some(returns))
}

/// Strings come as UTF-8, of which US-ASCII is a part. RFC 6855 section 3 forbids clients to name a charset once UTF-8 is
/// enabled; naming the right one does no harm.
pub(super) fn charset(parser: &mut Parser<'_>) -> Parsed<()> {
    let name = parser.astring("a charset")?;
    let is_known = ["US-ASCII", "UTF-8"].iter().any(|known| known.eq_ignore_ascii_case(&name));
    if is_known { Ok(()) } else { Parser::refused(Status::BAD_CHARSET) }
}

/// `search-key *(SP search-key)` up to the end of the command.
pub(super) fn search_keys(parser: &mut Parser<'_>) -> Parsed<SearchKey> {
    let mut keys = vec![search_key(parser, 0)?];
    while parser.take(b' ') && parser.peek().is_some() {
        keys.push(search_key(parser, 0)?);
    }
    Ok(all_of(keys))
}

fn all_of(mut keys: Vec<SearchKey>) -> SearchKey {
    match keys.pop() {
        Some(key) if keys.is_empty() => key,
        Some(key) => {
            keys.push(key);
            SearchKey::And(keys)
        }
        None => SearchKey::All,
    }
}

/// `search-key`, within so many others.
fn search_key(parser: &mut Parser<'_>, depth: usize) -> Parsed<SearchKey> {
    parser.search_keys += 1;
    if depth > parser.limits.search_depth_max || parser.search_keys > parser.limits.search_keys_max {
        return Parser::refused(Status::SEARCH_TOO_COMPLEX);
    }
    match parser.peek() {
        Some(b'(') => return Ok(all_of(parser.list(false, |parser| search_key(parser, depth + 1))?)),
        Some(b'0'..=b'9' | b'*' | b'$') => return Ok(SearchKey::Sequence(parser.message_set()?)),
        _ => {}
    }
    let start = parser.position;
    let name = parser.word("a search key")?.to_ascii_uppercase();
    if let Some(key) = flag_key(&name) {
        return Ok(key);
    }
    if name == "SAVEDATESUPPORTED" {
        return Ok(SearchKey::SaveDateSupported);
    }
    if !takes_argument(&name) {
        return Err(Fault::Expected("a search key that is known here", start));
    }
    parser.space()?;
    match name.as_str() {
        "OR" => {
            let one = search_key(parser, depth + 1)?;
            parser.space()?;
            Ok(SearchKey::Or(Box::new(one), Box::new(search_key(parser, depth + 1)?)))
        }
        "NOT" => Ok(SearchKey::Not(Box::new(search_key(parser, depth + 1)?))),
        "MODSEQ" => mod_sequence_key(parser),
        _ => key_with_value(parser, &name),
    }
}

/// Keys about flags, and ALL.
fn flag_key(name: &str) -> Option<SearchKey> {
    Some(match name {
        "ALL" => SearchKey::All,
        "NEW" => SearchKey::And(vec![SearchKey::HasFlag(Flag::Recent), SearchKey::LacksFlag(Flag::Seen)]),
        "OLD" => SearchKey::LacksFlag(Flag::Recent),
        "RECENT" => SearchKey::HasFlag(Flag::Recent),
        _ => match name.strip_prefix("UN") {
            Some("RECENT") => return None,
            Some(name) => SearchKey::LacksFlag(Flag::system(name)?),
            None => SearchKey::HasFlag(Flag::system(name)?),
        },
    })
}

fn takes_argument(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "OR",
        "NOT",
        "MODSEQ",
        "KEYWORD",
        "UNKEYWORD",
        "UID",
        "FROM",
        "TO",
        "CC",
        "BCC",
        "SUBJECT",
        "HEADER",
        "BODY",
        "TEXT",
        "BEFORE",
        "ON",
        "SINCE",
        "SENTBEFORE",
        "SENTON",
        "SENTSINCE",
        "SAVEDBEFORE",
        "SAVEDON",
        "SAVEDSINCE",
        "LARGER",
        "SMALLER",
        "OLDER",
        "YOUNGER",
        "EMAILID",
        "THREADID",
    ];
    NAMES.contains(&name)
}

fn key_with_value(parser: &mut Parser<'_>, name: &str) -> Parsed<SearchKey> {
    let keyword = |parser: &mut Parser<'_>| Ok(Flag::Keyword(parser.atom("a keyword")?.to_owned()));
    let text = |parser: &mut Parser<'_>| Ok(parser.astring("a string to search for")?.into_owned());
    Ok(match name {
        "KEYWORD" => SearchKey::HasFlag(keyword(parser)?),
        "UNKEYWORD" => SearchKey::LacksFlag(keyword(parser)?),
        "UID" => SearchKey::Uid(parser.message_set()?),
        "FROM" => SearchKey::From(text(parser)?),
        "TO" => SearchKey::To(text(parser)?),
        "CC" => SearchKey::Cc(text(parser)?),
        "BCC" => SearchKey::Bcc(text(parser)?),
        "SUBJECT" => SearchKey::Subject(text(parser)?),
        "BODY" => SearchKey::Body(text(parser)?),
        "TEXT" => SearchKey::Text(text(parser)?),
        "HEADER" => {
            let name = parser.astring("the name of a header field")?.into_owned();
            parser.space()?;
            SearchKey::Header { name, value: text(parser)? }
        }
        "BEFORE" => SearchKey::Before(parser.date()?),
        "ON" => SearchKey::On(parser.date()?),
        "SINCE" => SearchKey::Since(parser.date()?),
        "SENTBEFORE" => SearchKey::SentBefore(parser.date()?),
        "SENTON" => SearchKey::SentOn(parser.date()?),
        "SENTSINCE" => SearchKey::SentSince(parser.date()?),
        "SAVEDBEFORE" => SearchKey::SavedBefore(parser.date()?),
        "SAVEDON" => SearchKey::SavedOn(parser.date()?),
        "SAVEDSINCE" => SearchKey::SavedSince(parser.date()?),
        "LARGER" => SearchKey::Larger(parser.number64("a size")?),
        "SMALLER" => SearchKey::Smaller(parser.number64("a size")?),
        "OLDER" => SearchKey::Older(parser.nonzero("a number of seconds")?),
        "YOUNGER" => SearchKey::Younger(parser.nonzero("a number of seconds")?),
        "EMAILID" => SearchKey::EmailId(parser.atom("an object id")?.to_owned()),
        "THREADID" => SearchKey::ThreadId(parser.atom("an object id")?.to_owned()),
        _ => return parser.expected("a search key that is known here"),
    })
}

/// `"MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer` (RFC 7162 section 3.1.5)
fn mod_sequence_key(parser: &mut Parser<'_>) -> Parsed<SearchKey> {
    let mut entry = None;
    if parser.peek() == Some(b'"') {
        let start = parser.position;
        let name = parser.string("the name of an entry")?;
        let flag = entry_flag(&name).ok_or(Fault::Expected("an entry as \"/flags/\\\\Seen\"", start))?;
        parser.space()?;
        let start = parser.position;
        let kind = match parser.word("priv, shared or all")?.to_ascii_lowercase().as_str() {
            "priv" => ModSeqEntryKind::Private,
            "shared" => ModSeqEntryKind::Shared,
            "all" => ModSeqEntryKind::All,
            _ => return Err(Fault::Expected("priv, shared or all", start)),
        };
        parser.space()?;
        entry = Some(ModSeqEntry { flag, kind });
    }
    Ok(SearchKey::ModSeq { entry, mod_sequence: parser.mod_sequence()? })
}

fn entry_flag(name: &str) -> Option<Flag> {
    const FOLDER: &str = "/flags/";
    let (folder, flag) = name.split_at_checked(FOLDER.len())?;
    if !folder.eq_ignore_ascii_case(FOLDER) || flag.is_empty() {
        return None;
    }
    match flag.strip_prefix('\\') {
        Some(flag) => Flag::system(flag),
        None => Some(Flag::Keyword(flag.to_owned())),
    }
}
