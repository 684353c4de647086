//! What a running server counts and measures, by name: the catalogue behind `GET /metrics`.
//!
//! Names follow Prometheus' conventions: `postrider_`, what is measured, its base unit, `_total` for what only grows. The values
//! live with whoever counts; here stands what there is, so that code and docs/metrics.md cannot tell two stories.

use std::fmt::Write as _;

pub use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    /// A sentence.
    pub help: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
}

/// What its values do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Grows from the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// Of what takes milliseconds, as a commit or a request does.
const SHORT_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Of what another host has a part in.
const LONG_SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Of what may wait for its time.
const WAIT_SECONDS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 432_000.0];

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $constant:ident = $name:literal, $kind:expr, [$($label:literal),*];)+) => {
        $($(#[doc = $help])+ pub const $constant: Metric = Metric {
            name: $name,
            help: concat!($($help),+).trim_ascii_start(),
            kind: $kind,
            labels: &[$($label),*],
        };)+

        /// All of them.
        pub const ALL: &[Metric] = &[$($constant),+];
    };
}

metrics! {
    /// 1, with the version of the program.
    BUILD_INFO = "postrider_build_info", Kind::Gauge, ["version"];
    /// Whether the store answered this scrape: 1 or 0.
    STORE_UP = "postrider_store_up", Kind::Gauge, ["engine"];
    /// How long a small read of the store took at this scrape.
    STORE_READ_SECONDS = "postrider_store_read_seconds", Kind::Gauge, [];
    /// What is stored, as far as the engine can tell.
    STORE_SIZE_BYTES = "postrider_store_size_bytes", Kind::Gauge, [];
    /// What the disk that the embedded store is on has left.
    STORE_FREE_BYTES = "postrider_store_free_bytes", Kind::Gauge, [];
    /// E-mails by status, each once. It is the store's: the same at all nodes.
    QUEUE_EMAILS = "postrider_queue_emails", Kind::Gauge, ["status"];
    /// Age of the oldest e-mail that is queued, sending or deferred; 0 where there is none. The same at all nodes.
    QUEUE_OLDEST_SECONDS = "postrider_queue_oldest_seconds", Kind::Gauge, [];
    /// Whether a listener accepts connections: 1 or 0.
    LISTENER_UP = "postrider_listener_up", Kind::Gauge, ["listener"];
    /// Sessions that are open.
    SESSIONS_OPEN = "postrider_sessions_open", Kind::Gauge, ["listener"];
    /// Sessions that were begun.
    SESSIONS = "postrider_sessions_total", Kind::Counter, ["listener"];
    /// Connections that were turned away at once: too many, or from where nobody may connect.
    SESSIONS_REFUSED = "postrider_sessions_refused_total", Kind::Counter, ["listener"];
    /// TLS handshakes of clients, `succeeded` or `failed`.
    TLS_HANDSHAKES = "postrider_tls_handshakes_total", Kind::Counter, ["result"];
    /// Attempts to log in by SMTP, LMTP or IMAP, `succeeded` or `failed`.
    LOGINS = "postrider_logins_total", Kind::Counter, ["result"];
    /// Bytes of messages that came by SMTP and LMTP.
    RECEIVED_BYTES = "postrider_received_bytes_total", Kind::Counter, [];
    /// Recipients that were refused.
    RECIPIENTS_REFUSED = "postrider_recipients_refused_total", Kind::Counter, [];
    /// Messages that came whole by SMTP and LMTP, `accepted` or `refused`.
    MESSAGES = "postrider_messages_total", Kind::Counter, ["result"];
    /// How long it took until an accepted message was on disk.
    ACCEPT_SECONDS = "postrider_accept_seconds", Kind::Histogram(SHORT_SECONDS), [];
    /// Bytes of messages that are held in memory.
    MESSAGE_MEMORY_BYTES = "postrider_message_memory_bytes", Kind::Gauge, [];
    /// Attempts to deliver to a recipient, by what came of them: `delivered`, `deferred` or `failed`, the latter two with the category
    /// that webhooks and the API tell.
    ATTEMPTS = "postrider_delivery_attempts_total", Kind::Counter, ["result", "category"];
    /// How long attempts took.
    ATTEMPT_SECONDS = "postrider_delivery_attempt_seconds", Kind::Histogram(LONG_SECONDS), ["result"];
    /// From when a delivery was queued until the other side had taken it.
    DELIVERY_SECONDS = "postrider_delivery_seconds", Kind::Histogram(WAIT_SECONDS), [];
    /// Attempts by who chose their source address: the `origin` of the decision on record.
    SOURCE_DECISIONS = "postrider_source_ip_decisions_total", Kind::Counter, ["origin"];
    /// How long the choice of a source address took.
    SOURCE_DECISION_SECONDS = "postrider_source_ip_decision_seconds", Kind::Histogram(SHORT_SECONDS), [];
    /// Whether the source-IP service is left alone because it failed: 1 or 0.
    SOURCE_BREAKER_OPEN = "postrider_source_ip_breaker_open", Kind::Gauge, [];
    /// Calls to webhook endpoints, by what came of them: `delivered`, `failed` (made again later) or `given-up`.
    WEBHOOK_CALLS = "postrider_webhook_calls_total", Kind::Counter, ["result"];
    /// How long calls to webhook endpoints took.
    WEBHOOK_CALL_SECONDS = "postrider_webhook_call_seconds", Kind::Histogram(LONG_SECONDS), [];
    /// Requests to the API and the page, by route and status; without a route where there is none.
    HTTP_REQUESTS = "postrider_http_requests_total", Kind::Counter, ["method", "route", "status"];
    /// How long these requests took until the answer began.
    HTTP_REQUEST_SECONDS = "postrider_http_request_seconds", Kind::Histogram(SHORT_SECONDS), ["method", "route"];
    /// Clients that follow `/api/events` or `/api/log/follow`.
    EVENT_STREAMS_OPEN = "postrider_event_streams_open", Kind::Gauge, [];
}

