//! Whether the words that are looked for are in an e-mail whose row comes another way than by the full-text index.

use std::collections::VecDeque;

use rusqlite::Connection;

use super::super::search::{Expression, Lag};
use super::source::Source;
use crate::error::StoreError;

/// Rows that are asked for together, which the index finds one after the other.
const ROWS_AHEAD: i64 = 256;

/// Follows the rows of a list through what the index finds, which has the same order.
pub(super) struct Decision<'c> {
    connection: &'c Connection,
    /// What is looked for; `None` where there is nothing to decide, or the rows come from the index.
    expression: Option<Expression>,
    is_oldest_first: bool,
    /// All e-mails that the index may not know are in `recent`.
    is_sure: bool,
    /// E-mails that the index may not know yet, in ascending order.
    recent: &'c [i64],
    /// What it finds next, in the order of the list.
    ahead: VecDeque<i64>,
    /// Up to this row `ahead` has all that it finds.
    known_to: Option<i64>,
}

impl<'c> Decision<'c> {
    pub(super) fn of(
        connection: &'c Connection,
        expression: Option<Expression>,
        source: &Source,
        lag: Option<&'c Lag>,
    ) -> Self {
        Self {
            connection,
            expression: expression.filter(|_| !source.is_index()),
            is_oldest_first: source.is_oldest_first(),
            is_sure: lag.is_some_and(|lag| lag.recent.is_some() && !lag.is_unfilled),
            recent: lag.and_then(|lag| lag.recent.as_deref()).unwrap_or_default(),
            ahead: VecDeque::new(),
            known_to: None,
        }
    }

    /// Whether the row is one that the index may not know yet.
    pub(super) fn is_new(&self, seq: i64) -> bool {
        self.recent.binary_search(&seq).is_ok()
    }

    /// Whether the index has nothing against the row; rows are asked for in the order of the list.
    pub(super) fn agrees(&mut self, seq: i64) -> Result<bool, StoreError> {
        let Some(expression) = &self.expression else { return Ok(true) };
        let is_wanted = expression.is_wanted;
        if !is_wanted && !self.is_sure {
            // What it does not find may have the words nevertheless, and somebody may delete what this list shows.
            return Ok(false);
        }
        if self.known_to.is_none_or(|known| self.is_behind(known, seq)) {
            self.look_ahead(seq)?;
        }
        while self.ahead.front().is_some_and(|&next| self.is_behind(next, seq)) {
            self.ahead.pop_front();
        }
        Ok((self.ahead.front() == Some(&seq)) == is_wanted)
    }

    /// Whether a row comes before another in the order of the list.
    fn is_behind(&self, row: i64, other: i64) -> bool {
        if self.is_oldest_first { row < other } else { row > other }
    }

    fn look_ahead(&mut self, seq: i64) -> Result<(), StoreError> {
        let Some(expression) = &self.expression else { return Ok(()) };
        let sql = if self.is_oldest_first {
            "SELECT rowid FROM search.words WHERE words MATCH ?1 AND rowid >= ?2 ORDER BY rowid LIMIT ?3"
        } else {
            "SELECT rowid FROM search.words WHERE words MATCH ?1 AND rowid <= ?2 ORDER BY rowid DESC LIMIT ?3"
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map((&expression.text, seq, ROWS_AHEAD), |row| row.get(0))?;
        self.ahead = rows.collect::<Result<_, _>>()?;
        let end = if self.is_oldest_first { i64::MAX } else { i64::MIN };
        let is_all = self.ahead.len() < ROWS_AHEAD as usize;
        self.known_to = self.ahead.back().copied().filter(|_| !is_all).or(Some(end));
        Ok(())
    }
}
