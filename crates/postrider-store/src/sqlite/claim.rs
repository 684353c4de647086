//! Claiming due deliveries.
//!
//! A reader looks for what could be claimed, without holding up the writer; the writer then gives to the node what is
//! still there to be had. The reader skips from domain to domain through an index of what nobody holds, so that a domain
//! costs one step however much of it waits.

use std::collections::HashMap;

use postrider_core::{Envelope, Recipient, ReversePath, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::batch::Batch;
use super::codes;
use super::failure::Failure;
use crate::error::StoreError;
use crate::records::{ClaimRequest, Claimed, ClaimedDelivery, ClaimedEmail, DeliveryId, NodeId};

/// What a node could claim.
#[derive(Debug, Default)]
pub(super) struct Plan {
    emails: Vec<PlannedEmail>,
    pub(super) more: bool,
    /// The domain behind which the next claim begins its turn.
    pub(super) cursor: String,
}

#[derive(Debug)]
struct PlannedEmail {
    seq: i64,
    email: ClaimedEmail,
    deliveries: Vec<(u32, Recipient)>,
}

/// A domain with something due that this node may claim.
struct Candidate {
    domain: String,
    /// How many more the node may hold.
    allowance: usize,
    /// The last one taken: due time, status, e-mail, number, as the index sorts them.
    last: (i64, u8, i64, u32),
    is_exhausted: bool,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.emails.is_empty()
    }
}

/// Chooses deliveries, beginning with the domain behind `cursor`.
pub(super) fn plan(connection: &Connection, request: &ClaimRequest, cursor: &str) -> Result<Plan, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let mut candidates = candidates(&transaction, request, cursor)?;
    let is_more_domains = candidates.len() > request.limit;
    candidates.truncate(request.limit);
    let cursor = candidates.last().map_or_else(|| cursor.to_owned(), |candidate| candidate.domain.clone());
    let mut chosen = Vec::new();
    loop {
        let left = request.limit - chosen.len();
        let open = candidates.iter_mut().filter(|candidate| !candidate.is_exhausted);
        let mut open: Vec<_> = open.filter(|candidate| candidate.allowance > 0).collect();
        if left == 0 || open.is_empty() {
            break;
        }
        // Each domain's turn is an equal share; what one leaves, the others get in the next round.
        let share = (left / open.len()).max(1);
        for candidate in &mut open {
            let count = share.min(candidate.allowance).min(request.limit - chosen.len());
            take(&transaction, request.now, candidate, count, &mut chosen)?;
        }
    }
    let more = is_more_domains || candidates.iter().any(|c| c.allowance > 0 && !c.is_exhausted);
    Ok(Plan { emails: describe(&transaction, chosen)?, more, cursor })
}

/// Gives the planned deliveries to the node, those that nobody took meanwhile.
pub(super) fn claim(batch: &mut Batch<'_>, node: NodeId, now: Timestamp, plan: &Plan) -> Result<Claimed, Failure> {
    let Some(owner) = batch.node(node)? else {
        tracing::warn!(queue.node = %node, "a node without a lease asked for deliveries");
        return Ok(Claimed::default());
    };
    let mut claimed = Claimed { emails: Vec::with_capacity(plan.emails.len()), more: plan.more };
    let mut statement = batch.connection.prepare_cached(
        "UPDATE deliveries SET owner = ?3
         WHERE email = ?1 AND number = ?2 AND owner IS NULL AND status <= 1 AND due_at <= ?4
         RETURNING attempts, last_category, delay_notified, queued_at",
    )?;
    for planned in &plan.emails {
        let mut deliveries = Vec::with_capacity(planned.deliveries.len());
        for (number, recipient) in &planned.deliveries {
            let taken = statement
                .query_row(params![planned.seq, number, owner, now.as_millis()], |row| {
                    let category: Option<String> = row.get(1)?;
                    let queued_at: Option<i64> = row.get(3)?;
                    Ok(ClaimedDelivery {
                        number: *number,
                        recipient: recipient.clone(),
                        queued_at: queued_at.map_or(planned.email.created_at, codes::timestamp),
                        attempts: row.get(0)?,
                        last_category: category.and_then(|text| text.parse().ok()),
                        delay_notified: row.get(2)?,
                    })
                })
                .optional()?;
            deliveries.extend(taken);
        }
        // What another took may have hidden more behind it; asking again tells.
        claimed.more |= deliveries.len() < planned.deliveries.len();
        if !deliveries.is_empty() {
            claimed.emails.push(ClaimedEmail { deliveries, ..planned.email.clone() });
        }
    }
    Ok(claimed)
}

/// The claims in an answer.
pub(super) fn claims_of(node: NodeId, claimed: &Claimed) -> Vec<(NodeId, DeliveryId)> {
    let ids = claimed.emails.iter().flat_map(|email| {
        email.deliveries.iter().map(|delivery| DeliveryId { email: email.id, number: delivery.number })
    });
    ids.map(|id| (node, id)).collect()
}

