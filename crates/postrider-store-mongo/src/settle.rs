//! Ending claims with what came of them.

use std::collections::HashMap;
use std::sync::Arc;

use mongodb::ClientSession;
use mongodb::bson::{Document, doc, oid};
use postrider_core::{Attempt, DeliveryStatus, Timestamp};
use postrider_store::{Change, Next, NodeId, Settle, Settlement, StoreError, Suppression};

use crate::accept::insert_filed;
use crate::changes::Changes;
use crate::codes::{date, delivery_key, oid, rests};
use crate::counters::{Additions, Stripe, update_all};
use crate::documents::{AttemptDocument, DeliveryState};
use crate::email::{self, PreparedEmail};
use crate::engine::{Engine, Work};
use crate::failure::Failure;
use crate::guard::Guarded;
use crate::mailboxes::{Written, filing};
use crate::outbox::Told;
use crate::schema::{DELIVERIES, DOMAINS};
use crate::suppressions;
use crate::writer::Batch;

/// Settlements ready to be written.
#[derive(Debug)]
pub(crate) struct PreparedSettle {
    node: oid::ObjectId,
    settlements: Vec<(String, Settlement)>,
    notifications: Vec<PreparedEmail>,
    suppressions: Vec<Suppression>,
}

pub(crate) async fn prepare(engine: &Engine, node: NodeId, settle: Settle) -> Result<PreparedSettle, StoreError> {
    let mut notifications = Vec::with_capacity(settle.notifications.len());
    for notification in settle.notifications {
        let email = email::prepare(notification, |node| engine.may_hold(node)).await?;
        engine.files.put(oid(email.id), &email.files).await?;
        notifications.push(email);
    }
    let keyed = |settlement: Settlement| (delivery_key(settlement.id), settlement);
    Ok(PreparedSettle {
        node: oid(node),
        settlements: settle.settlements.into_iter().map(keyed).collect(),
        notifications,
        suppressions: settle.suppressions,
    })
}

impl Batch for PreparedSettle {
    type Answer = Guarded<usize>;

    fn bytes(&self) -> usize {
        let settlements = self.settlements.len() * 2_048;
        settlements + self.notifications.iter().map(PreparedEmail::bytes).sum::<usize>()
    }

    async fn write(engine: &Arc<Engine>, batch: &[Self]) -> Result<Vec<Guarded<usize>>, Failure> {
        let notifications = batch.iter().flat_map(|settle| &settle.notifications);
        let _turn = engine.courtesy.turn(filing::concerned(engine, notifications)).await;
        let settled = engine.transaction_of(batch.len(), &mut Record { batch }).await?;
        let Settled { recorded, domain_errors, written } = settled;
        written.finish(engine).await;
        note_domain_errors(engine, domain_errors).await;
        let mut has_unclaimed = false;
        let answers = batch.iter().zip(recorded).map(|(settle, recorded)| {
            // What was not recorded brought no notifications either.
            let notifications = settle.notifications.iter().filter(|_| recorded > 0);
            has_unclaimed |= notifications.clone().any(PreparedEmail::has_unclaimed);
            Guarded::new(recorded, notifications.filter_map(PreparedEmail::claim), engine)
        });
        let answers = answers.collect();
        if has_unclaimed {
            engine.notices.tell(Change::Queue);
        }
        if batch.iter().any(|settle| !settle.suppressions.is_empty()) {
            engine.notices.tell(Change::Suppressions);
        }
        Ok(answers)
    }

    fn doubt(engine: &Arc<Engine>, batch: &[Self]) {
        let notifications = batch.iter().flat_map(|settle| &settle.notifications);
        notifications.filter_map(PreparedEmail::claim).for_each(|claim| engine.doubt(claim));
    }
}

/// What a transaction did.
struct Settled {
    recorded: Vec<usize>,
    domain_errors: HashMap<String, (Timestamp, String)>,
    written: Written,
}

struct Record<'a> {
    batch: &'a [PreparedSettle],
}

impl Work for Record<'_> {
    type Output = Settled;

    async fn run(&mut self, engine: &Engine, session: &mut ClientSession, stripe: Stripe) -> Result<Settled, Failure> {
        let mut states = states(engine, session, self.batch).await?;
        let (mut changes, mut additions) = (Changes::default(), Additions::default());
        let (mut updates, mut attempts) = (Vec::new(), Vec::new());
        let mut told = Told::default();
        let mut settled = Settled {
            recorded: Vec::with_capacity(self.batch.len()),
            domain_errors: HashMap::new(),
            written: Written::default(),
        };
        for settle in self.batch {
            let mut recorded = 0;
            for (key, settlement) in &settle.settlements {
                let Some(state) = states.get_mut(key.as_str()).filter(|state| state.owner == Some(settle.node)) else {
                    continue;
                };
                updates.push(update(settle.node, key, settlement, state));
                attempts.push(attempt(settlement, state));
                told.add(settlement.id.email, Some(settlement.id.number), &settlement.event);
                note(settlement, state, &mut changes, &mut additions, &mut settled.domain_errors);
                // A claim ends once.
                state.owner = None;
                recorded += 1;
            }
            settled.recorded.push(recorded);
        }
        let expected = i64::try_from(updates.len()).unwrap_or(i64::MAX);
        if update_all(engine, session, DELIVERIES, updates).await? != expected {
            return Err(Failure::Transient(StoreError::Unavailable("a claim was changed meanwhile".into())));
        }
        if !attempts.is_empty() {
            engine.attempts().insert_many(attempts).session(&mut *session).await?;
        }
        Told::write([&told], engine, session).await?;
        changes.write(engine, session, &mut additions).await?;
        let with_recorded = self.batch.iter().zip(&settled.recorded).filter(|(_, recorded)| **recorded > 0);
        let notifications: Vec<_> = with_recorded.flat_map(|(settle, _)| &settle.notifications).collect();
        let suppressed = self.batch.iter().zip(&settled.recorded).filter(|(_, recorded)| **recorded > 0);
        suppressions::add(engine, session, suppressed.flat_map(|(settle, _)| &settle.suppressions)).await?;
        (_, settled.written) = insert_filed(engine, session, &notifications, &mut additions).await?;
        additions.write(engine, session, stripe).await?;
        Ok(settled)
    }
}

