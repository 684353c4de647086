//! SORT and THREAD (RFC 5256, RFC 5267, RFC 5957).

use super::search::{charset, return_options, search_keys};
use super::{Fault, Parsed, Parser, Request};
use crate::imap::command::{CommandBody, Sort, SortCriterion, SortKey, Thread, ThreadAlgorithm};

/// `SORT [search-return-opts] SP "(" sort-criterion *(SP sort-criterion) ")" SP charset 1*(SP search-key)`
pub(in crate::imap) fn sort(parser: &mut Parser<'_>, uid: bool) -> Parsed<Request> {
    parser.space()?;
    let returns = return_options(parser)?;
    let criteria = parser.list(false, |parser| {
        let reverse = parser.take_word_and_space("REVERSE");
        Ok(SortCriterion { key: sort_key(parser)?, reverse })
    })?;
    parser.space()?;
    charset(parser)?;
    parser.space()?;
    let key = search_keys(parser)?;
    Ok(Request::Command(CommandBody::Sort(Sort { uid, returns, criteria, key })))
}

fn sort_key(parser: &mut Parser<'_>) -> Parsed<SortKey> {
    let start = parser.position;
    Ok(match parser.word("a sort key")?.to_ascii_uppercase().as_str() {
        "ARRIVAL" => SortKey::Arrival,
        "CC" => SortKey::Cc,
        "DATE" => SortKey::Date,
        "FROM" => SortKey::From,
        "SIZE" => SortKey::Size,
        "SUBJECT" => SortKey::Subject,
        "TO" => SortKey::To,
        "DISPLAYFROM" => SortKey::DisplayFrom,
        "DISPLAYTO" => SortKey::DisplayTo,
        _ => return Err(Fault::Expected("a sort key that is known here", start)),
    })
}

/// `THREAD SP thread-alg SP charset 1*(SP search-key)`
pub(in crate::imap) fn thread(parser: &mut Parser<'_>, uid: bool) -> Parsed<Request> {
    parser.space()?;
    let start = parser.position;
    let algorithm = match parser.atom("ORDEREDSUBJECT or REFERENCES")?.to_ascii_uppercase().as_str() {
        "ORDEREDSUBJECT" => ThreadAlgorithm::OrderedSubject,
        "REFERENCES" => ThreadAlgorithm::References,
        _ => return Err(Fault::Expected("ORDEREDSUBJECT or REFERENCES", start)),
    };
    parser.space()?;
    charset(parser)?;
    parser.space()?;
    let key = search_keys(parser)?;
    Ok(Request::Command(CommandBody::Thread(Thread { uid, algorithm, key })))
}
