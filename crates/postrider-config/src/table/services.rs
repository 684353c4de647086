//! The table: the HTTP services that Postrider calls.

use std::time::Duration;

use url::Url;

use super::{Kind, Setting, secret};
use crate::mask::Secrecy;
use crate::value::{self, Reason};

pub(super) const WEBHOOK: &[Setting] = &[
    Setting::new(
        "WEBHOOK_ENABLED",
        "false",
        Kind::Switch(|settings, on| settings.webhook.enabled = on),
        "Whether the URLs below are called. Endpoints that are added by API are called in any case.",
    ),
    Setting::new(
        "WEBHOOK_SUCCESS_URL",
        "",
        Kind::Text {
            allowed: HTTP_URL_ALLOWED,
            set: |settings, text| set_url(&mut settings.webhook.success_url, text),
        },
        "Called when a delivery succeeded (`email.delivered`).",
    )
    .secrecy(Secrecy::Url),
    Setting::new(
        "WEBHOOK_FAILURE_URL",
        "",
        Kind::Text {
            allowed: HTTP_URL_ALLOWED,
            set: |settings, text| set_url(&mut settings.webhook.failure_url, text),
        },
        "Called when a delivery failed or was deferred (`email.failed`, `email.deferred`).",
    )
    .secrecy(Secrecy::Url),
    Setting::new(
        "WEBHOOK_RECEIVED_URL",
        "",
        Kind::Text {
            allowed: HTTP_URL_ALLOWED,
            set: |settings, text| set_url(&mut settings.webhook.received_url, text),
        },
        "Called when mail was received and kept here (`email.received`).",
    )
    .secrecy(Secrecy::Url),
    Setting::new(
        "WEBHOOK_SECRET",
        "",
        Kind::Text {
            allowed: "any text; `whsec_` and base64 for Standard Webhooks libraries",
            set: |settings, text| {
                settings.webhook.secret = secret(text);
                Ok(())
            },
        },
        "Signs every call of these URLs (Standard Webhooks, HMAC-SHA256). Calls to the `webhookUrl` of an e-mail, which whoever may send \
         chooses, are signed with another secret that follows from it, one for each scheme, host and port: `POST \
         /api/webhooks/url-secret` shows it.",
    )
    .secrecy(Secrecy::Secret),
    Setting::new(
        "WEBHOOK_TIMEOUT",
        "10000",
        Kind::Number {
            min: 1,
            max: 300_000,
            unit: "milliseconds",
            set: |settings, n| settings.webhook.timeout = Duration::from_millis(n),
        },
        "How long a call may take, in milliseconds, that of an endpoint added by API too.",
    ),
    Setting::new(
        "WEBHOOK_RETRIES",
        "3",
        Kind::Number { min: 0, max: 100, unit: "", set: |settings, n| settings.webhook.retries = n as u32 },
        "Further calls after one that failed: after 10 seconds, then three times as long each, up to an hour.",
    ),
    Setting::new(
        "WEBHOOK_PRIVATE_URLS",
        "false",
        Kind::Switch(|settings, on| settings.webhook.private_urls = on),
        "Whether the `webhookUrl` of an e-mail may lead to loopback, private or link-local addresses. Whoever may send could have \
         this server call what only it reaches.",
    )
    .dev("true"),
];

pub(super) const IP_SELECTION: &[Setting] = &[
    Setting::new(
        "IP_SELECTION_ENABLED",
        "false",
        Kind::Switch(|settings, on| settings.ip_selection.enabled = on),
        "Whether an HTTP service picks the source address of each delivery.",
    ),
    Setting::new(
        "IP_SELECTION_API_URL",
        "",
        Kind::Text {
            allowed: HTTP_URL_ALLOWED,
            set: |settings, text| {
                settings.ip_selection.url = optional(text, value::http_url)?;
                Ok(())
            },
        },
        "The service that is asked, by `POST`. It answers `{ \"ip\", \"ttl\"?, \"ehlo\"? }`, or the address alone as text.",
    )
    .secrecy(Secrecy::Url),
    Setting::new(
        "IP_SELECTION_TIMEOUT",
        "5000",
        Kind::Number {
            min: 1,
            max: 60_000,
            unit: "milliseconds",
            set: |settings, n| settings.ip_selection.timeout = Duration::from_millis(n),
        },
        "How long an answer may take, in milliseconds.",
    ),
    Setting::new(
        "IP_SELECTION_RETRIES",
        "3",
        Kind::Number {
            min: 0,
            max: 100,
            unit: "",
            set: |settings, n| settings.ip_selection.retries = u32::try_from(n).unwrap_or(u32::MAX),
        },
        "Further questions after one that failed.",
    ),
    Setting::new(
        "IP_SELECTION_CACHE_SECONDS",
        "300",
        Kind::Number {
            min: 0,
            max: 86_400,
            unit: "seconds",
            set: |settings, n| settings.ip_selection.cache = Duration::from_secs(n),
        },
        "How long an answer holds, in seconds, when it names no `ttl`.",
    ),
    Setting::new(
        "FALLBACK_IP",
        "",
        Kind::Text {
            allowed: "an IP address of this host",
            set: |settings, text| {
                let parsed = |text: &str| value::source_ip(text).ok_or(None);
                settings.ip_selection.fallback = optional(text, parsed)?;
                Ok(())
            },
        },
        "The source address used when the service gives no usable answer.",
    )
    .note("the system's choice"),
];

pub(super) const SOURCE_IPS: &[Setting] = &[
    Setting::new(
        "SOURCE_IPS",
        "",
        Kind::Text {
            allowed: "addresses of this host, ip or ip*weight (1 to 1000), several with commas between",
            set: |settings, text| {
                settings.source_ips = value::list(text, value::weighted_ip)?;
                Ok(())
            },
        },
        "Without that service: the addresses that mail leaves from in turn, `ip[*weight]` with commas between. Mail to one \
         domain keeps to one of them.",
    )
    .note("the system's choice"),
    Setting::new(
        "SOURCE_IP_WARMUP",
        "",
        Kind::Text {
            allowed: "ip=messages or ip=messages*growth (1 to 10), several with commas between",
            set: |settings, text| {
                settings.source_ip_warm_up = value::list(text, value::warm_up)?;
                Ok(())
            },
        },
        "Addresses of `SOURCE_IPS` that are new to the world, `ip=messages[*growth]` with commas between: so many messages leave \
         from each on its first day (UTC), and on each day after `growth` times as many as on the day before (1.5 unless \
         given). What is too many leaves from the others, or waits.",
    ),
];

/// The empty text is none.
fn optional<T>(text: &str, read: impl Fn(&str) -> Result<T, Reason>) -> Result<Option<T>, Reason> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

pub(super) const HTTP_URL_ALLOWED: &str = "an http:// or https:// URL";

pub(super) fn set_url(url: &mut Option<Url>, text: &str) -> Result<(), Reason> {
    *url = optional(text, value::http_url)?;
    Ok(())
}