/// The deliveries that a batch is about, as far as its nodes hold them.
async fn states(
    engine: &Engine,
    session: &mut ClientSession,
    batch: &[PreparedSettle],
) -> Result<HashMap<String, DeliveryState>, Failure> {
    let keys: Vec<&str> = batch.iter().flat_map(|settle| &settle.settlements).map(|(key, _)| key.as_str()).collect();
    let owners: Vec<oid::ObjectId> = batch.iter().map(|settle| settle.node).collect();
    let filter = doc! { "_id": { "$in": keys }, "owner": { "$in": owners } };
    let deliveries = engine.collection::<DeliveryState>(DELIVERIES);
    let found = deliveries.find(filter);
    let mut cursor = found.projection(state_fields()).session(&mut *session).await?;
    let mut states = HashMap::new();
    while let Some(state) = cursor.next(&mut *session).await {
        let state = state?;
        states.insert(state.key.clone(), state);
    }
    Ok(states)
}

/// What [`DeliveryState`] is read from.
pub(crate) fn state_fields() -> Document {
    doc! {
        "email": 1, "number": 1, "of": 1, "status": 1, "dueAt": 1, "queuedAt": 1, "owner": 1, "attempts": 1, "domain": 1, "recipient": 1,
        "triedAt": 1, "lastError": 1, "feedback": 1,
    }
}

/// What becomes of a delivery that was of this status.
fn status_of(next: Next, old: DeliveryStatus) -> DeliveryStatus {
    match next {
        Next::Sent => DeliveryStatus::Sent,
        Next::Failed => DeliveryStatus::Failed,
        Next::Retry { .. } if old.is_waiting() => DeliveryStatus::Deferred,
        // An order that came meanwhile stands.
        Next::Retry { .. } => old,
    }
}

fn ended_at(attempt: &Attempt) -> Timestamp {
    attempt.started_at + attempt.duration
}

fn update(node: oid::ObjectId, key: &str, settlement: &Settlement, state: &DeliveryState) -> Document {
    let Settlement { attempt, next, delay_notified, .. } = settlement;
    let status = status_of(*next, state.status);
    let mut set = doc! {
        "status": status.as_str(),
        "attempts": i64::from(state.attempts) + 1,
        "triedAt": date(ended_at(attempt)),
    };
    let mut unset = doc! { "owner": "", "claim": "" };
    if *delay_notified {
        set.insert("delayNotified", true);
    }
    if let Next::Retry { at } = next
        && status.is_waiting()
    {
        set.insert("dueAt", date(*at));
        set.insert("readyAt", date(*at));
    }
    match (rests(state.status), rests(status)) {
        (false, true) => drop(set.insert("resting", true)),
        (true, false) => drop(unset.insert("resting", "")),
        _ => {}
    }
    let texts = [
        ("lastCategory", attempt.outcome.category().map(|category| category.as_str().to_owned())),
        ("lastError", attempt.outcome.error()),
    ];
    for (name, text) in texts {
        match text {
            Some(text) => drop(set.insert(name, text)),
            None => drop(unset.insert(name, "")),
        }
    }
    doc! { "q": { "_id": key, "owner": node }, "u": { "$set": set, "$unset": unset } }
}

fn attempt(settlement: &Settlement, state: &DeliveryState) -> AttemptDocument {
    email::attempt_document(settlement.id, state.attempts.saturating_add(1), settlement.attempt.clone())
}

fn note(
    settlement: &Settlement,
    state: &DeliveryState,
    changes: &mut Changes,
    additions: &mut Additions,
    domain_errors: &mut HashMap<String, (Timestamp, String)>,
) {
    let at = ended_at(&settlement.attempt);
    match settlement.next {
        Next::Sent => additions.sent(at),
        Next::Failed => additions.failed(at),
        Next::Retry { .. } => {
            let error = settlement.attempt.outcome.error().unwrap_or_default();
            domain_errors.insert(state.domain.clone(), (at, error));
        }
    }
    changes.note_attempt(state, status_of(settlement.next, state.status), at, settlement.attempt.source_ip);
}

/// Notes why deliveries were deferred. Outside the transaction, because many nodes write the same documents; what is lost
/// in a crash is a hint for people, and the deliveries have it too.
pub(crate) async fn note_domain_errors(engine: &Engine, errors: HashMap<String, (Timestamp, String)>) {
    let domains = engine.collection::<Document>(DOMAINS);
    let notes = errors.into_iter().map(|(domain, (at, error))| {
        let filter = doc! { "_id": domain };
        let later = doc! { "$gt": ["$at", date(at)] };
        // The latest stays, whoever comes first.
        let update = vec![doc! { "$set": {
            "error": { "$cond": [later.clone(), "$error", { "$literal": error }] },
            "at": { "$cond": [later, "$at", date(at)] },
        } }];
        let domains = &domains;
        async move { engine.command(domains.update_one(filter, update).upsert(true)).await }
    });
    for result in futures_util::future::join_all(notes).await {
        if let Err(error) = result {
            tracing::debug!(%error, "why a domain is deferred was not noted");
        }
    }
}