/// Goes through the domains in order, from the one behind `cursor` around to it, and collects those that have something
/// due: one more than could be served, to know whether there are more.
fn candidates(connection: &Connection, request: &ClaimRequest, cursor: &str) -> rusqlite::Result<Vec<Candidate>> {
    let held: HashMap<&str, usize> = request.held.iter().map(|(domain, count)| (domain.as_str(), *count)).collect();
    let mut next = connection.prepare_cached(
        "SELECT domain, due_at FROM deliveries INDEXED BY deliveries_claimable
         WHERE owner IS NULL AND status <= 1 AND domain > ?1 ORDER BY domain, due_at LIMIT 1",
    )?;
    let mut found = Vec::new();
    let mut at = cursor.to_owned();
    let mut has_turned = false;
    while found.len() <= request.limit {
        let row = next.query_row([&at], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).optional()?;
        let Some((domain, due_at)) = row.filter(|(domain, _)| !has_turned || domain.as_str() <= cursor) else {
            if has_turned || cursor.is_empty() {
                break;
            }
            has_turned = true;
            at.clear();
            continue;
        };
        let allowance = request.per_domain_max.saturating_sub(held.get(domain.as_str()).copied().unwrap_or(0));
        at.clone_from(&domain);
        if allowance > 0 && due_at <= request.now.as_millis() {
            found.push(Candidate { domain, allowance, last: (i64::MIN, 0, 0, 0), is_exhausted: false });
        }
    }
    Ok(found)
}

/// Takes up to `count` deliveries of a domain, those due longest first, and learns whether it has more.
fn take(
    connection: &Connection,
    now: Timestamp,
    candidate: &mut Candidate,
    count: usize,
    chosen: &mut Vec<(i64, u32)>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT due_at, status, email, number FROM deliveries INDEXED BY deliveries_claimable
         WHERE owner IS NULL AND status <= 1 AND domain = ?1 AND due_at >= ?2 AND due_at <= ?3
             AND (due_at, status, email, number) > (?2, ?4, ?5, ?6)
         ORDER BY due_at, status, email, number LIMIT ?7",
    )?;
    let (due_at, status, email, number) = candidate.last;
    let limit = i64::try_from(count).unwrap_or(i64::MAX - 1) + 1;
    let mut rows = statement.query(params![candidate.domain, due_at, now.as_millis(), status, email, number, limit])?;
    let mut taken = 0;
    while let Some(row) = rows.next()? {
        if taken == count {
            candidate.allowance -= count;
            return Ok(());
        }
        candidate.last = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        chosen.push((candidate.last.2, candidate.last.3));
        taken += 1;
    }
    candidate.allowance -= taken;
    candidate.is_exhausted = true;
    Ok(())
}

/// Reads what sending the chosen deliveries takes, e-mail by e-mail in the order of choice.
fn describe(connection: &Connection, chosen: Vec<(i64, u32)>) -> Result<Vec<PlannedEmail>, StoreError> {
    let mut emails: Vec<PlannedEmail> = Vec::new();
    let mut positions: HashMap<i64, usize> = HashMap::new();
    let mut recipient =
        connection.prepare_cached("SELECT recipient, parameters FROM deliveries WHERE email = ?1 AND number = ?2")?;
    for (seq, number) in chosen {
        let position = match positions.get(&seq) {
            Some(&position) => position,
            None => {
                emails.push(PlannedEmail { seq, email: email(connection, seq)?, deliveries: Vec::new() });
                positions.insert(seq, emails.len() - 1);
                emails.len() - 1
            }
        };
        let (address, parameters): (String, Option<String>) =
            recipient.query_row((seq, number), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let recipient = match parameters {
            Some(json) => codes::from_json(&json)?,
            None => Recipient::new(codes::address(&address)?),
        };
        if let Some(planned) = emails.get_mut(position) {
            planned.deliveries.push((number, recipient));
        }
    }
    Ok(emails)
}

fn email(connection: &Connection, seq: i64) -> Result<ClaimedEmail, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, created_at, sender, envelope, message_id, size - return_path_bytes, is_8bit FROM emails
         WHERE seq = ?1",
    )?;
    let (mut email, sender, envelope) = statement.query_row([seq], |row| {
        let email = ClaimedEmail {
            id: codes::id(row.get(0)?),
            created_at: codes::timestamp(row.get(1)?),
            envelope: Envelope::default(),
            message_id: row.get(4)?,
            size: u64::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
            is_8bit: row.get(6)?,
            deliveries: Vec::new(),
        };
        Ok((email, row.get::<_, String>(2)?, row.get::<_, Option<String>>(3)?))
    })?;
    email.envelope = decode_envelope(&sender, envelope.as_deref())?;
    Ok(email)
}

/// The envelope of an e-mail's row.
pub(super) fn decode_envelope(sender: &str, json: Option<&str>) -> Result<Envelope, StoreError> {
    match json {
        Some(json) => codes::from_json(json),
        None if sender.is_empty() => Ok(Envelope::default()),
        None => Ok(Envelope { reverse_path: ReversePath(Some(codes::address(sender)?)), ..Envelope::default() }),
    }
}
