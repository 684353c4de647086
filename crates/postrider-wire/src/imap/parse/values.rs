//! What stands in many commands: names of mailboxes, flags, sets, dates.

use super::{Fault, Parsed, Parser};
use crate::imap::command::StatusItem;
use crate::imap::date::{Date, DateTime, MONTHS};
use crate::imap::flag::Flag;
use crate::imap::response::Status;
use crate::imap::sequence::{MessageSet, SequenceNumber, SequenceSet};
use crate::imap::utf7;

impl Parser<'_> {
    /// `mailbox`, in UTF-8. RFC 9051 section 5.1: INBOX is one name in any case.
    pub(super) fn mailbox(&mut self) -> Parsed<String> {
        let name = self.astring("the name of a mailbox")?;
        let name = self.mailbox_name(&name)?;
        Ok(if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name })
    }

    /// `list-mailbox`, in UTF-8.
    pub(super) fn list_mailbox(&mut self) -> Parsed<String> {
        let pattern = self.list_mailbox_text()?;
        self.mailbox_name(&pattern)
    }

    /// Modified UTF-7 where UTF-8 is not enabled. What is not ASCII can only be meant as UTF-8.
    pub(super) fn mailbox_name(&self, name: &str) -> Parsed<String> {
        if name.len() > self.limits.mailbox_name_bytes_max {
            return Self::refused(Status::NAME_TOO_LONG);
        }
        let name = if self.dialect.is_utf8() || !name.is_ascii() { Some(name.to_owned()) } else { utf7::decode(name) };
        match name {
            Some(name) if !name.chars().any(char::is_control) => Ok(name),
            _ => Self::refused(Status::BAD_NAME),
        }
    }

    /// `flag`; `\Recent` is the server's (RFC 3501 section 2.3.2), and other names with a backslash mean nothing.
    pub(super) fn flag(&mut self) -> Parsed<Flag> {
        let start = self.position;
        if !self.take(b'\\') {
            return Ok(Flag::Keyword(self.atom("a flag")?.to_owned()));
        }
        match Flag::system(self.atom("the name of a flag")?) {
            Some(flag) if flag != Flag::Recent => Ok(flag),
            _ => Err(Fault::Expected("a flag that clients may set", start)),
        }
    }

    /// `flag-list`
    pub(super) fn flag_list(&mut self) -> Parsed<Vec<Flag>> {
        self.list(true, Self::flag)
    }

    /// `sequence-set` with `$`.
    pub(super) fn message_set(&mut self) -> Parsed<MessageSet> {
        if self.take(b'$') { Ok(MessageSet::Saved) } else { self.sequence_set().map(MessageSet::Set) }
    }

    pub(super) fn sequence_set(&mut self) -> Parsed<SequenceSet> {
        let mut ranges = Vec::new();
        loop {
            let first = self.sequence_number()?;
            let last = if self.take(b':') { self.sequence_number()? } else { first };
            ranges.push((first, last));
            if ranges.len() > self.limits.sequence_ranges_max {
                return Self::refused(Status::SET_TOO_LONG);
            }
            if !self.take(b',') {
                break;
            }
        }
        SequenceSet::new(ranges).map_or_else(|| self.expected("a set of messages"), Ok)
    }

    /// `seq-number`
    pub(super) fn sequence_number(&mut self) -> Parsed<SequenceNumber> {
        if self.take(b'*') {
            return Ok(SequenceNumber::Largest);
        }
        self.nonzero("a set of messages").map(SequenceNumber::Number)
    }

    /// `date`, quoted or not.
    pub(super) fn date(&mut self) -> Parsed<Date> {
        let start = self.position;
        let is_quoted = self.take(b'"');
        let date = self.date_text(false)?;
        if is_quoted && !self.take(b'"') {
            return Err(Fault::Expected("a date as 1-Jan-2026", start));
        }
        Ok(date)
    }

    /// `date-time`, quoted.
    pub(super) fn date_time(&mut self) -> Parsed<DateTime> {
        const WHAT: &str = "a date as \"01-Jan-2026 00:00:00 +0000\"";
        let start = self.position;
        let wrong = || Fault::Expected(WHAT, start);
        self.require(b'"', WHAT)?;
        let date = self.date_text(true)?;
        self.require(b' ', WHAT)?;
        let hour = self.two_digits(WHAT)?;
        self.require(b':', WHAT)?;
        let minute = self.two_digits(WHAT)?;
        self.require(b':', WHAT)?;
        let second = self.two_digits(WHAT)?;
        self.require(b' ', WHAT)?;
        let is_west = self.take(b'-');
        if !is_west {
            self.require(b'+', WHAT)?;
        }
        let (zone_hours, zone_minutes) = (self.two_digits(WHAT)?, self.two_digits(WHAT)?);
        self.require(b'"', WHAT)?;
        // 60 is a leap second.
        if hour > 23 || minute > 59 || second > 60 || zone_minutes > 59 {
            return Err(wrong());
        }
        let zone = zone_hours * 60 + zone_minutes;
        let zone_minutes = if is_west { -zone } else { zone };
        let local = date.days_since_epoch() * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60;
        let unix_seconds = local + i64::from(second) - i64::from(zone_minutes) * 60;
        Ok(DateTime { unix_seconds, zone_minutes })
    }

    /// `(` status-att *(SP status-att) `)`, each once.
    pub(super) fn status_items(&mut self) -> Parsed<Vec<StatusItem>> {
        let mut items = Vec::new();
        self.list(false, |parser| {
            let start = parser.position;
            let name = parser.word("what of the mailbox's status")?;
            let item = StatusItem::ALL.into_iter().find(|item| item.name().eq_ignore_ascii_case(name));
            let item = item.ok_or(Fault::Expected("an item of STATUS that is known here", start))?;
            if !items.contains(&item) {
                items.push(item);
            }
            Ok(())
        })?;
        Ok(items)
    }

    /// `mod-sequence-valzer`
    pub(super) fn mod_sequence(&mut self) -> Parsed<u64> {
        self.number64("a mod-sequence")
    }

    /// `date-text`, or `date-day-fixed "-" date-month "-" date-year` with a space before a single digit.
    fn date_text(&mut self, is_fixed: bool) -> Parsed<Date> {
        let start = self.position;
        if is_fixed {
            self.take(b' ');
        }
        let text = self.rest();
        let length = text.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'-').unwrap_or(text.len());
        self.position += length;
        let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
        date_of(text).ok_or(Fault::Expected("a date as 1-Jan-2026", start))
    }

    fn two_digits(&mut self, what: &'static str) -> Parsed<i16> {
        match *self.rest() {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => {
                self.position += 2;
                Ok(i16::from(tens - b'0') * 10 + i16::from(ones - b'0'))
            }
            _ => self.expected(what),
        }
    }
}

/// `1-Jan-2026`
fn date_of(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let digits_within = |text: &str, max: usize| text.len() <= max && text.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || !digits_within(day, 2) || !digits_within(year, 4) || year.len() != 4 {
        return None;
    }
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))?;
    Date::new(year.parse().ok()?, u8::try_from(month + 1).ok()?, day.parse().ok()?)
}
