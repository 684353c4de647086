//! Lists of e-mails, newest first.
//!
//! What only asks for a status is counted already and read up to the page's end. Everything else is one pass over the
//! rows, never over messages: SQL leaves out what it can, the text is compared here.

use std::time::Duration;

use postrider_core::{Address, Domain, EmailStatus};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::codes::{self, StatusCode};
use super::record::{self, Sending};
use super::sequence;
use crate::error::StoreError;
use crate::records::{EmailFilter, EmailPage};

/// How much earlier or later than its acceptance an e-mail's id may have been made (see
/// [`crate::NewEmail::created_at`]).
const ID_DISTANCE_MAX: Duration = Duration::from_secs(24 * 3600);

/// One page of what matches.
pub(super) fn list(
    connection: &Connection,
    filter: &EmailFilter,
    page: u64,
    limit: u64,
) -> Result<EmailPage, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let sending = record::sending(&transaction)?;
    let known_total =
        if asks_only_for_status(filter) { Some(total(&transaction, filter.status, &sending)?) } else { None };
    let from = page.saturating_sub(1).saturating_mul(limit);
    let window = from..from.saturating_add(limit);
    let (seqs, matched) = match known_total {
        Some(total) if window.start >= total => (Vec::new(), total),
        _ => scan(&transaction, filter, &sending, window, known_total.is_some())?,
    };
    let emails = seqs.iter().map(|seq| record::record(&transaction, *seq, sending.contains(*seq)));
    Ok(EmailPage { emails: emails.collect::<Result<_, _>>()?, total: known_total.unwrap_or(matched) })
}

fn asks_only_for_status(filter: &EmailFilter) -> bool {
    EmailFilter { status: None, ..filter.clone() } == EmailFilter::default()
}

/// How many e-mails have a status, or how many there are: from the counters.
fn total(connection: &Connection, status: Option<EmailStatus>, sending: &Sending) -> Result<u64, StoreError> {
    let Some(status) = status else {
        let all: i64 = connection
            .prepare_cached("SELECT coalesce(sum(emails), 0) FROM counters")?
            .query_row([], |row| row.get(0))?;
        return Ok(u64::try_from(all).unwrap_or(0));
    };
    if status == EmailStatus::Sending {
        return Ok(sending.len());
    }
    Ok(super::stats::counts(connection, sending)?
        .get(usize::from(codes::email_status_code(status)))
        .copied()
        .unwrap_or(0))
}

/// The rows in the window, and how many match in all; with `stop_early` only up to the window's end.
fn scan(
    connection: &Connection,
    filter: &EmailFilter,
    sending: &Sending,
    window: std::ops::Range<u64>,
    stop_early: bool,
) -> Result<(Vec<i64>, u64), StoreError> {
    let text = TextFilter::of(filter);
    let (mut seqs, mut matched) = (Vec::new(), 0u64);
    let mut visit = |row: &Row<'_>| -> Result<bool, StoreError> {
        let seq: i64 = row.get(0)?;
        let is_status = match filter.status {
            None => true,
            Some(EmailStatus::Sending) => sending.contains(seq),
            Some(_) => !sending.contains(seq),
        };
        if is_status && text.as_ref().map_or(Ok(true), |text| text.matches(row))? {
            if window.contains(&matched) {
                seqs.push(seq);
            }
            matched += 1;
        }
        Ok(!(stop_early && matched >= window.end))
    };
    if filter.status == Some(EmailStatus::Sending) {
        // These are few: each is looked at by itself.
        let mut query = Query::of(filter, text.is_some());
        query.sql.push_str(" AND seq = ?");
        let mut statement = connection.prepare_cached(&query.sql)?;
        for (seq, _) in sending.iter().rev() {
            let values = query.values.iter().cloned().chain([Value::Integer(seq)]);
            let mut rows = statement.query(params_from_iter(values))?;
            if let Some(row) = rows.next()?
                && !visit(row)?
            {
                break;
            }
        }
    } else {
        let mut query = Query::of(filter, text.is_some());
        query.sql.push_str(if filter.tag.is_some() { " ORDER BY email DESC" } else { " ORDER BY seq DESC" });
        let mut statement = connection.prepare_cached(&query.sql)?;
        let mut rows = statement.query(params_from_iter(query.values))?;
        while let Some(row) = rows.next()? {
            if !visit(row)? {
                break;
            }
        }
    }
    Ok((seqs, matched))
}

/// What SQL leaves out.
struct Query {
    sql: String,
    values: Vec<Value>,
}

