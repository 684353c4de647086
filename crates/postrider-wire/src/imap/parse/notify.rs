//! NOTIFY (RFC 5465).

use super::fetch::fetch_item;
use super::{Fault, Parsed, Parser, Request};
use crate::imap::command::{CommandBody, EventGroup, FetchItem, MailboxFilter, Notify, NotifyEvent};

/// `NOTIFY SP ("SET" [SP "STATUS"] 1*(SP event-group) / "NONE")`
pub(in crate::imap) fn notify(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    if parser.take_word("NONE") {
        return Ok(Request::Command(CommandBody::Notify(Notify::None)));
    }
    if !parser.take_word_and_space("SET") {
        return parser.expected("SET or NONE");
    }
    let status = parser.take_word_and_space("STATUS");
    let start = parser.position;
    let mut groups = vec![event_group(parser)?];
    while parser.take(b' ') && parser.peek().is_some() {
        groups.push(event_group(parser)?);
        parser.check_count(groups.len())?;
    }
    let is_about_selected =
        |group: &&EventGroup| matches!(group.filter, MailboxFilter::Selected | MailboxFilter::SelectedDelayed);
    // Section 6.1.
    if groups.iter().filter(is_about_selected).count() > 1 {
        return Err(Fault::Expected("the selected mailbox only once", start));
    }
    Ok(Request::Command(CommandBody::Notify(Notify::Set { status, groups })))
}

/// `"(" filter-mailboxes SP events ")"`. Events may stand without parentheses of their own: RFC 5465's examples have them
/// so.
fn event_group(parser: &mut Parser<'_>) -> Parsed<EventGroup> {
    parser.open()?;
    let filter = filter(parser)?;
    parser.space()?;
    let start = parser.position;
    let events = if parser.take_word("NONE") {
        Vec::new()
    } else if parser.peek() == Some(b'(') {
        parser.list(false, |parser| event(parser, &filter))?
    } else {
        bare_events(parser, &filter)?
    };
    parser.close()?;
    check(&filter, &events).map_err(|what| Fault::Expected(what, start))?;
    Ok(EventGroup { filter, events })
}

fn bare_events(parser: &mut Parser<'_>, filter: &MailboxFilter) -> Parsed<Vec<NotifyEvent>> {
    let mut events = vec![event(parser, filter)?];
    while parser.take(b' ') {
        events.push(event(parser, filter)?);
        parser.check_count(events.len())?;
    }
    Ok(events)
}

fn filter(parser: &mut Parser<'_>) -> Parsed<MailboxFilter> {
    let start = parser.position;
    Ok(match parser.word("which mailboxes")?.to_ascii_uppercase().as_str() {
        "SELECTED" => MailboxFilter::Selected,
        "SELECTED-DELAYED" => MailboxFilter::SelectedDelayed,
        "INBOXES" => MailboxFilter::Inboxes,
        "PERSONAL" => MailboxFilter::Personal,
        "SUBSCRIBED" => MailboxFilter::Subscribed,
        "SUBTREE" => MailboxFilter::Subtree(mailboxes(parser)?),
        "MAILBOXES" => MailboxFilter::Mailboxes(mailboxes(parser)?),
        _ => return Err(Fault::Expected("a filter of mailboxes that is known here", start)),
    })
}

/// `SP (mailbox / "(" mailbox *(SP mailbox) ")")`
fn mailboxes(parser: &mut Parser<'_>) -> Parsed<Vec<String>> {
    parser.space()?;
    if parser.peek() == Some(b'(') { parser.list(false, Parser::mailbox) } else { Ok(vec![parser.mailbox()?]) }
}

/// `event`. Section 5.2: only with the selected mailbox may a new message bring what it fetches.
fn event(parser: &mut Parser<'_>, filter: &MailboxFilter) -> Parsed<NotifyEvent> {
    let name = parser.atom("an event")?;
    let known = [
        NotifyEvent::MessageExpunge,
        NotifyEvent::FlagChange,
        NotifyEvent::AnnotationChange,
        NotifyEvent::MailboxName,
        NotifyEvent::SubscriptionChange,
        NotifyEvent::MailboxMetadataChange,
        NotifyEvent::ServerMetadataChange,
    ];
    if !name.eq_ignore_ascii_case("MessageNew") {
        let event = known.into_iter().find(|event| event.name().eq_ignore_ascii_case(name));
        return Ok(event.unwrap_or_else(|| NotifyEvent::Other(name.to_owned())));
    }
    let mut fetch: Vec<FetchItem> = Vec::new();
    if parser.rest().starts_with(b" (") {
        if !matches!(filter, MailboxFilter::Selected | MailboxFilter::SelectedDelayed) {
            return parser.expected("items to fetch for the selected mailbox only");
        }
        parser.space()?;
        fetch = parser.list(false, fetch_item)?;
    }
    Ok(NotifyEvent::MessageNew { fetch })
}

/// Section 5: new messages and expunges come together or not at all, and flags only along with them. Section 6.1: of the
/// selected mailbox only messages can be watched.
fn check(filter: &MailboxFilter, events: &[NotifyEvent]) -> Result<(), &'static str> {
    let has = |name: &str| events.iter().any(|event| event.name() == name);
    if has("MessageNew") != has("MessageExpunge") {
        return Err("MessageNew and MessageExpunge together");
    }
    if (has("FlagChange") || has("AnnotationChange")) && !has("MessageNew") {
        return Err("changes only with MessageNew and MessageExpunge");
    }
    let is_about_messages = |event: &NotifyEvent| {
        matches!(
            event,
            NotifyEvent::MessageNew { .. }
                | NotifyEvent::MessageExpunge
                | NotifyEvent::FlagChange
                | NotifyEvent::AnnotationChange
                | NotifyEvent::Other(_)
        )
    };
    if matches!(filter, MailboxFilter::Selected | MailboxFilter::SelectedDelayed)
        && !events.iter().all(is_about_messages)
    {
        return Err("only events of messages for the selected mailbox");
    }
    Ok(())
}
