//! Claiming due deliveries.
//!
//! A claim is planned ([`plan`]), then given to the node by a conditional update ([`parts`]), which leaves out what another node
//! took meanwhile. What it got it reads back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mongodb::bson::{DateTime, Document, doc, oid};
use postrider_core::{Envelope, Recipient, ReversePath};
use postrider_store::{ClaimRequest, Claimed, ClaimedDelivery, ClaimedEmail, Membership, StoreError};

use crate::codes::{address, date, id, oid, timestamp};
use crate::documents::DeliveryDocument;
use crate::engine::Engine;
use crate::failure::closed;
use crate::files::collect;
use crate::guard::{Claim, Guarded};
use crate::nodes;
use crate::parts;
use crate::plan;

type Result<T> = std::result::Result<T, StoreError>;

/// Before all times.
pub(crate) const BEGINNING: DateTime = DateTime::from_millis(0);

/// All that can be claimed, now or later: put so that the index `claimable` serves it.
pub(crate) fn claimable() -> Document {
    doc! { "domain": { "$gte": "" }, "readyAt": { "$gte": BEGINNING } }
}

/// Where claims of this process are on their way around all domains. One claim at a time: two would want the same.
#[derive(Debug, Default)]
pub(crate) struct Walk(tokio::sync::Mutex<String>);

pub(crate) async fn claim(engine: &Arc<Engine>, walk: &Walk, request: ClaimRequest) -> Result<Guarded<Claimed>> {
    let mut cursor = walk.0.lock().await;
    if engine.is_closed() {
        return Err(closed());
    }
    let nothing = |more| Guarded::new(Claimed { emails: Vec::new(), more }, None, engine);
    let registered = engine.registered(request.node);
    if registered.is_none() || !nodes::is_registered(engine, request.node).await? {
        tracing::warn!(queue.node = %request.node, "a node without a lease asked for deliveries");
        return Ok(nothing(false));
    }
    let membership = registered.map_or(Membership::ALONE, |registered| registered.membership);
    let plan = plan::plan(engine, &request, membership, &cursor).await?;
    cursor.clone_from(&plan.cursor);
    if plan.keys.is_empty() {
        return Ok(nothing(plan.more));
    }
    let claim = Claim { name: oid::ObjectId::new(), keys: plan.keys };
    match take(engine, &request, &claim, plan.more).await {
        Ok(claimed) => Ok(Guarded::new(claimed, Some(claim), engine)),
        Err(error) => {
            engine.doubt(claim);
            Err(error)
        }
    }
}

/// Gives the planned deliveries to the node, and reads back which it got.
async fn take(engine: &Engine, request: &ClaimRequest, claim: &Claim, more: bool) -> Result<Claimed> {
    let deliveries = engine.deliveries();
    let node = oid(request.node);
    let filter = doc! { "readyAt": { "$gte": BEGINNING, "$lte": date(request.now) } };
    let update = doc! { "$set": { "owner": node, "claim": claim.name }, "$unset": { "readyAt": "" } };
    let patience = engine.options.answer_timeout / 4;
    let taken = parts::update(engine, &claim.keys, &filter, update.into(), patience).await? as usize;
    let missed = claim.keys.len().saturating_sub(taken);
    engine.claim_conflicts.fetch_add(missed as u64, Ordering::Relaxed);
    tracing::debug!(queue.claimed = taken, queue.missed = missed, "claimed");
    let mut claimed = Claimed { emails: Vec::new(), more: more || missed > 0 };
    if taken == 0 {
        return Ok(claimed);
    }
    let got = deliveries.find(doc! { "_id": { "$in": &claim.keys }, "claim": claim.name });
    let got: Vec<DeliveryDocument> = engine.call(collect(got)).await?;
    let mut by_key: HashMap<String, DeliveryDocument> =
        got.into_iter().map(|delivery| (delivery.key.clone(), delivery)).collect();
    let mut places: HashMap<oid::ObjectId, usize> = HashMap::new();
    for delivery in claim.keys.iter().filter_map(|key| by_key.remove(key)) {
        let place = match places.get(&delivery.email) {
            Some(&place) => place,
            None => {
                places.insert(delivery.email, claimed.emails.len());
                claimed.emails.push(claimed_email(&delivery)?);
                claimed.emails.len() - 1
            }
        };
        if let Some(email) = claimed.emails.get_mut(place) {
            email.deliveries.push(claimed_delivery(delivery)?);
        }
    }
    Ok(claimed)
}

fn claimed_email(delivery: &DeliveryDocument) -> Result<ClaimedEmail> {
    Ok(ClaimedEmail {
        id: id(delivery.email),
        created_at: timestamp(delivery.created_at),
        envelope: envelope(delivery.envelope.clone(), &delivery.sender)?,
        instructions: delivery.instructions.clone().unwrap_or_default(),
        message_id: delivery.message_id.clone(),
        subject: delivery.subject.clone(),
        size: u64::try_from(delivery.size).unwrap_or(0),
        is_8bit: delivery.is_8bit,
        deliveries: Vec::new(),
    })
}

fn claimed_delivery(delivery: DeliveryDocument) -> Result<ClaimedDelivery> {
    Ok(ClaimedDelivery {
        number: delivery.number,
        recipient: match delivery.parameters {
            Some(recipient) => recipient,
            None => Recipient::new(address(&delivery.recipient)?),
        },
        queued_at: timestamp(delivery.queued_at),
        attempts: delivery.attempts,
        last_category: delivery.last_category,
        delay_notified: delivery.delay_notified,
    })
}

/// The envelope of an e-mail's or delivery's document.
pub(crate) fn envelope(told: Option<Envelope>, sender: &str) -> Result<Envelope> {
    match told {
        Some(envelope) => Ok(envelope),
        None if sender.is_empty() => Ok(Envelope::default()),
        None => Ok(Envelope { reverse_path: ReversePath(Some(address(sender)?)), ..Envelope::default() }),
    }
}
