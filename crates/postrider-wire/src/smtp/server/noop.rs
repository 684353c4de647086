//! NOOP (RFC 5321 section 4.1.1.9): does nothing, whatever stands behind it.

use super::{Event, Session};
use crate::smtp::reply::Reply;

pub(super) fn noop(session: &mut Session, _argument: &str) -> Result<Option<Event>, Reply> {
    session.say(&Reply::OK);
    Ok(None)
}
