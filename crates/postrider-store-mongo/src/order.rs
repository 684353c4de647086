//! Orders on many deliveries at once.
//!
//! First the keys of the deliveries that an order may be for are listed; then it is carried out in parts, each a transaction
//! that looks again at what it changes.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;
use postrider_core::{DeliveryStatus, Timestamp};
use postrider_store::{Change, DeliveryId, NodeId, Order, Ordered, Selection, StoreError};

use crate::changes::Changes;
use crate::claim::claimable;
use crate::codes::{date, id, key_range, oid};
use crate::counters::{Additions, Stripe, number, update_all};
use crate::documents::DeliveryState;
use crate::engine::{Engine, Work};
use crate::failure::{Failure, store_error};
use crate::files::collect;
use crate::schema::DELIVERIES;
use crate::settle::state_fields;

type Result<T> = std::result::Result<T, StoreError>;

/// Deliveries in one part.
const PART_DELIVERIES: usize = 500;

pub(crate) async fn order(engine: &Engine, selection: &Selection, order: Order, now: Timestamp) -> Result<Ordered> {
    let keys = select(engine, selection, order).await?;
    let mut ordered = Ordered::default();
    for keys in keys.chunks(PART_DELIVERIES) {
        let done = engine.transaction(&mut Part { keys, order, now }).await.map_err(Failure::into_error)?;
        ordered.add(done.ordered);
        if done.is_of_owned {
            engine.notices.tell(Change::Orders);
        }
    }
    if ordered.changed > 0 && matches!(order, Order::Retry | Order::Release) {
        engine.notices.tell(Change::Queue);
    }
    Ok(ordered)
}

/// What a node holds and is not to send any more.
pub(crate) async fn recalled(engine: &Engine, node: NodeId) -> Result<Vec<DeliveryId>> {
    let resting = [DeliveryStatus::Held, DeliveryStatus::Failed, DeliveryStatus::Cancelled].map(DeliveryStatus::as_str);
    let filter = doc! { "owner": oid(node), "status": { "$in": resting.to_vec() } };
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let find = deliveries.find(filter).projection(doc! { "email": 1, "number": 1 }).hint(Hint::Name("owned".into()));
    let found = engine.call(collect(find)).await?;
    let delivery = |found: &Document| {
        let email = id(found.get_object_id("email").ok()?);
        Some(DeliveryId { email, number: u32::try_from(number(found, "number")).ok()? })
    };
    Ok(found.iter().filter_map(delivery).collect())
}

/// The statuses that an order changes something of.
fn applies_to(order: Order) -> &'static [DeliveryStatus] {
    use DeliveryStatus::{Cancelled, Deferred, Failed, Held, Queued};
    match order {
        Order::Retry => &[Queued, Deferred, Failed, Cancelled],
        Order::Hold => &[Queued, Deferred],
        Order::Release => &[Held],
        Order::Cancel => &[Queued, Deferred, Held],
    }
}

/// The keys of the deliveries of a selection that the order could change.
async fn select(engine: &Engine, selection: &Selection, order: Order) -> Result<Vec<String>> {
    let statuses = applies_to(order).iter().copied();
    let statuses: Vec<_> = statuses.filter(|status| selection.status.is_none_or(|only| only == *status)).collect();
    if statuses.is_empty() {
        return Ok(Vec::new());
    }
    let mut keys = Vec::new();
    for filter in filters(selection, &statuses) {
        let deliveries = engine.collection::<Document>(DELIVERIES);
        let find = deliveries.find(filter).projection(doc! { "_id": 1, "sender": 1 });
        let select = async {
            let mut cursor = find.await?;
            while let Some(delivery) = cursor.try_next().await? {
                let Ok(key) = delivery.get_str("_id") else { continue };
                let sender = delivery.get_str("sender").unwrap_or_default();
                if selection.sender.as_ref().is_none_or(|wanted| sender.eq_ignore_ascii_case(wanted)) {
                    keys.push(key.to_owned());
                }
            }
            Ok(())
        };
        engine.select(async { select.await.map_err(|error: mongodb::error::Error| store_error(&error)) }).await?;
    }
    // An e-mail may have been named twice.
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// Queries that together find the selection, each by an index that holds only what moves or rests: what is sent is most of a
/// database, and no order is for it.
pub(crate) fn filters(selection: &Selection, statuses: &[DeliveryStatus]) -> Vec<Document> {
    let (waiting, resting): (Vec<DeliveryStatus>, Vec<_>) = statuses.iter().partition(|status| status.is_waiting());
    let texts = |statuses: &[DeliveryStatus]| statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>();
    let mut filters = Vec::new();
    if !selection.emails.is_empty() {
        for email in &selection.emails {
            filters.push(doc! { "_id": key_range(*email), "status": { "$in": texts(statuses) } });
        }
    } else {
        if !waiting.is_empty() {
            let mut claimable = claimable();
            claimable.insert("status", doc! { "$in": texts(&waiting) });
            filters.push(claimable);
            filters.push(doc! { "owner": { "$exists": true }, "status": { "$in": texts(&waiting) } });
        }
        if !resting.is_empty() {
            filters.push(doc! { "resting": true, "status": { "$in": texts(&resting) } });
        }
    }
    if let Some(domain) = &selection.recipient_domain {
        filters.iter_mut().for_each(|filter| drop(filter.insert("domain", domain.as_str())));
    }
    if let Some(tag) = &selection.tag {
        filters.iter_mut().for_each(|filter| drop(filter.insert("tags", tag.as_str())));
    }
    filters
}

struct Part<'a> {
    keys: &'a [String],
    order: Order,
    now: Timestamp,
}

