//! RSET (RFC 5321 section 4.1.1.5): forgets the transaction, keeps greeting and authentication.

use super::{Event, Session, State};
use crate::smtp::reply::Reply;

pub(super) fn rset(session: &mut Session, _argument: &str) -> Result<Option<Event>, Reply> {
    session.state = State::Ready;
    session.say(&Reply::RESET);
    Ok(Some(Event::Reset))
}
