//! Whether a row matches. What is compared is in the row, but for errors, which are with the deliveries.

use postrider_core::query::{Condition, Term, contains, is_of_domain};
use postrider_core::{EmailStatus, Instructions};
use rusqlite::{Connection, Row};

use super::super::accept::HOLD_LISTED;
use super::super::codes;
use super::super::record::{self, Sending};
use crate::error::StoreError;

/// What must be true of each row.
pub(super) struct Check<'c> {
    connection: &'c Connection,
    sending: &'c Sending,
    terms: &'c [Term],
}

impl<'c> Check<'c> {
    pub(super) fn new(connection: &'c Connection, terms: &'c [Term], sending: &'c Sending) -> Self {
        Self { connection, sending, terms }
    }

    /// Whether a row of [`super::source::COLUMNS`] is listed and matches. Of words the index has decided, but for e-mails that are
    /// `is_new`: these are found by what the row has.
    pub(super) fn matches(&self, row: &Row<'_>, seq: i64, is_new: bool) -> Result<bool, StoreError> {
        if row.get::<_, u8>(1)? & HOLD_LISTED == 0 {
            return Ok(false);
        }
        for term in self.terms {
            match term.condition {
                Condition::Text(_) if !is_new => continue,
                // Nobody knows yet whether they are in its text.
                Condition::Text(_) if term.is_negated => return Ok(false),
                _ => {}
            }
            if self.is_true(&term.condition, row, seq)? == term.is_negated {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_true(&self, condition: &Condition, row: &Row<'_>, seq: i64) -> Result<bool, StoreError> {
        Ok(match condition {
            Condition::Status(statuses) => {
                let is_sending = self.sending.contains(seq);
                let status = if is_sending { EmailStatus::Sending } else { codes::email_status(row.get(2)?)? };
                statuses.contains(&status)
            }
            Condition::Direction(direction) => codes::direction(row.get(3)?) == *direction,
            Condition::From(at) => row.get::<_, i64>(4)? >= at.as_millis(),
            Condition::Before(at) => row.get::<_, i64>(4)? < at.as_millis(),
            Condition::Larger(bytes) => size(row)? >= *bytes,
            Condition::Smaller(bytes) => size(row)? < *bytes,
            Condition::SourceIp(ip) => {
                text(row, 6)?.parse::<std::net::IpAddr>().is_ok_and(|source_ip| source_ip == *ip)
            }
            Condition::Sender(pattern) => pattern.matches(text(row, 7)?),
            Condition::Recipient(pattern) => text(row, 8)?.lines().any(|address| pattern.matches(address)),
            Condition::Domain(domain) => {
                let mut addresses = std::iter::once(text(row, 7)?).chain(text(row, 8)?.lines());
                addresses.any(|address| is_of_domain(address, domain))
            }
            Condition::Subject(words) => words.are_in(text(row, 9)?),
            Condition::Text(words) => [9, 7, 10]
                .into_iter()
                .map(|column| text(row, column))
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .chain(text(row, 8)?.lines())
                .any(|text| words.are_in(text)),
            Condition::MessageId(id) => text(row, 10)? == id,
            Condition::HasAttachment => row.get(11)?,
            Condition::Tag(tag) => {
                let instructions: Option<String> = row.get(12)?;
                let instructions: Instructions = codes::from_optional_json(instructions.as_deref())?;
                instructions.tags.contains(tag)
            }
            Condition::Id(id) => codes::id(row.get(13)?) == *id,
            Condition::Error(part) => {
                let error = record::last_error_if(self.connection, seq, |record| may_say(record, part))?;
                error.is_some_and(|error| contains(&error, part))
            }
        })
    }
}

/// Whether the error in a record may have `part` in it: letters stand in JSON as they are. Most records need not be read further.
fn may_say(record: &str, part: &str) -> bool {
    let mut pieces = part.split(|c: char| !c.is_ascii_alphabetic()).filter(|piece| piece.len() > 2);
    pieces.all(|piece| contains(record, piece))
}

fn size(row: &Row<'_>) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(5)?).unwrap_or(0))
}

/// A column of text, empty where there is none.
fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, StoreError> {
    Ok(row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)?.unwrap_or_default())
}