/// What one part did.
#[derive(Default)]
struct Done {
    ordered: Ordered,
    /// Whether nodes hold some of what was changed.
    is_of_owned: bool,
}

/// Deliveries that an order does the same to: whether they wait, and whether a node holds them.
type Kind = (bool, bool);

impl Work for Part<'_> {
    type Output = Done;

    async fn run(
        &mut self,
        engine: &Engine,
        session: &mut ClientSession,
        stripe: Stripe,
    ) -> std::result::Result<Done, Failure> {
        let mut done = Done::default();
        let (mut changes, mut additions) = (Changes::default(), Additions::default());
        let mut by_kind: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
        let deliveries = engine.collection::<DeliveryState>(DELIVERIES);
        let find = deliveries.find(doc! { "_id": { "$in": self.keys } });
        let mut cursor = find.projection(state_fields()).session(&mut *session).await?;
        while let Some(state) = cursor.next(&mut *session).await {
            let state = state?;
            if !applies_to(self.order).contains(&state.status) {
                continue;
            }
            let (is_waiting, is_owned) = (state.status.is_waiting(), state.owner.is_some());
            let is_scheduled = state.queued_at > date(self.now);
            if self.order == Order::Retry && is_waiting && (is_owned || is_scheduled) {
                let ordered = &mut done.ordered;
                *if is_owned { &mut ordered.sending } else { &mut ordered.scheduled } += 1;
                continue;
            }
            let next = next(self.order, state.status);
            changes.note(&state, next, self.now);
            by_kind.entry((is_waiting, is_owned)).or_default().push(state.key);
            done.is_of_owned |= is_owned;
            let ordered = &mut done.ordered;
            *if is_owned && !next.is_waiting() { &mut ordered.recalled } else { &mut ordered.changed } += 1;
        }
        let updates: Vec<Document> = by_kind
            .into_iter()
            .map(|(kind, keys)| {
                doc! { "q": { "_id": { "$in": keys } }, "u": update(self.order, kind, self.now), "multi": true }
            })
            .collect();
        update_all(engine, session, DELIVERIES, updates).await?;
        changes.write(engine, session, &mut additions).await?;
        additions.write(engine, session, stripe).await?;
        Ok(done)
    }
}

/// The status that an order gives to what has this one.
fn next(order: Order, status: DeliveryStatus) -> DeliveryStatus {
    match order {
        Order::Retry if status.is_waiting() => status,
        Order::Retry | Order::Release => DeliveryStatus::Queued,
        Order::Hold => DeliveryStatus::Held,
        Order::Cancel => DeliveryStatus::Cancelled,
    }
}

/// What an order does to deliveries of a kind. What a node holds is not `readyAt` any time: nobody else may claim it.
fn update(order: Order, (is_waiting, is_owned): Kind, now: Timestamp) -> Bson {
    let now = date(now);
    match order {
        // What is due already keeps its place among what is due.
        Order::Retry if is_waiting => doc! { "$min": { "dueAt": now, "readyAt": now } }.into(),
        // What is not to be sent before a time is not sent before it for having been held or cancelled.
        Order::Retry | Order::Release => {
            let at = doc! { "$max": ["$queuedAt", now] };
            let status = DeliveryStatus::Queued.as_str();
            let mut set = doc! { "status": status, "dueAt": at.clone(), "queuedAt": at.clone() };
            if !is_owned {
                set.insert("readyAt", at);
            }
            vec![doc! { "$set": set }, doc! { "$unset": "resting" }].into()
        }
        Order::Hold | Order::Cancel => {
            let status = next(order, DeliveryStatus::Queued).as_str();
            doc! { "$set": { "status": status, "resting": true }, "$unset": { "readyAt": "" } }.into()
        }
    }
}
