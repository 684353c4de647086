//! One transaction of the writer, with what its operations together must bring up to date before it is committed.
//!
//! Counters, rates and the rows of e-mails whose deliveries changed are written once for the whole batch, not once for
//! each operation.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use postrider_core::{DeliveryStatus, EmailStatus, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::changes::Told;
use super::codes::{self, STATUS_CODES, StatusCode};
use super::mailboxes::touched::Touched;
use super::search;
use crate::error::StoreError;
use crate::records::{Change, NodeId};

/// A span of the rates table, in milliseconds.
pub(super) const RATE_SPAN_MILLIS: i64 = 10_000;

/// Spans that are kept: more than the last minute, for clocks that differ.
const RATE_SPANS_KEPT: i64 = 60;

pub(super) struct Batch<'c> {
    pub(super) connection: &'c Connection,
    pub(super) mailboxes: Touched<'c>,
    counters: [i64; STATUS_CODES],
    changes: BTreeMap<i64, RowChange>,
    rates: BTreeMap<i64, Rate>,
    domains: HashMap<String, Waiting>,
    domain_errors: HashMap<String, (Timestamp, String)>,
    nodes: HashMap<NodeId, Option<i64>>,
    told: Vec<Change>,
    /// E-mails that came into lists or left them.
    listed: Vec<i64>,
}

/// What an e-mail's row must learn.
#[derive(Debug)]
struct RowChange {
    updated_at: Timestamp,
    /// Where one of its deliveries was attempted: the address that the last attempt left from.
    attempted: Option<Option<IpAddr>>,
}

/// By how much the number of a domain's waiting deliveries changes.
#[derive(Debug, Default)]
struct Waiting {
    queued: i64,
    deferred: i64,
}

impl Waiting {
    fn add(&mut self, status: Option<DeliveryStatus>, count: i64) {
        match status {
            Some(DeliveryStatus::Queued) => self.queued += count,
            Some(DeliveryStatus::Deferred) => self.deferred += count,
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct Rate {
    sent: i64,
    failed: i64,
}

impl<'c> Batch<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            mailboxes: Touched::new(connection),
            counters: [0; STATUS_CODES],
            changes: BTreeMap::new(),
            rates: BTreeMap::new(),
            domains: HashMap::new(),
            domain_errors: HashMap::new(),
            nodes: HashMap::new(),
            told: Vec::new(),
            listed: Vec::new(),
        }
    }

    /// An e-mail of this status came, at this row.
    pub(super) fn count(&mut self, seq: i64, status: EmailStatus) {
        self.listed.push(seq);
        self.counters[usize::from(codes::email_status_code(status))] += 1;
    }

    /// An e-mail that was counted, and whose row says this status code, went.
    pub(super) fn forget(&mut self, seq: i64, status_code: StatusCode) {
        if let Some(counter) = self.counters.get_mut(usize::from(status_code)) {
            *counter -= 1;
        }
        self.changes.remove(&seq);
        self.listed.push(seq);
    }

    /// Deliveries of an e-mail changed: its row follows before the commit.
    pub(super) fn changed(&mut self, seq: i64, at: Timestamp) {
        let change = self.changes.entry(seq).or_insert(RowChange { updated_at: at, attempted: None });
        change.updated_at = change.updated_at.max(at);
    }

    /// As [`Batch::changed`], by an attempt that left from this address.
    pub(super) fn attempted(&mut self, seq: i64, at: Timestamp, source_ip: Option<IpAddr>) {
        self.changed(seq, at);
        if let Some(change) = self.changes.get_mut(&seq) {
            change.attempted = Some(source_ip);
        }
    }

    /// A delivery to this domain came, went, or has another status now.
    pub(super) fn waits(&mut self, domain: &str, old: Option<DeliveryStatus>, new: Option<DeliveryStatus>) {
        let waiting = |status: Option<DeliveryStatus>| status.filter(|status| status.is_waiting());
        let (old, new) = (waiting(old), waiting(new));
        if old == new {
            return;
        }
        let change = match self.domains.get_mut(domain) {
            Some(change) => change,
            None => self.domains.entry(domain.to_owned()).or_default(),
        };
        change.add(old, -1);
        change.add(new, 1);
    }

    pub(super) fn count_sent(&mut self, at: Timestamp) {
        self.rates.entry(span(at)).or_default().sent += 1;
    }

    pub(super) fn count_failed(&mut self, at: Timestamp) {
        self.rates.entry(span(at)).or_default().failed += 1;
    }

    /// A delivery to this domain was deferred. The latest is remembered, in whatever order they are told.
    pub(super) fn domain_deferred(&mut self, domain: String, at: Timestamp, error: String) {
        if self.domain_errors.get(&domain).is_none_or(|(known, _)| *known <= at) {
            self.domain_errors.insert(domain, (at, error));
        }
    }

    /// Once this is committed, whoever listens hears of it.
    pub(super) fn tell(&mut self, change: Change) {
        if !self.told.contains(&change) {
            self.told.push(change);
        }
    }

