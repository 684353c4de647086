//! APPEND and REPLACE (RFC 9051 section 6.3.12; RFC 3502, RFC 3516, RFC 4469, RFC 6855, RFC 8508).

use super::{Parsed, Parser, Request};
use crate::imap::command::{Append, AppendData, AppendMessage, CatenatePart, CommandBody, LiteralKind, Replace};

/// `APPEND SP mailbox 1*append-message`
pub(in crate::imap) fn append(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    let mailbox = parser.mailbox()?;
    let mut messages = Vec::new();
    parser.space()?;
    loop {
        messages.push(message(parser, &mailbox, messages.len())?);
        parser.check_count(messages.len())?;
        // A space at the end of a line means no further message (as in `end`).
        if !parser.take(b' ') || parser.peek().is_none() {
            break;
        }
    }
    Ok(Request::Command(CommandBody::Append(Append { mailbox, messages })))
}

/// `REPLACE SP seq-number SP mailbox append-message`
pub(in crate::imap) fn replace(parser: &mut Parser<'_>, uid: bool) -> Parsed<Request> {
    parser.space()?;
    let target = parser.sequence_number()?;
    parser.space()?;
    let mailbox = parser.mailbox()?;
    parser.space()?;
    let message = message(parser, &mailbox, 0)?;
    Ok(Request::Command(CommandBody::Replace(Replace { uid, target, mailbox, message })))
}

/// `[flag-list SP] [date-time SP] append-data`
fn message(parser: &mut Parser<'_>, mailbox: &str, earlier_messages: usize) -> Parsed<AppendMessage> {
    let mut flags = Vec::new();
    if parser.peek() == Some(b'(') {
        flags = parser.flag_list()?;
        parser.space()?;
    }
    let mut internal_date = None;
    if parser.peek() == Some(b'"') {
        internal_date = Some(parser.date_time()?);
        parser.space()?;
    }
    let data = data(parser, mailbox, earlier_messages)?;
    Ok(AppendMessage { flags, internal_date, data })
}

fn data(parser: &mut Parser<'_>, mailbox: &str, earlier_messages: usize) -> Parsed<AppendData> {
    if parser.take_word_and_space("CATENATE") {
        let parts = parser.list(false, |parser| part(parser, mailbox, earlier_messages))?;
        return Ok(AppendData::Catenate(parts));
    }
    if parser.take_word_and_space("UTF8") {
        parser.open()?;
        let (bytes, _) = parser.message_literal(mailbox, earlier_messages, false)?;
        parser.close()?;
        return Ok(AppendData::Message { bytes, kind: LiteralKind::Utf8 });
    }
    if !matches!(parser.peek(), Some(b'{' | b'~')) {
        return parser.expected("flags, a date, or the message as a literal");
    }
    let (bytes, kind) = parser.message_literal(mailbox, earlier_messages, false)?;
    Ok(AppendData::Message { bytes, kind })
}

/// `"URL" SP astring / "TEXT" SP literal / "UTF8" SP "(" literal8 ")"`
fn part(parser: &mut Parser<'_>, mailbox: &str, earlier_messages: usize) -> Parsed<CatenatePart> {
    if parser.take_word_and_space("URL") {
        return Ok(CatenatePart::Url(parser.astring("a URL")?.into_owned()));
    }
    if parser.take_word_and_space("TEXT") {
        return Ok(CatenatePart::Text(parser.message_literal(mailbox, earlier_messages, true)?.0));
    }
    if parser.take_word_and_space("UTF8") {
        parser.open()?;
        let (bytes, _) = parser.message_literal(mailbox, earlier_messages, true)?;
        parser.close()?;
        return Ok(CatenatePart::Text(bytes));
    }
    parser.expected("URL or TEXT")
}
