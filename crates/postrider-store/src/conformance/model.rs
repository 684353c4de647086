//! The store as one would write it without a database: what the engines are compared with.

use std::collections::BTreeMap;

use postrider_core::{Address, DeliveryStatus, Domain, EmailStatus, ObjectId, Timestamp};

use crate::records::*;

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) emails: BTreeMap<ObjectId, ModelEmail>,
}

#[derive(Debug)]
pub(super) struct ModelEmail {
    pub(super) created_at: Timestamp,
    pub(super) deliveries: Vec<ModelDelivery>,
}

#[derive(Debug)]
pub(super) struct ModelDelivery {
    pub(super) recipient: Address,
    pub(super) status: DeliveryStatus,
    pub(super) due_at: Timestamp,
    /// See [`ClaimedDelivery::queued_at`].
    pub(super) queued_at: Timestamp,
    pub(super) attempts: u32,
    pub(super) is_claimed: bool,
}

impl ModelEmail {
    pub(super) fn status(&self) -> EmailStatus {
        if self.deliveries.iter().any(|delivery| delivery.is_claimed) {
            return EmailStatus::Sending;
        }
        EmailStatus::of(self.deliveries.iter().map(|delivery| delivery.status))
    }
}

impl Model {
    pub(super) fn accept(&mut self, email: &NewEmail) {
        let delivery = |new: &NewDelivery| ModelDelivery {
            recipient: new.recipient.address.clone(),
            status: DeliveryStatus::Queued,
            due_at: new.due_at,
            queued_at: new.due_at,
            attempts: 0,
            is_claimed: new.claimed_by.is_some(),
        };
        let deliveries = email.deliveries.iter().map(delivery).collect();
        self.emails.insert(email.id, ModelEmail { created_at: email.created_at, deliveries });
    }

    pub(super) fn delivery(&mut self, id: DeliveryId) -> Option<&mut ModelDelivery> {
        self.emails.get_mut(&id.email)?.deliveries.get_mut(id.number as usize)
    }

    /// What is claimed now.
    pub(super) fn claimed(&self) -> Vec<DeliveryId> {
        self.all(|delivery| delivery.is_claimed)
    }

    /// What is claimed and was held or cancelled meanwhile.
    pub(super) fn recalled(&self) -> Vec<DeliveryId> {
        self.all(|delivery| delivery.is_claimed && !delivery.status.is_waiting())
    }

    /// What could be claimed at `now`.
    pub(super) fn due(&self, now: Timestamp) -> Vec<DeliveryId> {
        self.all(|delivery| !delivery.is_claimed && delivery.status.is_waiting() && delivery.due_at <= now)
    }

    pub(super) fn settle(&mut self, id: DeliveryId, next: Next) -> bool {
        let Some(delivery) = self.delivery(id).filter(|delivery| delivery.is_claimed) else { return false };
        delivery.is_claimed = false;
        delivery.attempts += 1;
        match next {
            Next::Sent => delivery.status = DeliveryStatus::Sent,
            Next::Failed => delivery.status = DeliveryStatus::Failed,
            Next::Retry { at } if delivery.status.is_waiting() => {
                (delivery.status, delivery.due_at) = (DeliveryStatus::Deferred, at);
            }
            Next::Retry { .. } => {}
        }
        true
    }

    pub(super) fn order(&mut self, selection: &Selection, order: Order, now: Timestamp) -> Ordered {
        use DeliveryStatus::{Cancelled, Deferred, Failed, Held, Queued};
        let mut ordered = Ordered::default();
        for (id, email) in &mut self.emails {
            if !selection.emails.is_empty() && !selection.emails.contains(id) {
                continue;
            }
            for delivery in &mut email.deliveries {
                let is_domain =
                    selection.recipient_domain.as_ref().is_none_or(|only| *only == delivery.recipient.domain());
                let (status, due_at) = match (order, delivery.status) {
                    _ if !is_domain || selection.status.is_some_and(|only| only != delivery.status) => continue,
                    (Order::Retry, Queued | Deferred) => (delivery.status, delivery.due_at.min(now)),
                    (Order::Retry, Failed | Cancelled) | (Order::Release, Held) => {
                        (Queued, now.max(delivery.queued_at))
                    }
                    (Order::Hold, Queued | Deferred) => (Held, delivery.due_at),
                    (Order::Cancel, Queued | Deferred | Held) => (Cancelled, delivery.due_at),
                    _ => continue,
                };
                if delivery.is_claimed && order == Order::Retry && delivery.status.is_waiting() {
                    ordered.sending += 1;
                    continue;
                }
                if order == Order::Retry && delivery.status.is_waiting() && delivery.queued_at > now {
                    ordered.scheduled += 1;
                    continue;
                }
                if status == Queued && delivery.status != Queued {
                    delivery.queued_at = due_at;
                }
                (delivery.status, delivery.due_at) = (status, due_at);
                let is_recalled = delivery.is_claimed && !status.is_waiting();
                *if is_recalled { &mut ordered.recalled } else { &mut ordered.changed } += 1;
            }
        }
        ordered
    }

    /// The numbers, but for what only events tell: rates and last errors.
    pub(super) fn stats(&self, now: Timestamp) -> QueueStats {
        let count = |status| self.emails.values().filter(|email| email.status() == status).count() as u64;
        let is_waiting = |email: &&ModelEmail| email.deliveries.iter().any(|delivery| delivery.status.is_waiting());
        // Ids are in the order of their making.
        let oldest = self.emails.values().find(is_waiting).map(|email| now.since(email.created_at).as_secs());
        QueueStats {
            queued: count(EmailStatus::Queued),
            sending: count(EmailStatus::Sending),
            deferred: count(EmailStatus::Deferred),
            sent: count(EmailStatus::Sent),
            failed: count(EmailStatus::Failed),
            held: count(EmailStatus::Held),
            cancelled: count(EmailStatus::Cancelled),
            received: count(EmailStatus::Received),
            total: self.emails.len() as u64,
            oldest_queued_seconds: oldest,
            domains: self.domains(),
            ..QueueStats::default()
        }
    }

    fn domains(&self) -> Vec<DomainStats> {
        let mut domains: BTreeMap<Domain, (u64, u64)> = BTreeMap::new();
        for delivery in self.emails.values().flat_map(|email| &email.deliveries) {
            match delivery.status {
                DeliveryStatus::Queued => domains.entry(delivery.recipient.domain()).or_default().0 += 1,
                DeliveryStatus::Deferred => domains.entry(delivery.recipient.domain()).or_default().1 += 1,
                _ => {}
            }
        }
        let stat = |(domain, (queued, deferred))| DomainStats { domain, queued, deferred, last_error: None };
        let mut domains: Vec<_> = domains.into_iter().map(stat).collect();
        domains.sort_by_key(|stat| std::cmp::Reverse(stat.queued + stat.deferred));
        domains
    }

    fn all(&self, condition: impl Fn(&ModelDelivery) -> bool) -> Vec<DeliveryId> {
        let numbered = self.emails.iter().flat_map(|(id, email)| (0..).zip(&email.deliveries).map(move |n| (*id, n)));
        let found = numbered.filter(|(_, (_, delivery))| condition(delivery));
        found.map(|(email, (number, _))| DeliveryId { email, number }).collect()
    }
}
