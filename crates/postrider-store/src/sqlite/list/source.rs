//! Which rows a list goes through, and in which order: by the index that leads to the fewest.

use std::time::Duration;

use postrider_core::EmailStatus;
use postrider_core::query::{Condition, Term};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};

use super::super::codes::{self, StatusCode};
use super::super::record::Sending;
use super::super::search::{Expression, Lag};
use super::super::sequence;
use super::row_of;
use crate::error::StoreError;
use crate::records::ListRequest;

/// How much earlier or later than its acceptance an e-mail's id may have been made (see
/// [`crate::NewEmail::created_at`]).
const ID_DISTANCE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The highest code of a status that has an index: what is sent or received is most of a database.
const OPEN_MAX: StatusCode = 4;

/// E-mails that are gone through one by one sooner than the full-text index is asked.
const FEW: u64 = 1_000;

/// Where the rows come from, within bounds that hold for all of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    kind: Kind,
    /// The lowest and the highest.
    bounds: (i64, i64),
    is_oldest_first: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// All.
    All,
    /// One after the other; in ascending order.
    These(Vec<i64>),
    /// Those with a status that has an index.
    Open(Vec<StatusCode>),
    Tagged(String),
    /// Those that the full-text index finds, and in ascending order those that it may not know yet.
    Found(String, Vec<i64>),
}

impl Source {
    pub(super) fn of(
        connection: &Connection,
        terms: &[Term],
        request: &ListRequest,
        sending: &Sending,
        lag: Option<&Lag>,
    ) -> Result<Self, StoreError> {
        let wanted = terms.iter().filter(|term| !term.is_negated).map(|term| &term.condition);
        let mut bounds = (0, i64::MAX);
        let (mut tag, mut open, mut sends) = (None, None, false);
        for condition in wanted {
            let within = match condition {
                Condition::From(at) => (sequence::lower_bound(*at - ID_DISTANCE_MAX), i64::MAX),
                Condition::Before(at) => (0, sequence::upper_bound(*at + ID_DISTANCE_MAX)),
                Condition::Id(id) => sequence::slots(*id),
                _ => (0, i64::MAX),
            };
            bounds = (bounds.0.max(within.0), bounds.1.min(within.1));
            match condition {
                Condition::Tag(text) => tag = Some(text.clone()),
                Condition::Status(statuses) if statuses.as_slice() == [EmailStatus::Sending] => sends = true,
                Condition::Status(statuses) => open = codes_of(statuses).or(open),
                // What is sent or received has none.
                Condition::Error(_) => open = open.or(Some((0..=OPEN_MAX).collect())),
                _ => {}
            }
        }
        let is_oldest_first = request.reads_oldest_first();
        bounds = match request.place().map(row_of) {
            Some(seq) if is_oldest_first => (bounds.0.max(seq.saturating_add(1)), bounds.1),
            Some(seq) => (bounds.0, bounds.1.min(seq.saturating_sub(1))),
            None => bounds,
        };
        let found = found(terms, lag);
        let kind = match (sends, tag, open) {
            (true, ..) => Kind::These(sending.iter().map(|(seq, _)| seq).collect()),
            (_, _, Some(codes)) if found.is_some() && open_count(connection, &codes)? <= FEW => Kind::Open(codes),
            (_, Some(tag), _) if found.is_some() && tagged_count(connection, &tag, FEW)? <= FEW => Kind::Tagged(tag),
            _ if let Some(found) = found => found,
            (_, _, Some(codes)) if codes.iter().all(|code| *code < OPEN_MAX) => Kind::Open(codes),
            (_, Some(tag), _) => Kind::Tagged(tag),
            (_, _, Some(codes)) => Kind::Open(codes),
            _ => Kind::All,
        };
        Ok(Self { kind, bounds, is_oldest_first })
    }

    pub(super) fn is_oldest_first(&self) -> bool {
        self.is_oldest_first
    }

    /// Whether the rows are what the full-text index finds.
    pub(super) fn is_index(&self) -> bool {
        matches!(self.kind, Kind::Found(..))
    }

    /// Hands the rows over one by one until `visit` answers that it is enough.
    pub(super) fn run(
        &self,
        connection: &Connection,
        mut visit: impl FnMut(&Row<'_>, i64) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let (first, last) = self.bounds;
        let direction = if self.is_oldest_first { "" } else { " DESC" };
        let mut values: Vec<Value> = vec![first.into(), last.into()];
        let sql = match &self.kind {
            Kind::These(seqs) => {
                for seq in self.within(seqs) {
                    if !visit_one(connection, seq, &mut visit)? {
                        break;
                    }
                }
                return Ok(());
            }
            Kind::Found(expression, recent) => return self.run_found(connection, expression, recent, visit),
            Kind::All => {
                format!(
                    "SELECT {COLUMNS} FROM emails AS e NOT INDEXED WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq{direction}"
                )
            }
            Kind::Tagged(tag) => {
                values.push(tag.clone().into());
                format!(
                    "SELECT {COLUMNS} FROM tags AS t CROSS JOIN emails AS e ON e.seq = t.email
                     WHERE t.tag = ?3 AND t.email BETWEEN ?1 AND ?2 ORDER BY t.email{direction}"
                )
            }
            Kind::Open(codes) => {
                // Each status by its index, merged. Literals, because the planner must see that the partial index holds them.
                let parts: Vec<String> = codes
                    .iter()
                    .map(|code| {
                        format!(
                            "SELECT {COLUMNS} FROM emails AS e INDEXED BY emails_open
                             WHERE status = {code} AND status <= {OPEN_MAX} AND seq BETWEEN ?1 AND ?2"
                        )
                    })
                    .collect();
                format!("{} ORDER BY seq{direction}", parts.join(" UNION ALL "))
            }
        };
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if !visit(row, row.get(0)?)? {
                break;
            }
        }
        Ok(())
    }