    /// The number under which deliveries name a node; `None` for a node that has not registered.
    pub(super) fn node(&mut self, node: NodeId) -> rusqlite::Result<Option<i64>> {
        if let Some(number) = self.nodes.get(&node) {
            return Ok(*number);
        }
        let number = self
            .connection
            .prepare_cached("SELECT number FROM nodes WHERE id = ?1")?
            .query_row([node.as_bytes()], |row| row.get(0))
            .optional()?;
        self.nodes.insert(node, number);
        Ok(number)
    }

    /// Nodes were registered or forgotten.
    pub(super) fn nodes_changed(&mut self) {
        self.nodes.clear();
        self.tell(Change::Nodes);
    }

    /// Writes what the operations left to be written once. Returns what is to be told after the commit.
    pub(super) fn finish(mut self) -> Result<Told, StoreError> {
        for (seq, change) in std::mem::take(&mut self.changes) {
            self.update_email(seq, change)?;
        }
        for (code, &delta) in (0 as StatusCode..).zip(&self.counters).filter(|(_, delta)| **delta != 0) {
            self.connection
                .prepare_cached(
                    "INSERT INTO counters VALUES (?1, ?2) ON CONFLICT DO UPDATE SET emails = emails + excluded.emails",
                )?
                .execute((code, delta))?;
        }
        for (span, rate) in &self.rates {
            self.add_rate(*span, rate)?;
        }
        for (domain, change) in &self.domains {
            self.count_waiting(domain, change)?;
        }
        for (domain, (at, error)) in &self.domain_errors {
            self.connection
                .prepare_cached(
                    "INSERT INTO domain_errors VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET at = excluded.at, error = excluded.error WHERE excluded.at >= at",
                )?
                .execute((domain, at.as_millis(), error))?;
        }
        search::log(self.connection, &self.listed)?;
        let to_be_indexed = self.listed.len();
        Ok(Told { changes: self.told, mailboxes: self.mailboxes.finish()?, to_be_indexed })
    }

    /// Brings an e-mail's row in line with its deliveries.
    fn update_email(&mut self, seq: i64, change: RowChange) -> Result<(), StoreError> {
        let mut is_seen = [false; STATUS_CODES];
        let mut statement = self.connection.prepare_cached("SELECT status FROM deliveries WHERE email = ?1")?;
        let mut rows = statement.query([seq])?;
        while let Some(row) = rows.next()? {
            if let Some(seen) = is_seen.get_mut(usize::from(row.get::<_, StatusCode>(0)?)) {
                *seen = true;
            }
        }
        let seen = (0..).zip(is_seen).filter(|(_, is_seen)| *is_seen);
        let statuses = seen.map(|(code, _)| codes::delivery_status(code)).collect::<Result<Vec<_>, _>>()?;
        let new_code = codes::email_status_code(EmailStatus::of(statuses));
        let old_code: Option<StatusCode> = self
            .connection
            .prepare_cached("SELECT status FROM emails WHERE seq = ?1")?
            .query_row([seq], |row| row.get(0))
            .optional()?;
        let Some(old_code) = old_code else { return Ok(()) };
        if let Some(counter) = self.counters.get_mut(usize::from(old_code)) {
            *counter -= 1;
        }
        self.counters[usize::from(new_code)] += 1;
        let updated_at = change.updated_at.as_millis();
        match change.attempted {
            None => self
                .connection
                .prepare_cached("UPDATE emails SET status = ?2, updated_at = max(updated_at, ?3) WHERE seq = ?1")?
                .execute((seq, new_code, updated_at))?,
            Some(source_ip) => self
                .connection
                .prepare_cached(
                    "UPDATE emails SET status = ?2, updated_at = max(updated_at, ?3), source_ip = ?4 WHERE seq = ?1",
                )?
                .execute((seq, new_code, updated_at, source_ip.map(|ip| ip.to_string())))?,
        };
        Ok(())
    }

    fn count_waiting(&self, domain: &str, change: &Waiting) -> rusqlite::Result<()> {
        if change.queued == 0 && change.deferred == 0 {
            return Ok(());
        }
        self.connection
            .prepare_cached(
                "INSERT INTO domain_counters VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE
                 SET queued = queued + excluded.queued, deferred = deferred + excluded.deferred",
            )?
            .execute((domain, change.queued, change.deferred))?;
        Ok(())
    }

    fn add_rate(&self, span: i64, rate: &Rate) -> rusqlite::Result<()> {
        let changed = self
            .connection
            .prepare_cached("UPDATE rates SET sent = sent + ?2, failed = failed + ?3 WHERE span = ?1")?
            .execute((span, rate.sent, rate.failed))?;
        if changed == 0 {
            self.connection.prepare_cached("INSERT INTO rates VALUES (?1, ?2, ?3)")?.execute((
                span,
                rate.sent,
                rate.failed,
            ))?;
            self.connection
                .prepare_cached("DELETE FROM rates WHERE span < ?1")?
                .execute([span.saturating_sub(RATE_SPANS_KEPT)])?;
        }
        Ok(())
    }
}

/// The span of the rates table that a time falls into.
pub(super) fn span(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(RATE_SPAN_MILLIS)
}
