//! Lists of e-mails.
//!
//! A list goes through the rows that an index leads to ([`source`]), in the order of the list, and looks at each whether it
//! matches ([`check`]): never at messages. However many there are, one request looks at so many rows and no more. What only asks
//! for a status is counted already. Words of texts are in the full-text index alone ([`super::search`]): it leads to them, or
//! decides about rows that come another way ([`decision`]).

mod check;
mod decision;
mod source;

use postrider_core::EmailStatus;
use postrider_core::query::{Condition, Term};
use rusqlite::Connection;

use self::check::Check;
use self::decision::Decision;
use self::source::Source;
use super::codes;
use super::record::{self, Sending};
use super::search::{Expression, Lag};
use crate::error::StoreError;
use crate::listing::Scan;
use crate::records::{EmailPage, ListPlace, ListRequest};

/// E-mails that the full-text index does not have yet, and that are looked at one by one instead.
const RECENT_MAX: usize = 10_000;

/// One page of what matches.
pub(super) fn find(connection: &Connection, request: &ListRequest) -> Result<EmailPage, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let sending = record::sending(&transaction)?;
    let terms = request.filter.all();
    let mut scan = Scan::new(request, known_total(&transaction, &terms, &sending)?);
    if let Some(least) = tagged_at_least(&transaction, &terms)? {
        scan.has_at_least(least);
    }
    let lag = if uses_index(&terms) { Some(Lag::of(&transaction, RECENT_MAX)?) } else { None };
    if !scan.is_past_the_end() {
        let source = Source::of(&transaction, &terms, request, &sending, lag.as_ref())?;
        let check = Check::new(&transaction, &terms, &sending);
        let mut decision = Decision::of(&transaction, Expression::deciding(&terms), &source, lag.as_ref());
        source.run(&transaction, |row, seq| {
            let is_new = decision.is_new(seq);
            let matches = (is_new || decision.agrees(seq)?) && check.matches(row, seq, is_new)?;
            Ok(scan.visit(seq, matches))
        })?;
    }
    let emails = scan.keys().into_iter().map(|seq| record::record(&transaction, seq, sending.contains(seq)));
    let emails = emails.collect::<Result<_, _>>()?;
    let page = scan.page(emails, place);
    let lacks_some = asks_for_text(request) && lag.is_some_and(|lag| lag.is_behind() || lag.is_unfilled);
    Ok(EmailPage { is_incomplete: page.is_incomplete || lacks_some, ..page })
}

/// Whether words are looked for that only the full-text index knows.
pub(super) fn asks_for_text(request: &ListRequest) -> bool {
    request.filter.terms.iter().any(|term| matches!(term.condition, Condition::Text(_)))
}

fn uses_index(terms: &[Term]) -> bool {
    Expression::leading(terms).is_some() || Expression::deciding(terms).is_some()
}

/// How many match, where the counters tell: all, or those of some statuses.
fn known_total(connection: &Connection, terms: &[Term], sending: &Sending) -> Result<Option<u64>, StoreError> {
    let statuses = match terms {
        [] => EmailStatus::ALL,
        [Term { is_negated: false, condition: Condition::Status(statuses) }] => statuses,
        _ => return Ok(None),
    };
    let counts = super::stats::counts(connection, sending)?;
    let count = |status: &EmailStatus| match status {
        EmailStatus::Sending => sending.len(),
        status => counts.get(usize::from(codes::email_status_code(*status))).copied().unwrap_or(0),
    };
    let mut counted: Vec<EmailStatus> = Vec::new();
    for status in statuses {
        if !counted.contains(status) {
            counted.push(*status);
        }
    }
    Ok(Some(counted.iter().map(count).sum()))
}

/// How many have a tag at least, where nothing but the tag is asked for and these are more than are counted.
fn tagged_at_least(connection: &Connection, terms: &[Term]) -> Result<Option<u64>, StoreError> {
    let [Term { is_negated: false, condition: Condition::Tag(tag) }] = terms else { return Ok(None) };
    let count = source::tagged_count(connection, tag, ListRequest::COUNTED_MAX)?;
    Ok((count > ListRequest::COUNTED_MAX).then_some(ListRequest::COUNTED_MAX))
}

/// A row as a place.
fn place(seq: i64) -> ListPlace {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&seq.to_be_bytes());
    ListPlace(bytes)
}

/// The row of a place; one that another engine gave is somewhere.
fn row_of(place: ListPlace) -> i64 {
    let [_, _, _, _, seq @ ..] = place.0;
    i64::from_be_bytes(seq)
}
