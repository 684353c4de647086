//! STARTTLS (RFC 3207): the last thing said in the clear. The handshake itself is the driver's.

use super::{Event, Session, State};
use crate::smtp::reply::Reply;

pub(super) fn starttls(session: &mut Session, _argument: &str) -> Result<Option<Event>, Reply> {
    if session.tls.is_some() {
        return Err(Reply::TLS_ACTIVE);
    }
    if !session.config.starttls {
        return Err(Reply::TLS_NOT_OFFERED);
    }
    session.state = State::StartTls;
    session.say(&Reply::READY_FOR_TLS);
    Ok(Some(Event::StartTls))
}
