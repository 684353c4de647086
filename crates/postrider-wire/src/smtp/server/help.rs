//! HELP (RFC 5321 section 4.1.1.8): the commands that this session offers.

use super::command::COMMANDS;
use super::{Event, Protocol, Session};
use crate::smtp::reply::Reply;

pub(super) fn help(session: &mut Session, _argument: &str) -> Result<Option<Event>, Reply> {
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).filter(|name| offers(session, name)).collect();
    session.say(&Reply::new(214, (2, 0, 0), format!("Commands: {}", names.join(" "))));
    Ok(None)
}

fn offers(session: &Session, name: &str) -> bool {
    match name {
        // It is known in order to be refused.
        "EXPN" => false,
        "EHLO" | "HELO" => session.config.protocol == Protocol::Smtp,
        "LHLO" => session.config.protocol == Protocol::Lmtp,
        "STARTTLS" => session.config.starttls && session.tls.is_none(),
        "AUTH" => session.mechanisms().next().is_some(),
        _ => true,
    }
}
