//! Many operations in an order that nobody thought of, compared with a model after each few.

use std::collections::HashSet;
use std::sync::Arc;

use postrider_core::{DeliveryStatus, EmailStatus};

use super::Harness;
use super::fixtures::*;
use super::model::Model;
use crate::records::*;
use crate::traits::Store;

const OPERATIONS: i64 = 1_500;
const DOMAINS: &[&str] = &["one.example", "two.example", "three.example"];

struct Run {
    store: Arc<dyn Store>,
    node: NodeId,
    model: Model,
    numbers: Numbers,
    /// The statuses that e-mails had when they were compared.
    seen: HashSet<EmailStatus>,
}

pub(super) async fn random_operations_agree_with_a_model(harness: &dyn Harness) {
    let (store, node) = open_with_node(harness).await;
    let mut run = Run { store, node, model: Model::default(), numbers: Numbers(20), seen: HashSet::new() };
    for step in 0..OPERATIONS {
        run.step(step).await;
        if step % 25 == 0 {
            run.compare(step).await;
        }
    }
    run.compare(OPERATIONS).await;
    assert_eq!(run.seen.len(), EmailStatus::ALL.len(), "the run came to {:?} only: choose other numbers", run.seen);
}

impl Run {
    async fn step(&mut self, now: i64) {
        match self.numbers.below(20) {
            0..=5 => self.accept(now).await,
            6..=8 => self.claim(now).await,
            9..=14 => self.settle(now).await,
            15 => self.release().await,
            16 => self.delete().await,
            17 if self.numbers.below(10) == 0 => {
                self.store.leave(self.node).await.unwrap();
                self.store.renew(Renewal::new(self.node, at(now), LEASE)).await.unwrap();
                for id in self.model.claimed() {
                    self.model.delivery(id).unwrap().is_claimed = false;
                }
            }
            _ => self.order(now).await,
        }
    }

    async fn accept(&mut self, now: i64) {
        let count = self.numbers.below(4);
        let recipients: Vec<_> = (0..count).map(|n| format!("r{n}@{}", self.numbers.pick(DOMAINS))).collect();
        let mut new = email(now, &recipients.iter().map(String::as_str).collect::<Vec<_>>());
        for delivery in &mut new.deliveries {
            delivery.claimed_by = (self.numbers.below(3) == 0).then_some(self.node);
            delivery.due_at = at(now + self.numbers.below(60) as i64);
        }
        self.model.accept(&new);
        self.store.accept(new).await.unwrap();
    }

    async fn claim(&mut self, now: i64) {
        let due = self.model.due(at(now));
        let limit = self.numbers.below(12);
        let claimed = self.store.claim(request(self.node, now, limit)).await.unwrap();
        let ids = ids(&claimed);
        assert_eq!(ids.len(), due.len().min(limit));
        assert_eq!(claimed.more, due.len() > limit);
        for id in ids {
            assert!(due.contains(&id), "{id:?} was not to be claimed");
            let delivery = self.model.delivery(id).unwrap();
            assert!(!delivery.is_claimed, "{id:?} came twice");
            delivery.is_claimed = true;
        }
    }

    async fn settle(&mut self, now: i64) {
        let claimed = self.model.claimed();
        let mut settle = Settle::default();
        for _ in 0..self.numbers.below(4) {
            let Some(&id) = claimed.get(self.numbers.below(claimed.len() + 1)) else { continue };
            let attempts = self.model.delivery(id).unwrap().attempts;
            let retry = Next::Retry { at: at(now + 1 + self.numbers.below(30) as i64) };
            let next = self.numbers.pick(&[Next::Sent, Next::Sent, Next::Failed, retry]);
            settle.settlements.push(settlement(id, attempts + 1, now, next));
        }
        if self.numbers.below(4) == 0 {
            settle.notifications.push(email(now, &["sender@one.example"]));
        }
        let mut expected = 0;
        for settlement in &settle.settlements {
            expected += usize::from(self.model.settle(settlement.id, settlement.next));
        }
        if expected > 0 {
            settle.notifications.iter().for_each(|email| self.model.accept(email));
        }
        assert_eq!(self.store.settle(self.node, settle).await.unwrap(), expected);
    }

    async fn release(&mut self) {
        let mut claimed = self.model.claimed();
        claimed.truncate(self.numbers.below(3));
        for &id in &claimed {
            self.model.delivery(id).unwrap().is_claimed = false;
        }
        self.store.release(self.node, claimed).await.unwrap();
    }

    async fn delete(&mut self) {
        let ids: Vec<_> = self.model.emails.keys().copied().collect();
        if let Some(id) = ids.get(self.numbers.below(ids.len() + 1)) {
            self.model.emails.remove(id);
            assert!(self.store.delete(*id).await.unwrap());
        }
    }

    async fn order(&mut self, now: i64) {
        let ids: Vec<_> = self.model.emails.keys().copied().collect();
        let mut selection = Selection::default();
        if self.numbers.below(8) > 0 {
            selection.emails = (0..3).filter_map(|_| ids.get(self.numbers.below(ids.len() + 1)).copied()).collect();
        }
        if self.numbers.below(3) == 0 {
            selection.recipient_domain = Some(domain(self.numbers.pick(DOMAINS)));
        }
        if self.numbers.below(3) == 0 {
            selection.status = Some(self.numbers.pick(DeliveryStatus::ALL));
        }
        let order = self.numbers.pick(&[Order::Retry, Order::Hold, Order::Release, Order::Cancel]);
        let expected = self.model.order(&selection, order, at(now));
        let ordered = self.store.order(selection.clone(), order, at(now)).await.unwrap();
        assert_eq!(ordered, expected, "{order:?} on {selection:?}");
    }

    async fn compare(&mut self, now: i64) {
        let mut recalled = self.store.recalled(self.node).await.unwrap();
        recalled.sort_unstable();
        assert_eq!(recalled, self.model.recalled(), "after {now} operations");
        let expected = self.model.stats(at(now));
        let mut stats = self.store.queue_stats(at(now)).await.unwrap();
        (stats.sent_last_minute, stats.failed_last_minute) = (0, 0);
        stats.domains.iter_mut().for_each(|stat| stat.last_error = None);
        assert_eq!(stats, expected, "after {now} operations");
        self.seen.extend(self.model.emails.values().map(|email| email.status()));
        for &status in EmailStatus::ALL {
            let matching = self.model.emails.iter().rev().filter(|(_, email)| email.status() == status);
            let expected: Vec<_> = matching.map(|(id, _)| *id).collect();
            let filter = EmailFilter { status: Some(status), ..EmailFilter::default() };
            assert_eq!(listed(&self.store, filter).await, expected, "{status} after {now} operations");
        }
        let id = *self.model.emails.keys().nth(self.numbers.below(self.model.emails.len())).unwrap();
        let shown = detail(&self.store, id).await;
        let deliveries = &self.model.emails[&id].deliveries;
        assert_eq!(shown.deliveries.len(), deliveries.len());
        for (shown, expected) in shown.deliveries.iter().zip(deliveries) {
            let is_waiting = expected.status.is_waiting() && !expected.is_claimed;
            assert_eq!(shown.attempts, expected.attempts);
            let is_ordered = expected.is_claimed && !expected.status.is_waiting();
            assert_eq!(shown.ordered, is_ordered.then_some(expected.status));
            assert_eq!(shown.next_attempt_at, is_waiting.then_some(expected.due_at));
        }
    }
}
