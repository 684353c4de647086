//! From an attempt to what the store keeps of it: sent, tried again when, failed, and who is told.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::delivery::Exchange;
use postrider_core::dsn::ReportKind;
use postrider_core::{Attempt, Category, Outcome, Reply, SuppressionReason, Timestamp, bounce};
use postrider_store::{ClaimedDelivery, DeliveryId, NewEmail, Next, Settle, Settlement, Suppression};
use tracing::{error, info, warn};

use super::worker::attempts_alike;
use super::{Job, Queue, Settling};
use crate::deliver::report::{self, Addressing, Reported};
use crate::directory::Home;

/// Between tries to hand an outcome to a store that does not take it.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(1);

impl Queue {
    /// Records what came of a job, in the background: the worker goes on with its next message. The claims are held, and
    /// count, until the store has it.
    ///
    /// `peer_reports`: the other side knows DSN, so that the duty to tell of a success has passed to it.
    pub(super) fn settle(self: &Arc<Self>, job: Job, attempts: Vec<(usize, Attempt)>, peer_reports: bool) {
        let settling = Settling::begin(self);
        let queue = self.clone();
        tokio::spawn(async move {
            let _settling = settling;
            queue.record(&job, attempts, peer_reports).await;
            queue.forget(&job);
        });
    }

    /// Settles deliveries for which there is no way.
    pub(super) fn settle_unrouted(self: &Arc<Self>, job: Job, outcome: Outcome) {
        let attempts = attempts_alike(self, &job, outcome);
        self.settle(job, attempts, false);
    }

    async fn record(&self, job: &Job, attempts: Vec<(usize, Attempt)>, peer_reports: bool) {
        let settle = self.settlement(job, attempts, peer_reports).await;
        let recipients = settle.settlements.len();
        let has_notifications = !settle.notifications.is_empty();
        let events = settle.settlements.iter().filter_map(|settlement| settlement.event.as_ref());
        let has_calls = events.chain(settle.notifications.iter().flat_map(|notification| &notification.events));
        let has_calls = has_calls.into_iter().any(|event| !event.calls.is_empty());
        loop {
            match self.store.settle(job.node, settle.clone()).await {
                Ok(recorded) if recorded < recipients => {
                    warn!(email = %job.email.id, "the claim had lapsed, or the e-mail was deleted: an outcome is not recorded");
                    self.remember(settle.settlements, peer_reports);
                    break;
                }
                Ok(_) => break,
                Err(error) if !self.is_current(job.node) => {
                    error!(email = %job.email.id, %error, "an outcome could not be recorded before the claim was lost");
                    self.remember(settle.settlements, peer_reports);
                    break;
                }
                // Whatever happens, what was sent must not be sent again: the outcome waits until the store takes it.
                Err(error) => self.store_failed("an outcome cannot be recorded yet", &error),
            }
            self.delivery.clock.sleep(STORE_RETRY).await;
        }
        if has_notifications {
            self.kick();
        }
        if has_calls {
            self.options.webhooks.kick();
        }
    }