impl Query {
    fn of(filter: &EmailFilter, with_text: bool) -> Self {
        let columns = if with_text { "seq, sender, recipients, subject, message_id" } else { "seq" };
        // What has a tag is found by it.
        let tagged = if filter.tag.is_some() { "tags CROSS JOIN" } else { "" };
        let index = match filter.status.map(codes::email_status_code) {
            _ if filter.tag.is_some() => "NOT INDEXED",
            Some(0..=4) if filter.status != Some(EmailStatus::Sending) => "INDEXED BY emails_open",
            _ => "NOT INDEXED",
        };
        let mut query = Self {
            sql: format!("SELECT {columns} FROM {tagged} emails {index} WHERE hold & 1 AND seq >= ?"),
            values: Vec::new(),
        };
        query.values.push(filter.from.map_or(0, |from| sequence::lower_bound(from - ID_DISTANCE_MAX)).into());
        if let Some(from) = filter.from {
            query.and("created_at >= ?", from.as_millis());
        }
        if let Some(to) = filter.to {
            query.and("seq <= ?", sequence::upper_bound(to + ID_DISTANCE_MAX));
            query.and("created_at < ?", to.as_millis());
        }
        match filter.status {
            None | Some(EmailStatus::Sending) => {}
            Some(status) => {
                let code: StatusCode = codes::email_status_code(status);
                // A literal, because the planner must see that the partial index holds it.
                query.sql.push_str(&format!(" AND status = {code}"));
                if code <= 4 {
                    query.sql.push_str(" AND status <= 4");
                }
            }
        }
        if let Some(tag) = &filter.tag {
            query.sql.push_str(" AND tag = ? AND seq = email");
            query.values.push(tag.clone().into());
        }
        if let Some(direction) = filter.direction {
            query.and("direction = ?", i64::from(codes::direction_code(direction)));
        }
        query
    }

    fn and(&mut self, condition: &str, value: i64) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(value.into());
    }
}

/// The parts of a filter that compare text, in lower case.
struct TextFilter {
    sender: Option<String>,
    recipient: Option<String>,
    domain: Option<Domain>,
    words: Vec<String>,
}

impl TextFilter {
    fn of(filter: &EmailFilter) -> Option<Self> {
        let lower = |text: &Option<String>| text.as_ref().map(|text| text.to_ascii_lowercase());
        let words =
            filter.query.as_deref().unwrap_or_default().split_whitespace().map(str::to_ascii_lowercase).collect();
        let text = Self {
            sender: lower(&filter.sender),
            recipient: lower(&filter.recipient),
            domain: filter.domain.clone(),
            words,
        };
        let is_set =
            text.sender.is_some() || text.recipient.is_some() || text.domain.is_some() || !text.words.is_empty();
        is_set.then_some(text)
    }

    fn matches(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let sender = row.get_ref(1)?.as_str()?;
        let recipients = row.get_ref(2)?.as_str()?;
        let subject = row.get_ref(3)?.as_str_or_null()?.unwrap_or_default();
        let message_id = row.get_ref(4)?.as_str_or_null()?.unwrap_or_default();
        Ok(self.sender.as_ref().is_none_or(|part| contains(sender, part))
            && self.recipient.as_ref().is_none_or(|part| recipients.lines().any(|address| contains(address, part)))
            && self.domain.as_ref().is_none_or(|domain| {
                std::iter::once(sender).chain(recipients.lines()).any(|address| is_of_domain(address, domain))
            })
            && self
                .words
                .iter()
                .all(|word| [subject, sender, recipients, message_id].into_iter().any(|text| contains(text, word))))
    }
}

/// Whether `text` has `part` in it, which is in lower case already.
fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn is_of_domain(address: &str, domain: &Domain) -> bool {
    match address.rsplit_once('@') {
        Some((_, text)) if text.eq_ignore_ascii_case(domain.as_str()) => true,
        // A domain in Unicode is another spelling of one in ASCII.
        Some((_, text)) if !text.is_ascii() => Address::parse(address).is_ok_and(|address| address.domain() == *domain),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compared_without_ascii_case() {
        assert!(contains("Hello World", "o w"));
        assert!(contains("ÄRGER", "rger"));
        assert!(contains("", ""));
        assert!(!contains("ab", "abc"));
    }

    #[test]
    fn domains_are_compared_whole() {
        let domain = Domain::parse("bücher.example").unwrap();
        assert!(is_of_domain("a@xn--bcher-kva.EXAMPLE", &domain));
        assert!(is_of_domain("a@BÜCHER.example", &domain));
        assert!(!is_of_domain("a@x.bücher.example", &domain));
        assert!(!is_of_domain("", &domain));
        assert!(!is_of_domain("a@example", &Domain::parse("ample").unwrap()));
    }
}
