//! What the commands of the directory share.

use std::str::FromStr;

use postrider_store::{Quota, Usage};

use crate::cli::output::{counted, sized};

/// A limit of a quota on the command line: `10G`, `500`, `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(pub(super) Option<u64>);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self(None));
        }
        let allowed = || "a number, with K, M, G or T behind it if need be, or none".to_owned();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(allowed()),
        };
        let number: u64 = digits.parse().map_err(|_| allowed())?;
        number.checked_mul(1 << shift).map(|number| Self(Some(number))).ok_or_else(|| "too large".to_owned())
    }
}

/// `1.5 GiB of 10.0 GiB (15 %)`
pub(super) fn bytes_used(usage: Usage, quota: Quota) -> String {
    used(usage.bytes, quota.bytes, sized)
}

/// `12 of 500 (2 %)`
pub(super) fn messages_used(usage: Usage, quota: Quota) -> String {
    used(usage.messages, quota.messages, |number| number.to_string())
}

fn used(number: u64, max: Option<u64>, shown: impl Fn(u64) -> String) -> String {
    match max {
        None => format!("{}, no limit", shown(number)),
        Some(0) => format!("{} of {}", shown(number), shown(0)),
        Some(max) => {
            let percent = u128::from(number) * 100 / u128::from(max);
            format!("{} of {} ({percent} %)", shown(number), shown(max))
        }
    }
}

/// `10.0 GiB, 500 messages`
pub(super) fn quota(quota: Quota) -> String {
    let bytes = quota.bytes.map(sized);
    let messages = quota.messages.map(|messages| counted(messages, "message", "messages"));
    let limits: Vec<String> = [bytes, messages].into_iter().flatten().collect();
    if limits.is_empty() { "no limit".to_owned() } else { limits.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_limits() {
        for (text, limit) in [
            ("none", None),
            ("None", None),
            ("0", Some(0)),
            ("500", Some(500)),
            ("2k", Some(2048)),
            ("10G", Some(10 << 30)),
            ("1T", Some(1 << 40)),
        ] {
            assert_eq!(text.parse(), Ok(Limit(limit)), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "10GB", "10 G", "99999999T", "99999999999999999999"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }

    #[test]
    fn usage_is_shown_against_the_quota() {
        let usage = Usage { bytes: 512, messages: 3 };
        assert_eq!(bytes_used(usage, Quota { bytes: Some(1024), messages: None }), "512 bytes of 1.0 KiB (50 %)");
        assert_eq!(messages_used(usage, Quota::default()), "3, no limit");
        assert_eq!(messages_used(usage, Quota { bytes: None, messages: Some(2) }), "3 of 2 (150 %)");
        assert_eq!(messages_used(usage, Quota { bytes: None, messages: Some(0) }), "3 of 0");
    }
}
