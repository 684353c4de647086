//! MAIL (RFC 5321 section 4.1.1.2) with SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461), AUTH
//! (RFC 4954), HOLDFOR and HOLDUNTIL (RFC 4865), MT-PRIORITY (RFC 6710), REQUIRETLS (RFC 8689).

use super::parameters::{self, Parameter, is_xtext};
use super::path::{check_utf8, has_domain, split_path};
use super::{BodyType, DsnReturn, Event, Hold, MailCommand, Question, Session, State, Transaction, Verdict};
use crate::smtp::reply::Reply;

/// RFC 3461 section 4.4.
const ENVELOPE_ID_BYTES_MAX: usize = 100;

/// RFC 3339 with a fraction and an offset.
const DATE_TIME_BYTES_MAX: usize = 40;

pub(super) fn mail(session: &mut Session, argument: &str) -> Result<Option<Event>, Reply> {
    let (path, rest) = split_path(argument, "FROM:").ok_or(Reply::BAD_REVERSE_PATH)?;
    if !path.is_empty() && !has_domain(path) {
        return Err(Reply::BAD_REVERSE_PATH);
    }
    let mut command = MailCommand {
        reverse_path: path.to_owned(),
        size: None,
        body: BodyType::default(),
        smtputf8: false,
        require_tls: false,
        dsn_return: None,
        envelope_id: None,
        hold: None,
        priority: None,
    };
    for parameter in parameters::parse(rest, session)? {
        command.read(parameter)?;
    }
    check_utf8(path, command.smtputf8)?;
    if command.size.is_some_and(|size| size > session.config.limits.message_bytes_max as u64) {
        return Err(Reply::MESSAGE_TOO_LARGE);
    }
    session.state =
        State::Waiting(Question::Mail(Transaction { recipients: 0, smtputf8: command.smtputf8, size: command.size }));
    Ok(Some(Event::Mail(command)))
}

impl MailCommand {
    fn read(&mut self, parameter: Parameter<'_>) -> Result<(), Reply> {
        if parameter.is("SIZE") {
            self.size = Some(read_size(parameter.required_value()?)?);
        } else if parameter.is("BODY") {
            self.body = match parameter.required_value()?.to_ascii_uppercase().as_str() {
                "7BIT" => BodyType::SevenBit,
                "8BITMIME" => BodyType::EightBitMime,
                _ => return Err(Reply::BAD_PARAMETER_VALUE),
            };
        } else if parameter.is("SMTPUTF8") || parameter.is("REQUIRETLS") {
            if parameter.value.is_some() {
                return Err(Reply::BAD_PARAMETER_VALUE);
            }
            if parameter.is("SMTPUTF8") {
                self.smtputf8 = true;
            } else {
                self.require_tls = true;
            }
        } else if parameter.is("RET") {
            self.dsn_return = Some(match parameter.required_value()?.to_ascii_uppercase().as_str() {
                "FULL" => DsnReturn::Full,
                "HDRS" => DsnReturn::Headers,
                _ => return Err(Reply::BAD_PARAMETER_VALUE),
            });
        } else if parameter.is("ENVID") {
            let value = parameter.required_value()?;
            if value.len() > ENVELOPE_ID_BYTES_MAX || !is_xtext(value) {
                return Err(Reply::BAD_PARAMETER_VALUE);
            }
            self.envelope_id = Some(value.to_owned());
        } else if parameter.is_hold() {
            // Section 4.1 of RFC 4865: one of them.
            if self.hold.is_some() {
                return Err(Reply::BAD_PARAMETER_VALUE);
            }
            self.hold = Some(read_hold(parameter)?);
        } else if parameter.is("MT-PRIORITY") {
            self.priority = Some(read_priority(parameter.required_value()?)?);
        } else if parameter.is("AUTH") {
            // RFC 4954 section 5: who the client says wrote it. Nobody is trusted with that here, so it is read and dropped.
            if !is_xtext(parameter.required_value()?) {
                return Err(Reply::BAD_PARAMETER_VALUE);
            }
        } else {
            return Err(Reply::UNKNOWN_PARAMETER);
        }
        Ok(())
    }
}

impl Session {
    pub(super) fn answer_mail(&mut self, transaction: Transaction, verdict: Verdict) {
        let reply = match verdict {
            Verdict::Reject(reply) => return self.reject(&reply, 1),
            Verdict::AcceptAs(reply) => reply,
            Verdict::Accept => Reply::SENDER_OK,
        };
        self.state = State::Transaction(Box::new(transaction));
        self.say(&reply);
    }
}

/// RFC 4865 section 3: up to nine digits, or a date-time.
fn read_hold(parameter: Parameter<'_>) -> Result<Hold, Reply> {
    let value = parameter.required_value()?;
    if parameter.is("HOLDUNTIL") {
        let holds = value.len() <= DATE_TIME_BYTES_MAX && value.is_ascii();
        return if holds { Ok(Hold::Until(value.to_owned())) } else { Err(Reply::BAD_PARAMETER_VALUE) };
    }
    let holds = value.len() <= 9 && value.bytes().all(|b| b.is_ascii_digit());
    let seconds = value.parse().ok().filter(|_| holds);
    seconds.map(Hold::ForSeconds).ok_or(Reply::BAD_PARAMETER_VALUE)
}

/// RFC 6710 section 3: a digit, perhaps with a minus before it.
fn read_priority(value: &str) -> Result<i8, Reply> {
    let digit = value.strip_prefix('-').unwrap_or(value);
    let holds = digit.len() == 1 && digit.bytes().all(|b| b.is_ascii_digit());
    value.parse().ok().filter(|_| holds).ok_or(Reply::BAD_PARAMETER_VALUE)
}

/// RFC 1870 section 3: up to 20 digits. What does not fit is too large in any case.
fn read_size(value: &str) -> Result<u64, Reply> {
    if value.len() > 20 || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Reply::BAD_PARAMETER_VALUE);
    }
    Ok(value.parse().unwrap_or(u64::MAX))
}
