//! The table of commands, and the way from a text to the command's own parser. It knows no command's arguments.

use super::{Phase, Session};
use crate::imap::command::CommandBody;
use crate::imap::parse::{
    Fault, Parsed, Parser, Request, append, auth, fetch, list, mailbox, metadata, notify, search, sort,
};
use crate::imap::response::Status;

/// A row of the table.
struct Row {
    name: &'static str,
    /// The phases in which it is carried out.
    phases: &'static [Phase],
    /// Sends a password: refused where that could be overheard.
    needs_privacy: bool,
    /// Reads what stands behind the name.
    parse: fn(&mut Parser<'_>) -> Parsed<Request>,
}

const ANY: &[Phase] = &[Phase::NotAuthenticated, Phase::Authenticated, Phase::Selected];
const BEFORE: &[Phase] = &[Phase::NotAuthenticated];
const AFTER: &[Phase] = &[Phase::Authenticated, Phase::Selected];
const SELECTED: &[Phase] = &[Phase::Selected];

/// RFC 9051 section 6 has the phases of its own commands; those of extensions follow. The frequent ones stand first.
static ROWS: &[Row] = &[
    row("UID", SELECTED, uid),
    row("FETCH", SELECTED, |parser| fetch::fetch(parser, false)),
    row("STORE", SELECTED, |parser| fetch::store(parser, false)),
    row("SEARCH", SELECTED, |parser| search::search(parser, false)),
    row("SORT", SELECTED, |parser| sort::sort(parser, false)),
    row("THREAD", SELECTED, |parser| sort::thread(parser, false)),
    row("COPY", SELECTED, |parser| mailbox::copy(parser, false)),
    row("MOVE", SELECTED, |parser| mailbox::move_messages(parser, false)),
    row("EXPUNGE", SELECTED, |parser| mailbox::expunge(parser, false)),
    row("CHECK", SELECTED, |_| plain(CommandBody::Check)),
    row("CLOSE", SELECTED, |_| plain(CommandBody::Close)),
    row("UNSELECT", SELECTED, |_| plain(CommandBody::Unselect)),
    row("REPLACE", SELECTED, |parser| append::replace(parser, false)),
    row("NOOP", ANY, |_| plain(CommandBody::Noop)),
    row("IDLE", AFTER, |_| Ok(Request::Idle)),
    row("SELECT", AFTER, mailbox::select),
    row("EXAMINE", AFTER, mailbox::examine),
    row("STATUS", AFTER, list::status),
    row("LIST", AFTER, list::list),
    row("LSUB", AFTER, list::lsub),
    row("APPEND", AFTER, append::append),
    row("CREATE", AFTER, mailbox::create),
    row("DELETE", AFTER, mailbox::delete),
    row("RENAME", AFTER, mailbox::rename),
    row("SUBSCRIBE", AFTER, mailbox::subscribe),
    row("UNSUBSCRIBE", AFTER, mailbox::unsubscribe),
    row("NAMESPACE", AFTER, |_| plain(CommandBody::Namespace)),
    row("ENABLE", AFTER, auth::enable),
    row("GETQUOTA", AFTER, mailbox::get_quota),
    row("GETQUOTAROOT", AFTER, mailbox::get_quota_root),
    row("SETQUOTA", AFTER, mailbox::set_quota),
    row("GETMETADATA", AFTER, metadata::get_metadata),
    row("SETMETADATA", AFTER, metadata::set_metadata),
    row("NOTIFY", AFTER, notify::notify),
    row("COMPRESS", AFTER, auth::compress),
    row("CAPABILITY", ANY, |_| Ok(Request::Capability)),
    row("ID", ANY, auth::id),
    row("LOGOUT", ANY, |_| Ok(Request::Logout)),
    row("STARTTLS", BEFORE, |_| Ok(Request::StartTls)),
    Row { needs_privacy: true, ..row("AUTHENTICATE", BEFORE, auth::authenticate) },
    Row { needs_privacy: true, ..row("LOGIN", BEFORE, auth::login) },
];

const fn row(name: &'static str, phases: &'static [Phase], parse: fn(&mut Parser<'_>) -> Parsed<Request>) -> Row {
    Row { name, phases, needs_privacy: false, parse }
}

#[allow(clippy::unnecessary_wraps)] // it stands in the table
fn plain(body: CommandBody) -> Parsed<Request> {
    Ok(Request::Command(body))
}

/// The commands that there are with `UID` before them.
fn uid(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    match parser.word("a command")?.to_ascii_uppercase().as_str() {
        "FETCH" => fetch::fetch(parser, true),
        "STORE" => fetch::store(parser, true),
        "SEARCH" => search::search(parser, true),
        "SORT" => sort::sort(parser, true),
        "THREAD" => sort::thread(parser, true),
        "COPY" => mailbox::copy(parser, true),
        "MOVE" => mailbox::move_messages(parser, true),
        "EXPUNGE" => mailbox::expunge(parser, true),
        "REPLACE" => append::replace(parser, true),
        _ => Err(refused(Status::UNKNOWN_UID_COMMAND)),
    }
}

impl Session {
    /// Reads what stands behind the tag. `parser` is right behind it.
    pub(super) fn parse_request(&self, parser: &mut Parser<'_>) -> Parsed<Request> {
        parser.space()?;
        let name = parser.word("a command").map_err(|_| refused(Status::UNKNOWN_COMMAND))?;
        let Some(row) = ROWS.iter().find(|row| row.name.eq_ignore_ascii_case(name)) else {
            return Err(refused(Status::UNKNOWN_COMMAND));
        };
        let phase = self.phase();
        if !row.phases.contains(&phase) {
            return Err(refused(match phase {
                Phase::NotAuthenticated => Status::LOGIN_FIRST,
                _ if row.phases == SELECTED => Status::SELECT_FIRST,
                _ => Status::ALREADY_LOGGED_IN,
            }));
        }
        if row.needs_privacy {
            self.check_privacy().map_err(refused)?;
        }
        let request = (row.parse)(parser)?;
        parser.end()?;
        Ok(request)
    }
}

fn refused(status: Status) -> Fault {
    Fault::Refused(Box::new(status))
}
