//! What this process has done since its start, counted: for `/metrics`, in part for `/api/smtp/stats`, and for the history.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::metrics;
use postrider_core::ports::SmtpStats;
use postrider_core::{Attempt, Category, Timestamp};
use postrider_store::{CallNext, ClaimedDelivery, Next};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::history::Tally;

/// The values of labels.
const SUCCEEDED: &str = "succeeded";
const FAILED: &str = "failed";
const DELIVERED: &str = "delivered";
const DEFERRED: &str = "deferred";
const GIVEN_UP: &str = "given-up";

#[derive(Debug)]
pub(crate) struct Stats {
    registry: Registry,
    pub(crate) tally: Arc<Tally>,
    sessions_open: IntGaugeVec,
    sessions_total: IntCounterVec,
    sessions_refused: IntCounterVec,
    messages_accepted: IntCounter,
    messages_refused: IntCounter,
    pub(crate) bytes_received: IntCounter,
    pub(crate) recipients_refused: IntCounter,
    pub(crate) auth_successes: IntCounter,
    pub(crate) auth_failures: IntCounter,
    pub(crate) tls_handshakes: IntCounter,
    pub(crate) tls_failures: IntCounter,
    accept_seconds: Histogram,
    memory_bytes: IntGauge,
    attempts: IntCounterVec,
    attempt_seconds: HistogramVec,
    delivery_seconds: Histogram,
    source_decisions: IntCounterVec,
    source_decision_seconds: Histogram,
    source_breaker_open: IntGauge,
    webhook_calls: IntCounterVec,
    webhook_call_seconds: Histogram,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let one = |metric: metrics::Metric| metric.counters(&registry).with_label_values::<&str>(&[]);
        let one_gauge = |metric: metrics::Metric| metric.gauges(&registry).with_label_values::<&str>(&[]);
        let one_histogram = |metric: metrics::Metric| metric.histograms(&registry).with_label_values::<&str>(&[]);
        let messages = metrics::MESSAGES.counters(&registry);
        let logins = metrics::LOGINS.counters(&registry);
        let handshakes = metrics::TLS_HANDSHAKES.counters(&registry);
        #[cfg(target_os = "linux")]
        let _ = registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()));
        let attempts = metrics::ATTEMPTS.counters(&registry);
        let attempt_seconds = metrics::ATTEMPT_SECONDS.histograms(&registry);
        let webhook_calls = metrics::WEBHOOK_CALLS.counters(&registry);
        attempts.with_label_values(&[DELIVERED, ""]);
        for result in [DEFERRED, FAILED] {
            for category in Category::ALL {
                attempts.with_label_values(&[result, category.as_str()]);
            }
        }
        for result in [DELIVERED, DEFERRED, FAILED] {
            attempt_seconds.with_label_values(&[result]);
        }
        for result in [DELIVERED, FAILED, GIVEN_UP] {
            webhook_calls.with_label_values(&[result]);
        }
        Self {
            tally: Arc::default(),
            sessions_open: metrics::SESSIONS_OPEN.gauges(&registry),
            sessions_total: metrics::SESSIONS.counters(&registry),
            sessions_refused: metrics::SESSIONS_REFUSED.counters(&registry),
            messages_accepted: messages.with_label_values(&["accepted"]),
            messages_refused: messages.with_label_values(&["refused"]),
            bytes_received: one(metrics::RECEIVED_BYTES),
            recipients_refused: one(metrics::RECIPIENTS_REFUSED),
            auth_successes: logins.with_label_values(&[SUCCEEDED]),
            auth_failures: logins.with_label_values(&[FAILED]),
            tls_handshakes: handshakes.with_label_values(&[SUCCEEDED]),
            tls_failures: handshakes.with_label_values(&[FAILED]),
            accept_seconds: one_histogram(metrics::ACCEPT_SECONDS),
            memory_bytes: one_gauge(metrics::MESSAGE_MEMORY_BYTES),
            attempts,
            attempt_seconds,
            delivery_seconds: one_histogram(metrics::DELIVERY_SECONDS),
            source_decisions: metrics::SOURCE_DECISIONS.counters(&registry),
            source_decision_seconds: one_histogram(metrics::SOURCE_DECISION_SECONDS),
            source_breaker_open: one_gauge(metrics::SOURCE_BREAKER_OPEN),
            webhook_calls,
            webhook_call_seconds: one_histogram(metrics::WEBHOOK_CALL_SECONDS),
            registry,
        }
    }

    /// What is counted of a listener stands there from the start, so that whoever asks for a rate sees the first session, too.
    pub(crate) fn listener_opened(&self, listener: &str) {
        self.sessions_open.with_label_values(&[listener]);
        self.sessions_total.with_label_values(&[listener]);
        self.sessions_refused.with_label_values(&[listener]);
    }

    pub(crate) fn session_begun(&self, listener: &str) {
        self.sessions_open.with_label_values(&[listener]).inc();
        self.sessions_total.with_label_values(&[listener]).inc();
    }

    pub(crate) fn session_ended(&self, listener: &str) {
        self.sessions_open.with_label_values(&[listener]).dec();
    }

    pub(crate) fn session_refused(&self, listener: &str) {
        self.sessions_refused.with_label_values(&[listener]).inc();
    }

    /// A message came whole, and was kept or not.
    pub(crate) fn message_ended(&self, is_kept: bool, now: Timestamp) {
        if is_kept {
            self.messages_accepted.inc();
            self.tally.accepted(now);
        } else {
            self.messages_refused.inc();
        }
    }

    /// A message is on disk.
    pub(crate) fn kept(&self, took: Duration) {
        self.accept_seconds.observe(took.as_secs_f64());
    }

    /// An attempt has ended.
    pub(crate) fn attempted(&self, delivery: &ClaimedDelivery, attempt: &Attempt, next: Next, now: Timestamp) {
        self.tally.attempted(delivery.queued_at, attempt, next, now);
        let result = match next {
            Next::Sent => DELIVERED,
            Next::Retry { .. } => DEFERRED,
            Next::Failed => FAILED,
        };
        let category = attempt.outcome.category().map_or("", |category| category.as_str());
        self.attempts.with_label_values(&[result, category]).inc();
        self.attempt_seconds.with_label_values(&[result]).observe(attempt.duration.as_secs_f64());
        if next == Next::Sent {
            self.delivery_seconds.observe(now.since(delivery.queued_at).as_secs_f64());
        }
        if let Some(decision) = &attempt.ip_selection {
            self.source_decisions.with_label_values(&[decision.origin.as_str()]).inc();
            self.source_decision_seconds.observe(decision.latency.as_secs_f64());
        }
    }

    /// A call to a webhook endpoint has ended.
    pub(crate) fn called(&self, next: CallNext, took: Duration) {
        let result = match next {
            CallNext::Delivered => DELIVERED,
            CallNext::Retry { .. } => FAILED,
            CallNext::GivenUp => GIVEN_UP,
        };
        self.webhook_calls.with_label_values(&[result]).inc();
        self.webhook_call_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn snapshot(&self, memory_bytes: usize) -> SmtpStats {
        SmtpStats {
            sessions_open: sum(&self.sessions_open),
            sessions_total: sum(&self.sessions_total),
            sessions_refused: sum(&self.sessions_refused),
            messages_accepted: self.messages_accepted.get(),
            messages_refused: self.messages_refused.get(),
            bytes_received: self.bytes_received.get(),
            recipients_refused: self.recipients_refused.get(),
            auth_successes: self.auth_successes.get(),
            auth_failures: self.auth_failures.get(),
            tls_handshakes: self.tls_handshakes.get(),
            tls_failures: self.tls_failures.get(),
            memory_bytes: memory_bytes as u64,
        }
    }

    /// Everything, with what is looked up now.
    pub(crate) fn gather(&self, memory_bytes: usize, is_breaker_open: bool) -> Vec<MetricFamily> {
        self.memory_bytes.set(i64::try_from(memory_bytes).unwrap_or(i64::MAX));
        self.source_breaker_open.set(i64::from(is_breaker_open));
        self.registry.gather()
    }
}

/// Over all values of the labels.
fn sum(metric: &impl prometheus::core::Collector) -> u64 {
    let families = metric.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    metrics.map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum::<f64>() as u64
}
