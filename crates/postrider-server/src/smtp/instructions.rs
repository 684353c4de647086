//! What a sender asks beyond the envelope: by parameters of MAIL, or by fields of the message, which are taken out of it.

use std::time::Duration;

use bytes::BytesMut;
use postrider_core::instructions::Asked;
use postrider_core::{Instructions, Priority, Timestamp, trace};
use postrider_wire::smtp::reply::Reply;
use postrider_wire::smtp::server::{FutureRelease, Hold, MailCommand};

/// What is asked of one message.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) instructions: Instructions,
    pub(super) not_before: Option<Timestamp>,
}

/// How long messages are held, as EHLO tells it.
pub(super) fn future_release(hold_max: Duration, now: Timestamp) -> FutureRelease {
    FutureRelease { seconds_max: hold_max.as_secs(), date_time_max: (now + hold_max).to_rfc3339() }
}

impl Wishes {
    /// What MAIL said (RFC 4865, RFC 6710).
    pub(super) fn of_command(command: &MailCommand, hold_max: Duration, now: Timestamp) -> Result<Self, Reply> {
        let not_before = match &command.hold {
            None => None,
            Some(Hold::ForSeconds(seconds)) => Some(now + Duration::from_secs(*seconds)),
            Some(Hold::Until(text)) => {
                let until = Timestamp::parse_rfc3339(text).filter(|&until| until > now);
                Some(until.ok_or(Reply::HELD_UNTIL_NO_TIME)?)
            }
        };
        if not_before.is_some_and(|at| at > now + hold_max) {
            return Err(Reply::HELD_TOO_LONG);
        }
        let priority = command.priority.and_then(|priority| Priority::new(priority).ok()).unwrap_or_default();
        Ok(Self { instructions: Instructions { priority, ..Instructions::default() }, not_before })
    }

    /// Adds what the fields of a message say, whose first `trace_bytes` are our own, and gives it without them. What a
    /// field says counts before what MAIL said.
    pub(super) fn take_fields(
        &mut self,
        raw: BytesMut,
        trace_bytes: usize,
        hold_max: Duration,
        now: Timestamp,
    ) -> Result<BytesMut, Reply> {
        let header_end = trace_bytes + trace::header_end(&raw[trace_bytes..]);
        let asked = Asked::of(&raw[trace_bytes..header_end]);
        let Asked { instructions, not_before, fields } =
            asked.map_err(|(field, error)| Reply::bad_instruction(&field, &error.to_string()))?;
        if not_before.is_some_and(|at| at > now + hold_max) {
            return Err(Reply::HELD_TOO_LONG);
        }
        let joined = self.instructions.join(instructions);
        joined.map_err(|error| Reply::bad_instruction("The message's fields for this server", &error.to_string()))?;
        self.not_before = not_before.or(self.not_before);
        let is_sent = self.instructions.check_times(self.not_before, now);
        is_sent.map_err(|error| Reply::bad_instruction("X-Postrider-Expires-At", &error.to_string()))?;
        let mut kept = BytesMut::with_capacity(raw.len());
        let mut from = 0;
        for field in fields {
            kept.extend_from_slice(&raw[from..trace_bytes + field.start]);
            from = trace_bytes + field.end;
        }
        kept.extend_from_slice(&raw[from..]);
        Ok(kept)
    }
}
