//! Commands about mailboxes as a whole, quotas, and messages' way from one mailbox to another.

use super::{Fault, Parsed, Parser, Request};
use crate::imap::command::{CommandBody, Create, Qresync, Select};
use crate::imap::flag::SpecialUse;

/// `SELECT SP mailbox [select-params]`
pub(in crate::imap) fn select(parser: &mut Parser<'_>) -> Parsed<Request> {
    selected(parser, false)
}

pub(in crate::imap) fn examine(parser: &mut Parser<'_>) -> Parsed<Request> {
    selected(parser, true)
}

fn selected(parser: &mut Parser<'_>, read_only: bool) -> Parsed<Request> {
    parser.space()?;
    let mut select = Select { mailbox: parser.mailbox()?, read_only, condstore: false, qresync: None };
    if parser.rest().starts_with(b" (") {
        parser.space()?;
        parser.list(false, |parser| {
            let start = parser.position;
            let name = parser.word("CONDSTORE or QRESYNC")?;
            if name.eq_ignore_ascii_case("CONDSTORE") {
                select.condstore = true;
            } else if name.eq_ignore_ascii_case("QRESYNC") {
                parser.space()?;
                select.qresync = Some(qresync(parser)?);
            } else {
                return Err(Fault::Expected("CONDSTORE or QRESYNC", start));
            }
            Ok(())
        })?;
    }
    Ok(Request::Command(CommandBody::Select(select)))
}

/// `"(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"` (RFC 7162 section 7)
fn qresync(parser: &mut Parser<'_>) -> Parsed<Qresync> {
    parser.open()?;
    let uid_validity = parser.nonzero("a UIDVALIDITY")?;
    parser.space()?;
    // 0 would ask for the same as 1.
    let mod_sequence = parser.mod_sequence()?.max(1);
    let mut qresync = Qresync { uid_validity, mod_sequence, known_uids: None, sequence_match: None };
    if parser.take(b' ') && parser.peek() != Some(b'(') {
        qresync.known_uids = Some(plain_set(parser)?);
        parser.take(b' ');
    }
    if parser.take(b'(') {
        let numbers = plain_set(parser)?;
        parser.space()?;
        let uids = plain_set(parser)?;
        parser.close()?;
        qresync.sequence_match = Some((numbers, uids));
    }
    parser.close()?;
    Ok(qresync)
}

/// RFC 7162 section 3.2.5: without `*`.
fn plain_set(parser: &mut Parser<'_>) -> Parsed<crate::imap::sequence::SequenceSet> {
    let start = parser.position;
    let set = parser.sequence_set()?;
    if set.has_largest() { Err(Fault::Expected("a set without *", start)) } else { Ok(set) }
}

/// `CREATE SP mailbox [SP "(" "USE" SP "(" [use-attr *(SP use-attr)] ")" ")"]` (RFC 6154 section 3)
pub(in crate::imap) fn create(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    let mailbox = parser.mailbox()?;
    let mut special_use = Vec::new();
    if parser.rest().starts_with(b" (") {
        parser.position += 2;
        if !parser.take_word_and_space("USE") {
            return parser.expected("USE");
        }
        special_use = parser.list(true, |parser| {
            let start = parser.position;
            parser.require(b'\\', "what the mailbox is for")?;
            parser.atom("what the mailbox is for")?;
            let name = std::str::from_utf8(&parser.text[start..parser.position]).unwrap_or_default();
            Ok(SpecialUse::from_name(name))
        })?;
        parser.close()?;
    }
    Ok(Request::Command(CommandBody::Create(Create { mailbox, special_use })))
}

pub(in crate::imap) fn delete(parser: &mut Parser<'_>) -> Parsed<Request> {
    named(parser, |mailbox| CommandBody::Delete { mailbox })
}

pub(in crate::imap) fn subscribe(parser: &mut Parser<'_>) -> Parsed<Request> {
    named(parser, |mailbox| CommandBody::Subscribe { mailbox })
}

pub(in crate::imap) fn unsubscribe(parser: &mut Parser<'_>) -> Parsed<Request> {
    named(parser, |mailbox| CommandBody::Unsubscribe { mailbox })
}

pub(in crate::imap) fn get_quota_root(parser: &mut Parser<'_>) -> Parsed<Request> {
    named(parser, |mailbox| CommandBody::GetQuotaRoot { mailbox })
}

fn named(parser: &mut Parser<'_>, body: impl FnOnce(String) -> CommandBody) -> Parsed<Request> {
    parser.space()?;
    Ok(Request::Command(body(parser.mailbox()?)))
}

/// `RENAME SP mailbox SP mailbox`
pub(in crate::imap) fn rename(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    let from = parser.mailbox()?;
    parser.space()?;
    Ok(Request::Command(CommandBody::Rename { from, to: parser.mailbox()? }))
}

/// `GETQUOTA SP quota-root-name` (RFC 9208)
pub(in crate::imap) fn get_quota(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    Ok(Request::Command(CommandBody::GetQuota { root: parser.astring("a quota root")?.into_owned() }))
}

/// `SETQUOTA SP quota-root-name SP "(" [resource SP limit *(SP resource SP limit)] ")"`
pub(in crate::imap) fn set_quota(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    let root = parser.astring("a quota root")?.into_owned();
    parser.space()?;
    let limits = parser.list(true, |parser| {
        let name = parser.atom("a resource")?.to_owned();
        parser.space()?;
        Ok((name, parser.number64("a limit")?))
    })?;
    Ok(Request::Command(CommandBody::SetQuota { root, limits }))
}

/// `COPY SP sequence-set SP mailbox`
pub(in crate::imap) fn copy(parser: &mut Parser<'_>, uid: bool) -> Parsed<Request> {
    parser.space()?;
    let set = parser.message_set()?;
    parser.space()?;
    Ok(Request::Command(CommandBody::Copy { uid, set, mailbox: parser.mailbox()? }))
}

/// `MOVE SP sequence-set SP mailbox` (RFC 6851)
pub(in crate::imap) fn move_messages(parser: &mut Parser<'_>, uid: bool) -> Parsed<Request> {
    parser.space()?;
    let set = parser.message_set()?;
    parser.space()?;
    Ok(Request::Command(CommandBody::Move { uid, set, mailbox: parser.mailbox()? }))
}

/// `EXPUNGE`, and `UID EXPUNGE SP sequence-set` (RFC 4315)
pub(in crate::imap) fn expunge(parser: &mut Parser<'_>, uid: bool) -> Parsed<Request> {
    let uids = if uid {
        parser.space()?;
        Some(parser.message_set()?)
    } else {
        None
    };
    Ok(Request::Command(CommandBody::Expunge { uids }))
}
