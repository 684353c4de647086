//! The table: how mail leaves, and when it is tried again.

use std::time::Duration;

use super::{Kind, Setting};
use crate::mask::Secrecy;
use crate::settings::DeliveryMode;
use crate::value;

pub(super) const DELIVERY: &[Setting] = &[
    Setting::new(
        "DELIVERY_MODE",
        "mx",
        Kind::Choice(&[
            ("mx", |settings| settings.delivery_mode = DeliveryMode::Mx),
            ("relay", |settings| settings.delivery_mode = DeliveryMode::Relay),
            ("capture", |settings| settings.delivery_mode = DeliveryMode::Capture),
        ]),
        "`mx`: to the recipient domain's MX; `relay`: all through `RELAY_URL`; `capture`: to the built-in simulator, \
         nothing leaves this machine.",
    )
    .dev("capture"),
    Setting::new(
        "RELAY_URL",
        "",
        Kind::Text {
            allowed: "smtp[s]://[user:password@]host[:port], user and password percent-encoded",
            set: |settings, text| {
                settings.relay = if text.is_empty() { None } else { Some(value::relay(text)?) };
                Ok(())
            },
        },
        "Where `DELIVERY_MODE=relay` sends everything: `smtp[s]://user:password@host:port`. `smtps` is TLS from the first \
         byte (port 465 unless given); `smtp` (port 25 unless given) uses STARTTLS where it is offered, and insists on it \
         where there is a password and the host is not loopback.",
    )
    .secrecy(Secrecy::Url),
    Setting::new(
        "DELIVERY_PORT",
        "25",
        Kind::Number {
            min: 1,
            max: 65_535,
            unit: "",
            set: |settings, n| settings.delivery_port = u16::try_from(n).unwrap_or(u16::MAX),
        },
        "The port tried at an MX.",
    ),
    Setting::new(
        "DNS_SERVERS",
        "",
        Kind::Text {
            allowed: "ip, ip:port or [ipv6]:port, several with commas between",
            set: |settings, text| {
                settings.dns_servers = value::list(text, value::dns_server)?;
                Ok(())
            },
        },
        "The DNS servers asked, `ip[:port]` with commas between.",
    )
    .note("the system's"),
    Setting::new(
        "QUEUE_CONCURRENCY",
        "200",
        Kind::Number {
            min: 1,
            max: 10_000,
            unit: "",
            set: |settings, n| settings.queue_concurrency = usize::try_from(n).unwrap_or(usize::MAX),
        },
        "Deliveries at once, in all.",
    ),
    Setting::new(
        "QUEUE_CONCURRENCY_PER_DOMAIN",
        "20",
        Kind::Number {
            min: 1,
            max: 10_000,
            unit: "",
            set: |settings, n| settings.queue_concurrency_per_domain = usize::try_from(n).unwrap_or(usize::MAX),
        },
        "Deliveries at once to one destination, the domains that share their MX hosts together, where `SHAPING_FILE` and what is \
         known of large providers say nothing else.",
    ),
    Setting::new(
        "SHAPING_FILE",
        "",
        Kind::Text {
            allowed: "a file",
            set: |settings, text| {
                settings.shaping_file = if text.is_empty() { None } else { Some(value::path(text).ok_or(None)?) };
                Ok(())
            },
        },
        "Limits of single destinations: lines of MX host (or `.suffix`, or `*`), connections at once, messages on one connection, \
         messages per minute, with `-` for what stays as it is. They come before the built-in lines for large providers.",
    ),
];

pub(super) const RETRY: &[Setting] = &[
    Setting::new(
        "RETRY_FIRST_SECONDS",
        "60",
        Kind::Number {
            min: 1,
            max: 86_400,
            unit: "seconds",
            set: |settings, n| settings.retry.first = Duration::from_secs(n),
        },
        "Wait after the first failed attempt, in seconds.",
    ),
    Setting::new(
        "RETRY_FACTOR",
        "2",
        Kind::Text {
            allowed: "a number, 1 to 100",
            set: |settings, text| {
                let factor: f64 = text.parse().map_err(|_| None)?;
                if !(1.0..=100.0).contains(&factor) {
                    return Err(None);
                }
                settings.retry.factor = factor;
                Ok(())
            },
        },
        "Each further wait is this many times the one before.",
    ),
    Setting::new(
        "RETRY_MAX_SECONDS",
        "14400",
        Kind::Number {
            min: 1,
            max: 604_800,
            unit: "seconds",
            set: |settings, n| settings.retry.max = Duration::from_secs(n),
        },
        "No wait is longer, in seconds.",
    ),
    Setting::new(
        "RETRY_EXPIRE_SECONDS",
        "432000",
        Kind::Number {
            min: 1,
            max: 2_592_000,
            unit: "seconds",
            set: |settings, n| settings.retry.expire = Duration::from_secs(n),
        },
        "A delivery that did not succeed this long after acceptance, in seconds, has failed for good, and the sender gets \
         a DSN.",
    ),
];
