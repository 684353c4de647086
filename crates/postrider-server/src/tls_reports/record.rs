//! What is counted of a domain's day, and the report made of it (RFC 8460 section 4).

use std::collections::BTreeMap;
use std::net::IpAddr;

use postrider_core::{Domain, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Kinds of failure that are told apart for one policy of one domain and day; others are only counted.
const DETAILS_MAX: usize = 100;

/// Policies of one domain and day that are told apart: those of its hosts, and those that came and went.
const POLICIES_MAX: usize = 20;

pub(super) const DAY_MILLIS: i64 = 24 * 3600 * 1000;

/// Why a session was not as protected as it should have been (RFC 8460 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ResultType {
    StarttlsNotSupported,
    CertificateHostMismatch,
    CertificateExpired,
    CertificateNotTrusted,
    ValidationFailure,
    TlsaInvalid,
    DnssecInvalid,
    StsPolicyFetchError,
    StsPolicyInvalid,
}

/// What a domain, or a host of it, asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportedPolicy {
    /// `tlsa`, `sts`, `no-policy-found`.
    pub(crate) kind: String,
    /// In its own words, line by line.
    pub(crate) text: Vec<String>,
    pub(crate) hosts: Vec<String>,
}

/// One way to fail, at one host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    pub(crate) result: ResultType,
    pub(crate) mx: Option<String>,
    pub(crate) mx_ip: Option<IpAddr>,
    pub(crate) source_ip: Option<IpAddr>,
}

/// What came of all sessions under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    policy: ReportedPolicy,
    successes: u64,
    failures: u64,
    details: Vec<(Failure, u64)>,
}

/// A domain's day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DayOfDomain {
    policies: Vec<Counts>,
    /// Since when a node is sending the report; it may have died over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) claimed_at: Option<Timestamp>,
    /// Who has got the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sent_to: Vec<String>,
}

impl DayOfDomain {
    pub(super) fn add(&mut self, policy: &ReportedPolicy, failure: Option<Failure>, count: u64) {
        let known = self.policies.iter().position(|counts| counts.policy == *policy);
        let at = match known {
            Some(at) => at,
            None if self.policies.len() < POLICIES_MAX => {
                let policy = policy.clone();
                self.policies.push(Counts { policy, successes: 0, failures: 0, details: Vec::new() });
                self.policies.len() - 1
            }
            None => return,
        };
        let counts = &mut self.policies[at];
        let Some(failure) = failure else {
            counts.successes += count;
            return;
        };
        counts.failures += count;
        match counts.details.iter().position(|(known, _)| *known == failure) {
            Some(at) => counts.details[at].1 += count,
            None if counts.details.len() < DETAILS_MAX => counts.details.push((failure, count)),
            None => {}
        }
    }

    /// Adds what another node, or this one later, counted.
    pub(super) fn merge(&mut self, other: &Self) {
        for counts in &other.policies {
            self.add(&counts.policy, None, counts.successes);
            let mut told = 0;
            for (failure, count) in &counts.details {
                self.add(&counts.policy, Some(failure.clone()), *count);
                told += count;
            }
            if let Some(known) = self.policies.iter_mut().find(|known| known.policy == counts.policy) {
                known.failures += counts.failures.saturating_sub(told);
            }
        }
    }

    /// The report (RFC 8460 section 4.4).
    pub(super) fn report(&self, domain: &Domain, day: i64, id: &str, organization: &str, contact: &str) -> Value {
        let policies: Vec<Value> = self.policies.iter().map(|counts| of_policy(counts, domain)).collect();
        json!({
            "organization-name": organization,
            "date-range": { "start-datetime": seconds(day, 0), "end-datetime": seconds(day, 86_399) },
            "contact-info": contact,
            "report-id": id,
            "policies": policies,
        })
    }
}

fn of_policy(counts: &Counts, domain: &Domain) -> Value {
    let mut policy =
        BTreeMap::from([("policy-type", json!(counts.policy.kind)), ("policy-domain", json!(domain.as_str()))]);
    if !counts.policy.text.is_empty() {
        policy.insert("policy-string", json!(counts.policy.text));
    }
    if !counts.policy.hosts.is_empty() {
        policy.insert("mx-host", json!(counts.policy.hosts));
    }
    let details = counts.details.iter().map(|(failure, count)| {
        let mut detail =
            BTreeMap::from([("result-type", json!(failure.result)), ("failed-session-count", json!(count))]);
        detail.extend(failure.source_ip.map(|ip| ("sending-mta-ip", json!(ip))));
        detail.extend(failure.mx.as_ref().map(|mx| ("receiving-mx-hostname", json!(mx))));
        detail.extend(failure.mx_ip.map(|ip| ("receiving-ip", json!(ip))));
        json!(detail)
    });
    let summary = json!({
        "total-successful-session-count": counts.successes,
        "total-failure-session-count": counts.failures,
    });
    json!({ "policy": policy, "summary": summary, "failure-details": details.collect::<Vec<_>>() })
}

/// RFC 3339 without a fraction.
fn seconds(day: i64, second: i64) -> String {
    let text = Timestamp::from_millis(day * DAY_MILLIS + second * 1000).to_rfc3339();
    format!("{}Z", text.split(['.', 'Z']).next().unwrap_or_default())
}

/// Days are counted from 1970-01-01 (UTC).
pub(super) fn day_of(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(DAY_MILLIS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(kind: &str) -> ReportedPolicy {
        ReportedPolicy {
            kind: kind.to_owned(),
            text: vec!["version: STSv1".to_owned()],
            hosts: vec!["*.a.test".to_owned()],
        }
    }

    fn failure(mx: &str) -> Failure {
        let result = ResultType::CertificateHostMismatch;
        Failure { result, mx: Some(mx.to_owned()), mx_ip: Some([192, 0, 2, 1].into()), source_ip: None }
    }

    #[test]
    fn parts_of_a_day_add_up() {
        let mut one = DayOfDomain::default();
        one.add(&policy("sts"), None, 2);
        one.add(&policy("sts"), Some(failure("mx.a.test")), 1);
        let mut other = DayOfDomain::default();
        for n in 0..150 {
            other.add(&policy("sts"), Some(failure(&format!("mx{n}.a.test"))), 1);
        }
        other.add(&policy("no-policy-found"), None, 5);
        one.merge(&other);
        one.merge(&one.clone());
        let kept: DayOfDomain = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        let report = kept.report(&Domain::parse("a.test").unwrap(), 20_000, "id", "us", "postmaster@us.test");
        assert_eq!(report["policies"][0]["summary"]["total-successful-session-count"], 4);
        assert_eq!(report["policies"][0]["summary"]["total-failure-session-count"], 302);
        assert_eq!(report["policies"][0]["failure-details"].as_array().unwrap().len(), DETAILS_MAX);
        assert_eq!(report["policies"][1]["summary"]["total-successful-session-count"], 10);
        assert_eq!(report["policies"][0]["failure-details"][0]["result-type"], "certificate-host-mismatch");
        assert_eq!(report["date-range"]["start-datetime"], "2024-10-04T00:00:00Z");
        assert_eq!(report["date-range"]["end-datetime"], "2024-10-04T23:59:59Z");
    }
}