/// What a registry expects of names, and the catalogue's test makes sure of.
const VALID: &str = "names in the catalogue are valid, and each is registered once";

impl Metric {
    /// Its counters, one for each combination of labels.
    ///
    /// # Panics
    ///
    /// If the registry has it already: as do the other constructors.
    pub fn counters(&self, registry: &Registry) -> IntCounterVec {
        let counters = IntCounterVec::new(Opts::new(self.name, self.help), self.labels).expect(VALID);
        registry.register(Box::new(counters.clone())).expect(VALID);
        counters
    }

    /// Its gauges.
    pub fn gauges(&self, registry: &Registry) -> IntGaugeVec {
        let gauges = IntGaugeVec::new(Opts::new(self.name, self.help), self.labels).expect(VALID);
        registry.register(Box::new(gauges.clone())).expect(VALID);
        gauges
    }

    /// A gauge of fractions, without labels.
    pub fn fractional_gauge(&self, registry: &Registry) -> prometheus::Gauge {
        let gauge = prometheus::Gauge::new(self.name, self.help).expect(VALID);
        registry.register(Box::new(gauge.clone())).expect(VALID);
        gauge
    }

    /// Its histograms.
    pub fn histograms(&self, registry: &Registry) -> HistogramVec {
        let buckets = if let Kind::Histogram(bounds) = self.kind { bounds.to_vec() } else { Vec::new() };
        let options = HistogramOpts::new(self.name, self.help).buckets(buckets);
        let histograms = HistogramVec::new(options, self.labels).expect(VALID);
        registry.register(Box::new(histograms.clone())).expect(VALID);
        histograms
    }
}

/// docs/metrics.md.
pub fn documentation() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         `GET /metrics` is for [Prometheus](https://prometheus.io): in its text format, for tokens with the scope `read`. Give the\n\
         scraper the token as `authorization` in its configuration. Each node of a cluster tells its own counts; what is the store's\n\
         is the same at all of them. Labels have few values: no address, domain or e-mail is ever one.\n\n\
         This file is generated; `cargo xtask docs` writes it.\n\n\
         | Name | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(text, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help);
    }
    text.push_str(
        "\nOn Linux there are also `process_*` of the process: CPU time, memory, open files, threads and the time of its start.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_keep_to_the_conventions() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            assert!(names.insert(metric.name), "{} is there twice", metric.name);
            assert!(metric.name.starts_with("postrider_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            let is_histogram = matches!(metric.kind, Kind::Histogram(_));
            assert!(!is_histogram || metric.name.ends_with("_seconds"), "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains("  "), "{}", metric.help);
        }
    }

    #[test]
    fn all_can_be_registered() {
        let registry = Registry::new();
        for metric in ALL {
            match metric.kind {
                Kind::Counter => drop(metric.counters(&registry)),
                Kind::Gauge => drop(metric.gauges(&registry)),
                Kind::Histogram(_) => drop(metric.histograms(&registry)),
            }
        }
    }

    #[test]
    fn the_kept_list_is_current() {
        let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md"));
        assert!(
            kept.is_ok_and(|kept| kept == documentation()),
            "docs/metrics.md is not current; run `cargo xtask docs`"
        );
    }
}
