//! The table: what the API answers how often, and how long it is known who changed what.

use super::{Kind, Setting};

/// Requests a minute: more than one process answers.
const REQUESTS_MAX: u64 = 10_000_000;

pub(super) const API: &[Setting] = &[
    Setting::new(
        "API_RATE_LIMIT_PER_MINUTE",
        "120000",
        Kind::Number {
            min: 0,
            max: REQUESTS_MAX,
            unit: "requests",
            set: |settings, n| settings.api_requests_per_minute = at_most(n),
        },
        "Requests a minute that each token may make, unless it has a limit of its own. 0: any number. `API_TOKEN` is not limited.",
    ),
    Setting::new(
        "API_ADDRESS_RATE_LIMIT_PER_MINUTE",
        "120000",
        Kind::Number {
            min: 0,
            max: REQUESTS_MAX,
            unit: "requests",
            set: |settings, n| settings.api_address_requests_per_minute = at_most(n),
        },
        "Requests a minute from each address (an IPv6 /64 network counts as one), whatever their token. 0: any number. \
         Those of this machine are not limited.",
    ),
    Setting::new(
        "AUDIT_RETENTION_DAYS",
        "365",
        Kind::Number {
            min: 0,
            max: 36_500,
            unit: "days",
            set: |settings, n| settings.audit_retention_days = at_most(n),
        },
        "How long the audit log knows who changed what by API or command line. 0: for ever.",
    ),
];

/// 0 is no limit.
fn at_most(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|&number| number > 0)
}
