//! LIST, LSUB, STATUS (RFC 9051 sections 6.3.9, 6.3.11; RFC 5258, RFC 5819, RFC 6154).

use super::{Fault, Parsed, Parser, Request};
use crate::imap::command::{CommandBody, List, ListReturn, ListSelection, Lsub};

/// `LIST [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]`
pub(in crate::imap) fn list(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    let mut extended = false;
    let mut selection = ListSelection::default();
    if parser.peek() == Some(b'(') {
        extended = true;
        selection = selection_options(parser)?;
        parser.space()?;
    }
    let reference = reference(parser)?;
    parser.space()?;
    let patterns = if parser.peek() == Some(b'(') {
        extended = true;
        parser.list(false, Parser::list_mailbox)?
    } else {
        vec![parser.list_mailbox()?]
    };
    let mut returns = ListReturn::default();
    if parser.take(b' ') && parser.peek().is_some() {
        if !parser.take_word_and_space("RETURN") {
            return parser.expected("RETURN");
        }
        extended = true;
        returns = return_options(parser)?;
    }
    Ok(Request::Command(CommandBody::List(List { reference, patterns, selection, returns, extended })))
}

fn selection_options(parser: &mut Parser<'_>) -> Parsed<ListSelection> {
    let start = parser.position;
    let mut selection = ListSelection::default();
    parser.list(true, |parser| {
        let start = parser.position;
        match parser.word("a selection option")?.to_ascii_uppercase().as_str() {
            "SUBSCRIBED" => selection.subscribed = true,
            "REMOTE" => selection.remote = true,
            "RECURSIVEMATCH" => selection.recursive_match = true,
            "SPECIAL-USE" => selection.special_use = true,
            _ => return Err(Fault::Expected("a selection option that is known here", start)),
        }
        Ok(())
    })?;
    // RFC 5258 section 3.1: alone it would match everything, and REMOTE is no criterion.
    if selection.recursive_match && !selection.subscribed && !selection.special_use {
        return Err(Fault::Expected("something to match along with RECURSIVEMATCH", start));
    }
    Ok(selection)
}

fn return_options(parser: &mut Parser<'_>) -> Parsed<ListReturn> {
    let mut returns = ListReturn::default();
    parser.list(true, |parser| {
        let start = parser.position;
        match parser.word("a return option")?.to_ascii_uppercase().as_str() {
            "SUBSCRIBED" => returns.subscribed = true,
            "CHILDREN" => returns.children = true,
            "SPECIAL-USE" => returns.special_use = true,
            "STATUS" => {
                parser.space()?;
                returns.status = Some(parser.status_items()?);
            }
            _ => return Err(Fault::Expected("a return option that is known here", start)),
        }
        Ok(())
    })?;
    Ok(returns)
}

/// `LSUB SP mailbox SP list-mailbox`
pub(in crate::imap) fn lsub(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    let reference = reference(parser)?;
    parser.space()?;
    Ok(Request::Command(CommandBody::Lsub(Lsub { reference, pattern: parser.list_mailbox()? })))
}

/// A reference is part of a name: INBOX in it is not the INBOX.
fn reference(parser: &mut Parser<'_>) -> Parsed<String> {
    let name = parser.astring("a reference name")?;
    parser.mailbox_name(&name)
}

/// `STATUS SP mailbox SP "(" status-att *(SP status-att) ")"`
pub(in crate::imap) fn status(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    let mailbox = parser.mailbox()?;
    parser.space()?;
    Ok(Request::Command(CommandBody::Status { mailbox, items: parser.status_items()? }))
}
