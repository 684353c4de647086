//! The table of commands, and the way from a line to the command's own file. It knows no command's parameters.

use super::{
    Event, Phase, Protocol, Session, auth, bdat, data, ehlo, help, mail, noop, quit, rcpt, rset, starttls, vrfy,
};
use crate::smtp::reply::Reply;

/// What carries a command out: an event for the driver, nothing, or a refusal. It gets the text behind the verb, without
/// spaces around it.
type Action = fn(&mut Session, &str) -> Result<Option<Event>, Reply>;

/// A row of the table.
pub(super) struct Command {
    pub(super) name: &'static str,
    /// The phases in which it is carried out.
    phases: &'static [Phase],
    takes_parameters: bool,
    /// The refusal where a transaction is open and that is the wrong phase.
    misplaced: Reply,
    action: Action,
}

const ANY: &[Phase] = &[Phase::Connected, Phase::Greeted, Phase::Mail, Phase::Recipients, Phase::Chunks];

/// RFC 5321 section 4.1.4 has the order of commands. BDAT is carried out in any phase: its chunk must be thrown away where
/// it is refused.
pub(super) static COMMANDS: &[Command] = &[
    row("EHLO", ANY, true, Reply::BAD_SEQUENCE, ehlo::ehlo),
    row("HELO", ANY, true, Reply::BAD_SEQUENCE, ehlo::helo),
    row("LHLO", ANY, true, Reply::BAD_SEQUENCE, ehlo::lhlo),
    row("MAIL", &[Phase::Greeted], true, Reply::NESTED_MAIL, mail::mail),
    row("RCPT", &[Phase::Mail, Phase::Recipients], true, Reply::BAD_SEQUENCE, rcpt::rcpt),
    row("DATA", &[Phase::Recipients], false, Reply::NO_VALID_RECIPIENTS, data::data),
    row("BDAT", ANY, true, Reply::BAD_SEQUENCE, bdat::bdat),
    row("RSET", ANY, false, Reply::BAD_SEQUENCE, rset::rset),
    row("NOOP", ANY, true, Reply::BAD_SEQUENCE, noop::noop),
    row("VRFY", ANY, true, Reply::BAD_SEQUENCE, vrfy::vrfy),
    row("EXPN", ANY, true, Reply::BAD_SEQUENCE, vrfy::expn),
    row("HELP", ANY, true, Reply::BAD_SEQUENCE, help::help),
    row("QUIT", ANY, false, Reply::BAD_SEQUENCE, quit::quit),
    row("STARTTLS", &[Phase::Greeted], false, Reply::BAD_SEQUENCE, starttls::starttls),
    row("AUTH", &[Phase::Greeted], true, Reply::BAD_SEQUENCE, auth::auth),
];

const fn row(
    name: &'static str,
    phases: &'static [Phase],
    takes_parameters: bool,
    misplaced: Reply,
    action: Action,
) -> Command {
    Command { name, phases, takes_parameters, misplaced, action }
}

impl Command {
    fn check(&self, session: &Session, argument: &str) -> Result<(), Reply> {
        let phase = session.phase();
        if !self.takes_parameters && !argument.is_empty() {
            return Err(Reply::UNEXPECTED_PARAMETER);
        }
        if self.phases.contains(&phase) {
            return Ok(());
        }
        Err(match phase {
            Phase::Connected => session.hello_first(),
            Phase::Greeted => Reply::MAIL_FIRST,
            Phase::Chunks => Reply::BDAT_UNDERWAY,
            // RFC 2033 section 4.2 has a code of its own for DATA without recipients.
            _ if self.name == "DATA" && session.config.protocol == Protocol::Lmtp => Reply::LMTP_NO_VALID_RECIPIENTS,
            _ => self.misplaced.clone(),
        })
    }
}

impl Session {
    /// The refusal of what needs a greeting.
    pub(super) fn hello_first(&self) -> Reply {
        match self.config.protocol {
            Protocol::Smtp => Reply::HELLO_FIRST,
            Protocol::Lmtp => Reply::LHLO_FIRST,
        }
    }

    /// Carries out a line that came whole, with its CRLF; an empty one stands for a line that was too long.
    pub(super) fn read_command(&mut self, line: &[u8]) -> Option<Event> {
        match self.carry_out(line) {
            Ok(event) => event,
            Err(reply) => self.refuse(reply),
        }
    }

    fn carry_out(&mut self, line: &[u8]) -> Result<Option<Event>, Reply> {
        let (verb, argument) = split(line)?;
        let Some(command) = COMMANDS.iter().find(|command| command.name.eq_ignore_ascii_case(verb)) else {
            if is_http(argument) {
                // A web page can make its reader's browser send this here, with commands in the body. This must end before
                // the body is read: browsers may reach ports that need no password.
                self.close(Reply::NOT_HTTP);
                return Ok(None);
            }
            return Err(Reply::UNKNOWN_COMMAND);
        };
        command.check(self, argument)?;
        (command.action)(self, argument)
    }
}

/// Verb, and what stands behind it without spaces around.
///
/// Only CRLF ends a command (RFC 5321 section 2.3.8). A bare LF or CR makes the whole line up to the next CRLF one
/// command that is refused: what hides behind it is never read as a command of its own.
fn split(line: &[u8]) -> Result<(&str, &str), Reply> {
    let Some(line) = line.strip_suffix(b"\r\n") else { return Err(Reply::LINE_TOO_LONG) };
    if line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Err(Reply::BAD_LINE_END);
    }
    let line = std::str::from_utf8(line).map_err(|_| Reply::NOT_UTF8)?;
    // Section 4.1.1: spaces at the end are to be tolerated.
    let line = line.trim_end_matches([' ', '\t']);
    Ok(match line.split_once(' ') {
        Some((verb, argument)) => (verb, argument.trim_start_matches(' ')),
        None => (line, ""),
    })
}

fn is_http(argument: &str) -> bool {
    argument.rsplit(' ').next().is_some_and(|word| word.starts_with("HTTP/"))
}
