//! QUIT (RFC 5321 section 4.1.1.10): the only way for a session to end well.

use super::{Event, Phase, Session, State};
use crate::smtp::reply::Reply;

pub(super) fn quit(session: &mut Session, _argument: &str) -> Result<Option<Event>, Reply> {
    let transaction_is_open = matches!(session.phase(), Phase::Mail | Phase::Recipients | Phase::Chunks);
    session.say(&Reply::closing(&session.config.hostname));
    session.state = State::Closed;
    Ok(transaction_is_open.then_some(Event::Reset))
}
