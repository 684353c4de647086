//! Claiming due deliveries.
//!
//! A reader looks for what could be claimed, without holding up the writer; the writer then gives to the node what is
//! still there to be had. The reader skips from domain to domain through an index of what nobody holds, so that a domain
//! costs a step or few however much of it waits. What waits for later stands in the same index; so that very many domains
//! with nothing due do not cost much each time, one call goes only so far, and the next goes on from there.

use std::collections::HashMap;

use postrider_core::{Envelope, Instructions, Recipient, ReversePath, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::batch::Batch;
use super::codes;
use super::failure::Failure;
use crate::error::StoreError;
use crate::records::{ClaimRequest, Claimed, ClaimedDelivery, ClaimedEmail, DeliveryId, NodeId};

/// How far one call goes, in steps through the index: some milliseconds of processor time.
pub(super) const STEPS_MAX: usize = 20_000;

/// Finding a place in the index costs as much as this many steps from there to the next entry.
const SEEK_STEPS: usize = 8;

/// Behind all that waits for a domain, whatever its rank.
const RANK_END: i64 = i64::MAX;

/// Before the first one of a rank.
const RANK_START: (i64, u8, i64, u32) = (i64::MIN, 0, 0, 0);

/// What a node could claim.
#[derive(Debug, Default)]
pub(super) struct Plan {
    emails: Vec<PlannedEmail>,
    pub(super) more: bool,
    /// Where the next claim begins.
    pub(super) walk: Walk,
}

/// How far claims have come on their way around all domains.
#[derive(Debug, Default, Clone)]
pub(super) struct Walk {
    /// The domain behind which the next claim begins; empty to begin with the first.
    cursor: String,
    /// Where the round began that is under way, if it takes several calls.
    began: Option<String>,
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
    /// The place in line that is being served: all that is due of lower ranks was taken.
    rank: i64,
    /// The last one taken of it: due time, status, e-mail, number, as the index sorts them.
    last: (i64, u8, i64, u32),
    is_exhausted: bool,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.emails.is_empty()
    }
}

/// Chooses deliveries, going on where the last claim ended, in so many steps at most.
pub(super) fn plan(
    connection: &Connection,
    request: &ClaimRequest,
    walk: &Walk,
    steps_max: usize,
) -> Result<Plan, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let cursor = &walk.cursor;
    let Found { mut candidates, mut walk } = candidates(&transaction, request, walk, steps_max)?;
    let is_more_domains = candidates.len() > request.limit;
    if is_more_domains {
        candidates.truncate(request.limit);
        // Those that were not served come first next time.
        walk = Walk { cursor: candidates.last().map_or(cursor, |last| &last.domain).clone(), began: None };
    }
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
    let more = is_more_domains
        || walk.began.is_some()
        || candidates.iter().any(|candidate| candidate.allowance > 0 && !candidate.is_exhausted);
    Ok(Plan { emails: describe(&transaction, chosen)?, more, walk })
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

/// The domains with something due that a call came by.
struct Found {
    candidates: Vec<Candidate>,
    walk: Walk,
}

/// Goes through the domains in order, around to where the round began, and collects those that have something due: one
/// more than could be served, to know whether there are more.
fn candidates(
    connection: &Connection,
    request: &ClaimRequest,
    walk: &Walk,
    steps_max: usize,
) -> rusqlite::Result<Found> {
    let held: HashMap<&str, usize> = request.held.iter().map(|(domain, count)| (domain.as_str(), *count)).collect();
    let began = walk.began.as_ref().unwrap_or(&walk.cursor);
    let mut found = Vec::new();
    let mut visit = |domain: &str| {
        let allowance = request.per_domain_max.saturating_sub(held.get(domain).copied().unwrap_or(0));
        if allowance > 0 {
            let domain = domain.to_owned();
            found.push(Candidate { domain, allowance, rank: i64::MIN, last: RANK_START, is_exhausted: false });
        }
        found.len() <= request.limit
    };
    let mut steps = Steps { left: steps_max, at: walk.cursor.clone(), has_visited: false };
    // A round that has come around already ends before its beginning; any other goes to the last domain, then around.
    let has_turned = walk.cursor < *began;
    let is_first_part_done = steps.go(connection, request.now, has_turned.then_some(began.as_str()), &mut visit)?;
    let is_done = is_first_part_done && {
        if has_turned || began.is_empty() {
            true
        } else {
            steps.at.clear();
            steps.go(connection, request.now, Some(began), &mut visit)?
        }
    };
    // A round that is done ends where it began: there the next begins.
    let walk = if is_done || steps.at == *began {
        Walk { cursor: began.clone(), began: None }
    } else {
        Walk { cursor: steps.at, began: Some(began.clone()) }
    };
    Ok(Found { candidates: found, walk })
}

