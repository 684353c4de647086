//! VRFY and EXPN (RFC 5321 sections 3.5 and 7.3): who lives here is told to nobody.

use super::{Event, Session};
use crate::smtp::reply::Reply;

pub(super) fn vrfy(session: &mut Session, argument: &str) -> Result<Option<Event>, Reply> {
    if argument.is_empty() {
        return Err(Reply::BAD_SYNTAX);
    }
    session.say(&Reply::CANNOT_VERIFY);
    Ok(None)
}

pub(super) fn expn(_session: &mut Session, _argument: &str) -> Result<Option<Event>, Reply> {
    Err(Reply::NOT_IMPLEMENTED)
}
