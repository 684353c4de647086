//! HELP (RFC 5321 section 4.1.1.8): the table's names.

use super::command::COMMANDS;
use super::{Event, Session};
use crate::smtp::reply::Reply;

pub(super) fn help(session: &mut Session, _argument: &str) -> Result<Option<Event>, Reply> {
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    session.say(&Reply::new(214, (2, 0, 0), format!("Commands: {}", names.join(" "))));
    Ok(None)
}
