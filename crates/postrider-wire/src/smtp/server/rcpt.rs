//! RCPT (RFC 5321 section 4.1.1.3) with NOTIFY and ORCPT (RFC 3461).

use std::mem;

use super::parameters::{self, is_xtext};
use super::path::{check_utf8, has_domain, split_path};
use super::{Event, Notify, Question, RcptCommand, Session, State, Transaction, Verdict};
use crate::smtp::reply::Reply;

/// RFC 3461 section 4.2.
const ORIGINAL_RECIPIENT_BYTES_MAX: usize = 500;

pub(super) fn rcpt(session: &mut Session, argument: &str) -> Result<Option<Event>, Reply> {
    let State::Transaction(transaction) = &session.state else { return Err(Reply::MAIL_FIRST) };
    let (path, rest) = split_path(argument, "TO:").ok_or(Reply::BAD_FORWARD_PATH)?;
    // Section 4.1.1.3: the postmaster of this host needs no domain, all others do.
    if !has_domain(path) && !path.eq_ignore_ascii_case("postmaster") {
        return Err(Reply::BAD_FORWARD_PATH);
    }
    let mut command = RcptCommand { forward_path: path.to_owned(), notify: None, original_recipient: None };
    for parameter in parameters::parse(rest, session)? {
        if parameter.is("NOTIFY") {
            command.notify = Some(read_notify(parameter.required_value()?)?);
        } else if parameter.is("ORCPT") {
            let value = parameter.required_value()?;
            check_original_recipient(value, transaction.smtputf8)?;
            command.original_recipient = Some(value.to_owned());
        } else {
            return Err(Reply::UNKNOWN_PARAMETER);
        }
    }
    check_utf8(path, transaction.smtputf8)?;
    if transaction.recipients >= session.config.limits.recipients_max {
        return Err(Reply::TOO_MANY_RECIPIENTS);
    }
    session.state = match mem::replace(&mut session.state, State::Ready) {
        State::Transaction(transaction) => State::Waiting(Question::Recipient(transaction)),
        other => other,
    };
    Ok(Some(Event::Recipient(command)))
}

impl Session {
    pub(super) fn answer_rcpt(&mut self, mut transaction: Box<Transaction>, verdict: Verdict) {
        let reply = match verdict {
            Verdict::Reject(reply) => {
                self.refused_recipients += usize::from(reply.is_permanent());
                reply
            }
            Verdict::AcceptAs(reply) => {
                transaction.recipients += 1;
                reply
            }
            Verdict::Accept => {
                transaction.recipients += 1;
                Reply::RECIPIENT_OK
            }
        };
        self.state = State::Transaction(transaction);
        if self.refused_recipients > self.config.limits.refused_recipients_max {
            return self.close(Reply::TOO_MANY_ERRORS);
        }
        self.say(&reply);
    }
}

/// RFC 3461 section 4.1: NEVER alone, or any of the others.
fn read_notify(value: &str) -> Result<Notify, Reply> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(notify);
    }
    for word in value.split(',') {
        let flag = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut notify.success,
            "FAILURE" => &mut notify.failure,
            "DELAY" => &mut notify.delay,
            _ => return Err(Reply::BAD_PARAMETER_VALUE),
        };
        if mem::replace(flag, true) {
            return Err(Reply::BAD_PARAMETER_VALUE);
        }
    }
    Ok(notify)
}

/// RFC 3461 section 4.2: `addr-type ";" xtext`. With SMTPUTF8 the address may be in UTF-8 (RFC 6533 section 3).
fn check_original_recipient(value: &str, smtputf8: bool) -> Result<(), Reply> {
    let holds = value.len() <= ORIGINAL_RECIPIENT_BYTES_MAX
        && value.split_once(';').is_some_and(|(kind, address)| {
            let text_holds = if smtputf8 && kind.eq_ignore_ascii_case("utf-8") {
                !address.chars().any(|c| c.is_control() || c.is_whitespace())
            } else {
                is_xtext(address)
            };
            !kind.is_empty()
                && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !address.is_empty()
                && text_holds
        });
    if holds { Ok(()) } else { Err(Reply::BAD_PARAMETER_VALUE) }
}