    /// Decides what follows each attempt, and composes the notifications.
    async fn settlement(&self, job: &Job, attempts: Vec<(usize, Attempt)>, peer_reports: bool) -> Settle {
        let now = self.now();
        // The same for all recipients of a message, so that they share the next transaction too.
        let random = crate::random_fraction();
        let mut settlements = Vec::with_capacity(attempts.len());
        let mut reported: Vec<(ReportKind, Reported<'_>)> = Vec::new();
        let mut suppressions = Vec::new();
        for (index, mut attempt) in attempts {
            let delivery = &job.email.deliveries[index];
            let next = self.next(self.expires_at(job, delivery), &mut attempt, now, random);
            log_outcome(job, delivery, &attempt, next);
            self.options.stats.attempted(delivery, &attempt, next, now);
            self.note_recent(&delivery.recipient.address.domain(), &attempt, next, now);
            let report = self.report_kind(job, delivery, next, peer_reports, now);
            if let Some(kind) = report {
                let retry_until = matches!(next, Next::Retry { .. }).then(|| self.expires_at(job, delivery));
                reported.push((kind, Reported { delivery, attempt: attempt.clone(), retry_until }));
            }
            if self.options.suppressions.lists_bounces()
                && let Some(reply) = hard_bounce(&attempt, job.deliveries.len())
            {
                let (address, text) = (delivery.recipient.address.clone(), reply.to_string());
                let reason = SuppressionReason::HardBounce;
                suppressions.push(Suppression::new(address, reason, Some(job.email.id), Some(&text), now));
            }
            let event = self.options.webhooks.settled(&job.email, delivery, &attempt, next);
            settlements.push(Settlement {
                id: DeliveryId { email: job.email.id, number: delivery.number },
                attempt,
                next,
                delay_notified: delivery.delay_notified || report == Some(ReportKind::Delayed),
                event: Some(event),
            });
        }
        let mut notifications =
            if reported.is_empty() { Vec::new() } else { self.notifications(job, reported, now).await };
        for notification in &mut notifications {
            notification.events = self.options.webhooks.accepted(notification);
        }
        Settle { settlements, notifications, suppressions }
    }

    /// When a delivery is given up.
    fn expires_at(&self, job: &Job, delivery: &ClaimedDelivery) -> Timestamp {
        self.options.retry.expires_at(delivery.queued_at, job.email.instructions.expires_at)
    }

    /// What follows an attempt. One that would be tried again too late becomes a failure.
    fn next(&self, expires_at: Timestamp, attempt: &mut Attempt, now: Timestamp, random: f64) -> Next {
        match &mut attempt.outcome {
            Outcome::Delivered { .. } => Next::Sent,
            Outcome::Failed { .. } => Next::Failed,
            Outcome::Deferred { reply, reason, .. } => {
                let at = self.options.retry.next_attempt(attempt.number, expires_at, now, random);
                if let Some(at) = at {
                    return Next::Retry { at };
                }
                let reason = format!("given up after {} attempts; the last: {reason}", attempt.number);
                attempt.outcome = Outcome::Failed { category: Category::Expired, reply: reply.take(), reason };
                Next::Failed
            }
        }
    }

    /// Whether the sender is told of this, and how (RFC 3461 section 4.1 and 5.2).
    fn report_kind(
        &self,
        job: &Job,
        delivery: &ClaimedDelivery,
        next: Next,
        peer_reports: bool,
        now: Timestamp,
    ) -> Option<ReportKind> {
        if job.email.envelope.reverse_path.is_null() {
            return None;
        }
        let recipient = &delivery.recipient;
        match next {
            Next::Failed => recipient.notifies_of_failure().then_some(ReportKind::Failed),
            Next::Sent => (recipient.notifies_of_success() && !peer_reports).then_some(ReportKind::Relayed),
            Next::Retry { .. } => {
                let is_late = now.since(delivery.queued_at) >= self.delivery.limits.delay_notice_after;
                (is_late && recipient.notifies_of_delay() && !delivery.delay_notified).then_some(ReportKind::Delayed)
            }
        }
    }

    /// One notification for each kind of news.
    async fn notifications(
        &self,
        job: &Job,
        reported: Vec<(ReportKind, Reported<'_>)>,
        now: Timestamp,
    ) -> Vec<NewEmail> {
        let original = match &job.raw {
            Some(held) => held.raw.clone(),
            None => match self.store.raw(job.email.id).await {
                Ok(message) => message.map(|message| message.relayed()).unwrap_or_default(),
                Err(error) => {
                    // The news matters more than the original that it brings back.
                    warn!(email = %job.email.id, %error, "a notification goes out without the original's header");
                    bytes::Bytes::new()
                }
            },
        };
        let home = self.home_of_sender(job).await;
        let signer = self.options.signers.of_host(&self.delivery.hostname).await;
        let addressing = Addressing { hostname: &self.delivery.hostname, home: &home, signer: signer.as_deref() };
        let mut notifications = Vec::new();
        for kind in [ReportKind::Failed, ReportKind::Delayed, ReportKind::Relayed] {
            let of_kind: Vec<&Reported<'_>> = reported.iter().filter(|(k, _)| *k == kind).map(|(_, r)| r).collect();
            if !of_kind.is_empty() {
                // A notification that cannot be composed must not keep the outcome from being recorded.
                let composed = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    report::compose(kind, &job.email, &of_kind, &original, &addressing, now)
                }));
                match composed {
                    Ok(notification) => notifications.extend(notification),
                    Err(_) => error!(email = %job.email.id, "a notification could not be composed; nobody is told"),
                }
            }
        }
        notifications
    }

    /// Where the sender's notifications go. The outcome waits for the store in any case, so this does too.
    async fn home_of_sender(&self, job: &Job) -> Home {
        let Some(sender) = &job.email.envelope.reverse_path.0 else { return Home::Elsewhere };
        loop {
            match self.options.recipients.home(sender).await {
                Ok(home) => return home,
                // Then nothing of this will be recorded.
                Err(_) if !self.is_current(job.node) => return Home::Elsewhere,
                Err(error) => self.store_failed("a sender cannot be looked up yet", &error),
            }
            self.delivery.clock.sleep(STORE_RETRY).await;
        }
    }
}

/// The reply by which a mailbox is known not to be there, ever. One to the message may be about another of its recipients, and
/// one to MAIL is about the sender.
fn hard_bounce(attempt: &Attempt, recipients: usize) -> Option<&Reply> {
    let Outcome::Failed { reply: Some(reply), .. } = &attempt.outcome else { return None };
    let is_of_recipient = |exchange: &Exchange| match exchange.command.as_str() {
        "RCPT" => true,
        "." => recipients == 1,
        _ => false,
    };
    let is_sure = attempt.exchanges.iter().any(|exchange| exchange.reply == *reply && is_of_recipient(exchange));
    (is_sure && bounce::classify_reply(reply).is_hard_bounce).then_some(reply)
}

fn log_outcome(job: &Job, delivery: &ClaimedDelivery, attempt: &Attempt, next: Next) {
    let (email, recipient, number) = (job.email.id, &delivery.recipient.address, attempt.number);
    let mx = attempt.mx.as_deref().unwrap_or("-");
    match (&attempt.outcome, next) {
        (Outcome::Delivered { reply }, _) => info!(%email, %recipient, attempt = number, mx, %reply, "delivered"),
        (outcome, Next::Retry { at }) => {
            let reason = outcome.error().unwrap_or_default();
            info!(%email, %recipient, attempt = number, mx, retry_at = %at, reason, "deferred");
        }
        (outcome, _) => {
            let reason = outcome.error().unwrap_or_default();
            info!(%email, %recipient, attempt = number, mx, reason, "failed for good");
        }
    }
}
