//! Names that are no setting: which of them stop the start, and what was probably meant.
//!
//! An environment holds the variables of many programs, and a `.env` may be shared with the application beside which
//! Postrider runs. So there are two kinds of prefixes. A name under one of [`OWN_PREFIXES`] is meant for Postrider: if it
//! is unknown, the start stops. Under one of [`SHARED_PREFIXES`] others have names too (`API_KEY`, `LOG_DIR`, `TLS_CA`,
//! `QUEUE_CONNECTION`, `MAIL_FROM`): there only a near miss of a setting stops the start. Any other name that looks like
//! a misspelt setting gives a warning, if one edit mends it (two would make `SSL_CERT_FILE` a misspelt `TLS_CERT_FILE`).

use crate::table;

/// Names under these are ours alone.
pub(crate) const OWN_PREFIXES: &[&str] = &[
    "POSTRIDER_",
    "SMTP_",
    "SUBMISSION_",
    "SUBMISSIONS_",
    "LMTP_",
    "LMTPS_",
    "IMAP_",
    "IMAPS_",
    "DELIVERY_",
    "RELAY_",
    "RETRY_",
    "QUEUE_CONCURRENCY",
    "WEBHOOK_",
    "IP_SELECTION_",
    "SOURCE_IP",
    "SHAPING_",
    "SUPPRESSION_",
    "MTA_STS_",
    "DANE_",
    "DNSSEC_",
    "BOUNCE_DOMAIN",
    "TRUSTED_NETWORK",
    "ALLOWED_DOMAIN",
    "UNKNOWN_RECIPIENT",
    "MAX_EMAIL",
    "DKIM_",
    "DMARC_",
    "VERIFY_INCOMING",
    "CHECK_REVERSE_DNS",
    "CHECK_EHLO",
    "SENDER_CHECK",
    "SHUTDOWN_TIMEOUT",
];

/// Names under these may be another program's.
pub(crate) const SHARED_PREFIXES: &[&str] = &[
    "ACME_",
    "API_",
    "AUDIT_",
    "TLS_",
    "LOG_",
    "MAIL_",
    "DATA_",
    "DNS_",
    "QUEUE_",
    "MONGODB_",
    "FALLBACK_",
    "ENABLE_",
    "OTEL_",
];

/// This many edits make a near miss; a swap of neighbours is one.
const NEAR_EDITS_MAX: usize = 2;

/// What a name that is no setting is to us.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Stops the start; with advice.
    Refused(String),
    /// Worth a warning; with advice.
    Doubtful(String),
    /// Another program's.
    Foreign,
}

/// Judges a name that is not in the table.
pub(crate) fn judge(name: &str) -> Unknown {
    let upper = name.to_ascii_uppercase();
    let near = nearest(&upper);
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| upper.starts_with(prefix));
    match near {
        Some(near) if begins(OWN_PREFIXES) || begins(SHARED_PREFIXES) => Unknown::Refused(did_you_mean(near)),
        Some(near) if edits(&upper, near) == 1 => Unknown::Doubtful(did_you_mean(near)),
        _ => match OWN_PREFIXES.iter().find(|prefix| upper.starts_with(**prefix)) {
            Some(prefix) => Unknown::Refused(listing(prefix)),
            None => Unknown::Foreign,
        },
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean {name}?")
}

fn listing(prefix: &str) -> String {
    let names: Vec<_> = table::all().map(|setting| setting.name).filter(|name| name.starts_with(prefix)).collect();
    if names.is_empty() {
        return format!("no setting begins with {prefix}; docs/configuration.md lists all");
    }
    format!("those that begin with {prefix} are {}", names.join(", "))
}

/// The setting whose name is nearest, if it is near.
fn nearest(name: &str) -> Option<&'static str> {
    // Two edits can turn any short name into any other.
    let edits_max = if name.len() < 8 { 1 } else { NEAR_EDITS_MAX };
    table::all()
        .filter(|setting| setting.name.len().abs_diff(name.len()) <= edits_max)
        .map(|setting| (edits(name, setting.name), setting.name))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Optimal string alignment distance: insert, delete, replace, swap neighbours.
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("SMTP_PROT", "SMTP_PORT"), 1);
        assert_eq!(edits("same", "same"), 0);
    }

    #[test]
    fn near_misses_are_named() {
        for (name, meant) in [
            ("SMTP_PROT", "SMTP_PORT"),
            ("SMTP_MXPORT", "SMTP_MX_PORT"),
            ("API_TOKENS", "API_TOKEN"),
            ("TLS_CERTFILE", "TLS_CERT_FILE"),
            ("ALLOWED_DOMAIN", "ALLOWED_DOMAINS"),
            ("RETRY_MAX_SECOND", "RETRY_MAX_SECONDS"),
            ("smtp_port", "SMTP_PORT"),
        ] {
            assert_eq!(judge(name), Unknown::Refused(format!("did you mean {meant}?")), "{name}");
        }
        assert_eq!(judge("ALOWED_DOMAINS"), Unknown::Doubtful("did you mean ALLOWED_DOMAINS?".into()));
    }

    #[test]
    fn what_is_far_off_is_refused_only_under_our_own_prefixes() {
        let Unknown::Refused(advice) = judge("SMTP_GREETING") else { panic!("SMTP_ is ours") };
        assert_eq!(advice, "those that begin with SMTP_ are SMTP_HOST, SMTP_PORT, SMTP_MX_PORT");
        assert!(matches!(judge("POSTRIDER_PORT"), Unknown::Refused(_)));
        assert!(matches!(judge("RETRY_AFTER"), Unknown::Refused(_)));
    }

    #[test]
    fn variables_of_other_programs_do_not_trip() {
        for name in [
            "PATH",
            "HOME",
            "HOSTNAME",
            "API_KEY",
            "API_URL",
            "API_SECRET",
            "LOG_DIR",
            "RUST_LOG",
            "TLS_CA_FILE",
            "QUEUE_CONNECTION",
            "MAIL_FROM",
            "MAIL_HOST",
            "MAIL",
            "DATA_FOLDER",
            "DNS_NAME",
            "PORT",
            "HOST",
            "DATABASE_URL",
            "SSL_CERT_FILE",
            "MONGO_URL",
            "MAILCHECK",
            "",
        ] {
            assert_eq!(judge(name), Unknown::Foreign, "{name}");
        }
    }

    #[test]
    fn every_setting_stands_under_a_prefix() {
        for setting in table::all() {
            let covered = OWN_PREFIXES.iter().chain(SHARED_PREFIXES).any(|prefix| setting.name.starts_with(prefix));
            assert!(covered, "{} begins with no prefix", setting.name);
        }
    }
}
