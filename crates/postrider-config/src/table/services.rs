//! The table: the HTTP services that Postrider calls. Their values are checked, and kept nowhere yet.

use std::net::IpAddr;

use super::{Kind, Setting};
use crate::mask::Secrecy;
use crate::value;

pub(super) const WEBHOOK: &[Setting] = &[
    Setting::new("WEBHOOK_ENABLED", "false", Kind::Switch(|_, _| ()), "Whether outcomes are told by webhook.").later(),
    Setting::new("WEBHOOK_SUCCESS_URL", "", HTTP_URL, "Called when a delivery succeeded.")
        .secrecy(Secrecy::Url)
        .later(),
    Setting::new("WEBHOOK_FAILURE_URL", "", HTTP_URL, "Called when a delivery failed or was deferred.")
        .secrecy(Secrecy::Url)
        .later(),
    Setting::new("WEBHOOK_RECEIVED_URL", "", HTTP_URL, "Called when mail was received and kept here.")
        .secrecy(Secrecy::Url)
        .later(),
    Setting::new(
        "WEBHOOK_SECRET",
        "",
        Kind::Text { allowed: "any text", set: |_, _| Ok(()) },
        "Signs every call (Standard Webhooks, HMAC-SHA256).",
    )
    .secrecy(Secrecy::Secret)
    .later(),
    Setting::new(
        "WEBHOOK_TIMEOUT",
        "10000",
        Kind::Number { min: 1, max: 300_000, unit: "milliseconds", set: |_, _| () },
        "How long a call may take, in milliseconds.",
    )
    .later(),
    Setting::new(
        "WEBHOOK_RETRIES",
        "3",
        Kind::Number { min: 0, max: 100, unit: "", set: |_, _| () },
        "Further calls after one that failed.",
    )
    .later(),
];

pub(super) const IP_SELECTION: &[Setting] = &[
    Setting::new(
        "IP_SELECTION_ENABLED",
        "false",
        Kind::Switch(|_, _| ()),
        "Whether an HTTP service picks the source address of each delivery.",
    )
    .later(),
    Setting::new("IP_SELECTION_API_URL", "", HTTP_URL, "The service that is asked.").secrecy(Secrecy::Url).later(),
    Setting::new(
        "IP_SELECTION_TIMEOUT",
        "5000",
        Kind::Number { min: 1, max: 60_000, unit: "milliseconds", set: |_, _| () },
        "How long an answer may take, in milliseconds.",
    )
    .later(),
    Setting::new(
        "IP_SELECTION_RETRIES",
        "3",
        Kind::Number { min: 0, max: 100, unit: "", set: |_, _| () },
        "Further questions after one that failed.",
    )
    .later(),
    Setting::new(
        "IP_SELECTION_CACHE_SECONDS",
        "300",
        Kind::Number { min: 0, max: 86_400, unit: "seconds", set: |_, _| () },
        "How long an answer holds, in seconds, when it names no `ttl`.",
    )
    .later(),
    Setting::new(
        "FALLBACK_IP",
        "",
        Kind::Text {
            allowed: "an IP address",
            set: |_, text| if text.is_empty() || text.parse::<IpAddr>().is_ok() { Ok(()) } else { Err(None) },
        },
        "The source address used when the service gives no usable answer.",
    )
    .note("the system's choice")
    .later(),
];

const HTTP_URL: Kind = Kind::Text {
    allowed: "an http:// or https:// URL",
    set: |_, text| if text.is_empty() { Ok(()) } else { value::http_url(text) },
};