/// Steps through the index, from domain to domain.
struct Steps {
    left: usize,
    /// The last domain that was visited.
    at: String,
    has_visited: bool,
}

impl Steps {
    /// Goes through the domains behind `at`, to the last or up to `last`, and visits those with something due. `false` if
    /// `visit` said to stop or too many steps were taken.
    fn go(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        last: Option<&str>,
        visit: &mut impl FnMut(&str) -> bool,
    ) -> rusqlite::Result<bool> {
        let mut statement = connection.prepare_cached(
            "SELECT domain, rank, due_at FROM deliveries INDEXED BY deliveries_claimable
             WHERE owner IS NULL AND status <= 1 AND (domain, rank) > (?1, ?2) ORDER BY domain, rank, due_at",
        )?;
        // The first one of each rank of a domain is looked at, until one is due.
        let mut rank = RANK_END;
        loop {
            let mut rows = statement.query((&self.at, rank))?;
            self.left = self.left.saturating_sub(SEEK_STEPS);
            let mut same = 0;
            loop {
                let Some(row) = rows.next()? else { return Ok(true) };
                self.left = self.left.saturating_sub(1);
                let domain = row.get_ref(0)?.as_str()?;
                let row_rank = row.get(1)?;
                if domain == self.at && row_rank <= rank {
                    same += 1;
                    if same == SEEK_STEPS {
                        break;
                    }
                    continue;
                }
                if domain != self.at {
                    if last.is_some_and(|last| domain > last) {
                        return Ok(true);
                    }
                    // Each call goes through one domain at least, or a round would never end.
                    if self.left == 0 && self.has_visited {
                        return Ok(false);
                    }
                    self.at.clear();
                    self.at.push_str(domain);
                    self.has_visited = true;
                }
                (rank, same) = (row_rank, 0);
                if row.get::<_, i64>(2)? <= now.as_millis() {
                    rank = RANK_END;
                    if !visit(domain) {
                        return Ok(false);
                    }
                }
            }
        }
    }
}

/// Takes up to `count` deliveries of a domain, the most urgent first and of these those due longest, and learns whether it has
/// more.
fn take(
    connection: &Connection,
    now: Timestamp,
    candidate: &mut Candidate,
    count: usize,
    chosen: &mut Vec<(i64, u32)>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT due_at, status, email, number FROM deliveries INDEXED BY deliveries_claimable
         WHERE owner IS NULL AND status <= 1 AND domain = ?1 AND rank = ?2 AND due_at >= ?3 AND due_at <= ?4
             AND (due_at, status, email, number) > (?3, ?5, ?6, ?7)
         ORDER BY due_at, status, email, number LIMIT ?8",
    )?;
    let mut next_rank = connection.prepare_cached(
        "SELECT rank FROM deliveries INDEXED BY deliveries_claimable
         WHERE owner IS NULL AND status <= 1 AND domain = ?1 AND rank > ?2 ORDER BY rank LIMIT 1",
    )?;
    let mut taken = 0;
    loop {
        let (due_at, status, email, number) = candidate.last;
        let limit = i64::try_from(count - taken).unwrap_or(i64::MAX - 1) + 1;
        let (domain, rank) = (&candidate.domain, candidate.rank);
        let mut rows = statement.query(params![domain, rank, due_at, now.as_millis(), status, email, number, limit])?;
        while let Some(row) = rows.next()? {
            if taken == count {
                candidate.allowance -= count;
                return Ok(());
            }
            candidate.last = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            chosen.push((candidate.last.2, candidate.last.3));
            taken += 1;
        }
        let next = next_rank.query_row((domain, rank), |row| row.get(0)).optional()?;
        let Some(next) = next else { break };
        (candidate.rank, candidate.last) = (next, RANK_START);
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
        let recipient = codes::recipient(&address, parameters.as_deref())?;
        if let Some(planned) = emails.get_mut(position) {
            planned.deliveries.push((number, recipient));
        }
    }
    Ok(emails)
}

