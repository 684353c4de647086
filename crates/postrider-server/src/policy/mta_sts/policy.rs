//! What a domain says of its MX hosts: the record in DNS and the policy file (RFC 8461 sections 3.1 and 3.2). Text only.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// RFC 8461 section 3.2: a policy holds for a year at most.
const AGE_MAX: Duration = Duration::from_secs(31_557_600);

/// Patterns of one policy.
const PATTERNS_MAX: usize = 100;

/// What is to be done where a host does not keep to the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// It gets no mail.
    Enforce,
    /// It gets mail all the same.
    Testing,
    /// There is no policy any more.
    None,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Policy {
    pub(crate) mode: Mode,
    /// Host names in lower case; `*.` stands for one label.
    mx: Vec<String>,
    max_age_seconds: u64,
}

impl Policy {
    /// Reads a policy file. The error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(':').ok_or_else(|| format!("{line:?} is no field"))?;
            let value = value.trim();
            // RFC 8461 section 3.2: of fields other than mx the first counts; those that are not known are left alone.
            match key.trim() {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => max_age = max_age.or(Some(value)),
                "mx" if mx.len() < PATTERNS_MAX => mx.push(value.trim_end_matches('.').to_ascii_lowercase()),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(format!("its version is {}, not STSv1", version.unwrap_or("missing")));
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            other => {
                return Err(format!("its mode is {}, none of enforce, testing and none", other.unwrap_or("missing")));
            }
        };
        let max_age = max_age.and_then(|text| text.parse::<u64>().ok()).ok_or("it has no max_age in seconds")?;
        if mx.is_empty() && mode != Mode::None {
            return Err("it names no mx".to_owned());
        }
        Ok(Self { mode, mx, max_age_seconds: max_age.min(AGE_MAX.as_secs()) })
    }

    /// How long it may be kept.
    pub(crate) fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_seconds)
    }

    /// Host names and patterns.
    pub(crate) fn hosts(&self) -> &[String] {
        &self.mx
    }

    /// The policy file that says so.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {mode}")];
        lines.extend(self.mx.iter().map(|host| format!("mx: {host}")));
        lines.push(format!("max_age: {}", self.max_age_seconds));
        lines
    }

    /// Whether it names a host, in lower case (RFC 8461 section 4.1).
    pub(crate) fn allows(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == parent),
            None => pattern == host,
        })
    }
}

/// The id in the TXT records of `_mta-sts.domain`; `None` where there is no policy: no such record, or more than one.
pub(crate) fn id_of(records: &[String]) -> Option<String> {
    let mut ours = records.iter().filter(|record| record.split(';').next().is_some_and(|v| v.trim() == "v=STSv1"));
    let (Some(record), None) = (ours.next(), ours.next()) else { return None };
    let id = record.split(';').find_map(|field| field.trim().strip_prefix("id="))?;
    let is_id = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\n\
                          mx: backupmx.example.com\r\nmax_age: 604800\r\n";

    #[test]
    fn a_policy_names_its_hosts() {
        let policy = Policy::parse(POLICY).unwrap();
        assert_eq!((policy.mode, policy.max_age()), (Mode::Enforce, Duration::from_secs(604_800)));
        for host in ["mail.example.com", "backupmx.example.com", "a.example.net"] {
            assert!(policy.allows(host), "{host}");
        }
        for host in ["example.net", "a.b.example.net", "mail.example.com.evil.example", "example.com", ".example.net"] {
            assert!(!policy.allows(host), "{host}");
        }
        let kept: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        assert_eq!(kept, policy);
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_none() {
        let without =
            |field: &str| POLICY.lines().filter(|line| !line.starts_with(field)).collect::<Vec<_>>().join("\n");
        for (text, part) in [
            (without("version"), "its version is missing"),
            (without("mode"), "its mode is missing"),
            (without("mx"), "it names no mx"),
            (without("max_age"), "no max_age"),
            (POLICY.replace("STSv1", "STSv2"), "its version is STSv2"),
            (POLICY.replace("enforce", "report"), "its mode is report"),
            (POLICY.replace("604800", "-1"), "no max_age"),
            ("<html>".to_owned(), "is no field"),
            (String::new(), "its version is missing"),
        ] {
            let error = Policy::parse(&text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(Policy::parse("version: STSv1\nmode: none\nmax_age: 1").unwrap().mode, Mode::None);
        let long = Policy::parse("version: STSv1\nmode: none\nmax_age: 99999999999\nnew: x\nmode: enforce").unwrap();
        assert_eq!((long.mode, long.max_age()), (Mode::None, AGE_MAX));
    }

    #[test]
    fn one_record_says_that_there_is_a_policy() {
        let id = |records: &[&str]| id_of(&records.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]).as_deref(), Some("20160831085700Z"));
        assert_eq!(id(&["v=spf1 -all", "v=STSv1;id=1"]).as_deref(), Some("1"));
        for records in
            [&["v=STSv1; id=1;", "v=STSv1; id=2;"][..], &["v=STSv1"], &["v=STSv1; id=a-b"], &["v=STSv2; id=1"], &[]]
        {
            assert_eq!(id(records), None, "{records:?}");
        }
    }
}