    /// What the index finds and what it may not know yet, in one order.
    fn run_found(
        &self,
        connection: &Connection,
        expression: &str,
        recent: &[i64],
        mut visit: impl FnMut(&Row<'_>, i64) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let (first, last) = self.bounds;
        let direction = if self.is_oldest_first { "" } else { " DESC" };
        let sql = format!(
            "SELECT {COLUMNS} FROM search.words AS w CROSS JOIN emails AS e ON e.seq = w.rowid
             WHERE w.words MATCH ?3 AND w.rowid BETWEEN ?1 AND ?2 ORDER BY w.rowid{direction}"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query((first, last, expression))?;
        let mut recent = self.within(recent).peekable();
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            while let Some(new) = recent.next_if(|&new| new == seq || (new < seq) == self.is_oldest_first) {
                if new != seq && !visit_one(connection, new, &mut visit)? {
                    return Ok(());
                }
            }
            if !visit(row, seq)? {
                return Ok(());
            }
        }
        for new in recent {
            if !visit_one(connection, new, &mut visit)? {
                break;
            }
        }
        Ok(())
    }

    /// Those of these rows, which are in ascending order, that are within the bounds; in the order of the list.
    fn within(&self, seqs: &[i64]) -> impl Iterator<Item = i64> {
        let (first, last) = self.bounds;
        let mut within: Vec<i64> = seqs.iter().copied().filter(|seq| (first..=last).contains(seq)).collect();
        if !self.is_oldest_first {
            within.reverse();
        }
        within.into_iter()
    }
}

/// Hands over one row, if it is there. Returns whether to go on.
fn visit_one(
    connection: &Connection,
    seq: i64,
    visit: &mut impl FnMut(&Row<'_>, i64) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM emails AS e WHERE seq = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([seq])?;
    match rows.next()? {
        Some(row) => visit(row, seq),
        None => Ok(true),
    }
}

/// The way by the full-text index, if it leads to something.
fn found(terms: &[Term], lag: Option<&Lag>) -> Option<Kind> {
    let lag = lag?;
    let expression = Expression::leading(terms)?;
    if Expression::deciding(terms).is_some() {
        // What else there may be nothing but the index tells; the page says so.
        return Some(Kind::Found(expression.text, lag.recent.clone().unwrap_or_default()));
    }
    let recent = lag.recent.as_ref().filter(|_| !lag.is_unfilled)?;
    Some(Kind::Found(expression.text, recent.clone()))
}

/// How many e-mails have these statuses, those that are being sent included.
fn open_count(connection: &Connection, codes: &[StatusCode]) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT emails FROM counters WHERE status = ?1")?;
    let mut count = 0;
    for code in codes {
        count += statement.query_row([code], |row| row.get::<_, i64>(0)).optional()?.unwrap_or(0);
    }
    Ok(u64::try_from(count).unwrap_or(0))
}

/// How many e-mails have this tag; one more than `max` stands for all that are more.
pub(super) fn tagged_count(connection: &Connection, tag: &str, max: u64) -> Result<u64, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT count(*) FROM (SELECT 1 FROM tags WHERE tag = ?1 LIMIT ?2)")?;
    let count: i64 = statement.query_row((tag, max.saturating_add(1) as i64), |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// What [`super::check`] looks at, in its order.
pub(super) const COLUMNS: &str = "e.seq AS seq, e.hold, e.status, e.direction, e.created_at, e.size, e.source_ip, e.sender, \
    e.recipients, e.subject, e.message_id, e.attachments IS NOT NULL, e.instructions, e.id";

/// The codes of these statuses, if all are in the index. What is being sent is stored as queued or deferred.
fn codes_of(statuses: &[EmailStatus]) -> Option<Vec<StatusCode>> {
    let mut codes = Vec::new();
    for status in statuses {
        match status {
            EmailStatus::Sending => codes.extend([0, 1]),
            status => codes.push(codes::email_status_code(*status)),
        }
    }
    codes.sort_unstable();
    codes.dedup();
    codes.iter().all(|code| *code <= OPEN_MAX).then_some(codes)
}