fn email(connection: &Connection, seq: i64) -> Result<ClaimedEmail, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, created_at, sender, envelope, message_id, size - return_path_bytes, is_8bit,
             instructions, subject
         FROM emails WHERE seq = ?1",
    )?;
    let (mut email, sender, [envelope, instructions]) = statement.query_row([seq], |row| {
        let email = ClaimedEmail {
            id: codes::id(row.get(0)?),
            created_at: codes::timestamp(row.get(1)?),
            envelope: Envelope::default(),
            instructions: Instructions::default(),
            message_id: row.get(4)?,
            subject: row.get(8)?,
            size: u64::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
            is_8bit: row.get(6)?,
            deliveries: Vec::new(),
        };
        let told: [Option<String>; 2] = [row.get(3)?, row.get(7)?];
        Ok((email, row.get::<_, String>(2)?, told))
    })?;
    email.envelope = decode_envelope(&sender, envelope.as_deref())?;
    email.instructions = codes::from_optional_json(instructions.as_deref())?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use postrider_core::{Direction, Message, ObjectId};

    use super::super::{SqliteOptions, SqliteStore};
    use super::*;
    use crate::records::{NewDelivery, NewEmail};
    use crate::traits::Emails;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const LATER: Timestamp = Timestamp::from_millis(1_800_000_060_000);

    /// A store with one delivery for each of these, and a connection to it.
    async fn store(deliveries: &[(String, Timestamp)]) -> (tempfile::TempDir, SqliteStore, Connection) {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(SqliteOptions::new(folder.path())).unwrap();
        let delivery = |(address, due_at): &(String, Timestamp)| NewDelivery {
            recipient: Recipient::new(codes::address(address).unwrap()),
            claimed_by: None,
            due_at: *due_at,
        };
        let email = NewEmail {
            id: ObjectId::new(NOW),
            created_at: NOW,
            direction: Direction::Outbound,
            envelope: Envelope::default(),
            instructions: Instructions::default(),
            authentication: Vec::new(),
            events: Vec::new(),
            request: None,
            message: Message::parse("Subject: x\r\n\r\n".into(), 0),
            kept: Vec::new(),
            deliveries: deliveries.iter().map(delivery).collect(),
            filed: None,
        };
        store.accept(email).await.unwrap();
        let connection = Connection::open(folder.path().join("postrider.db")).unwrap();
        (folder, store, connection)
    }

    fn request(limit: usize) -> ClaimRequest {
        let node = ObjectId::new(NOW);
        ClaimRequest { node, now: NOW, limit, per_domain_max: usize::MAX, held: Vec::new() }
    }

    fn domains_of(plan: &Plan) -> Vec<String> {
        let recipients = plan.emails.iter().flat_map(|email| &email.deliveries);
        recipients.map(|(_, recipient)| recipient.address.domain().to_string()).collect()
    }

    #[tokio::test]
    async fn a_round_through_many_domains_takes_several_calls() {
        let due = |n: usize| if n % 400 == 150 { NOW } else { LATER };
        let deliveries: Vec<_> = (0..1_000).map(|n| (format!("a@d{n:04}.example"), due(n))).collect();
        let (_folder, _store, connection) = store(&deliveries).await;
        let (mut walk, mut found, mut rounds) = (Walk::default(), Vec::new(), Vec::new());
        let mut calls = 0;
        while rounds.len() < 2 {
            // Not from the first domain, so that the round has to turn.
            if calls == 0 {
                walk.cursor = "d0500.example".into();
            }
            let plan = plan(&connection, &request(10), &walk, 100 + SEEK_STEPS).unwrap();
            calls += 1;
            assert!(calls < 100, "no round ends");
            found.extend(domains_of(&plan));
            walk = plan.walk;
            if !plan.more {
                rounds.push(std::mem::take(&mut found));
            }
        }
        assert_eq!(rounds[0], ["d0550.example", "d0950.example", "d0150.example"]);
        assert_eq!(rounds[0], rounds[1], "nothing was claimed");
        assert!((20..=26).contains(&calls), "100 domains a call, but {calls} calls for two rounds");
    }

    #[tokio::test]
    async fn one_step_a_call_still_comes_around() {
        let deliveries: Vec<_> = (0..60).map(|n| (format!("a{n}@d{}.example", n % 3), NOW)).collect();
        let (_folder, _store, connection) = store(&deliveries).await;
        let (mut walk, mut found) = (Walk::default(), BTreeSet::new());
        for _ in 0..10 {
            let plan = plan(&connection, &request(100), &walk, 1).unwrap();
            assert!(domains_of(&plan).len() <= 20, "one domain a call");
            found.extend(domains_of(&plan));
            walk = plan.walk;
        }
        assert_eq!(found.len(), 3);
    }

    #[tokio::test]
    async fn nothing_asked_for_moves_nothing() {
        let (_folder, _store, connection) = store(&[("a@one.example".into(), NOW)]).await;
        let none = plan(&connection, &request(0), &Walk::default(), STEPS_MAX).unwrap();
        assert!(none.more && none.is_empty());
        assert_eq!(domains_of(&plan(&connection, &request(1), &none.walk, STEPS_MAX).unwrap()), ["one.example"]);
    }
}
