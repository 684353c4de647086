//! SPF against the cases of `cases.txt`, over a zone in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use postrider_core::ports::MxRecord;

use super::*;

/// The scenarios that an implementation can get wrong, as data.
const CASES: &str = include_str!("cases.txt");

/// What one section's names have: by name and type.
#[derive(Debug, Default)]
struct Zone(BTreeMap<(String, &'static str), Vec<String>>);

const TYPES: [&str; 7] = ["A", "AAAA", "MX", "PTR", "TXT", "CNAME", "FAIL"];

impl Zone {
    fn add(&mut self, name: &str, kind: &str, data: &str) {
        let kind = TYPES.into_iter().find(|known| *known == kind).unwrap_or_else(|| panic!("no type {kind:?}"));
        self.0.entry((name.to_ascii_lowercase(), kind)).or_default().push(data.to_owned());
    }

    fn find(&self, name: &str, kind: &'static str) -> Result<Vec<String>, ResolveError> {
        let mut name = name.trim_end_matches('.').to_ascii_lowercase();
        for _ in 0..8 {
            if self
                .0
                .get(&(name.clone(), "FAIL"))
                .is_some_and(|kinds| kinds.iter().any(|of| of.is_empty() || of == kind))
            {
                return Err(ResolveError::Temporary("SERVFAIL".into()));
            }
            if let Some(found) = self.0.get(&(name.clone(), kind)) {
                return Ok(found.clone());
            }
            match self.0.get(&(name.clone(), "CNAME")).and_then(|aliases| aliases.first()) {
                Some(alias) => name = alias.to_ascii_lowercase(),
                None if self.0.keys().any(|(known, _)| *known == name) => return Err(ResolveError::NoRecords),
                None => return Err(ResolveError::NoSuchDomain),
            }
        }
        Err(ResolveError::Temporary("aliases in a circle".into()))
    }
}

#[async_trait]
impl Resolver for Zone {
    async fn mx(&self, domain: &str) -> Result<Vec<MxRecord>, ResolveError> {
        let record = |data: String| {
            let (preference, exchange) = data.split_once(' ').unwrap();
            MxRecord { preference: preference.parse().unwrap(), exchange: exchange.to_owned() }
        };
        Ok(self.find(domain, "MX")?.into_iter().map(record).collect())
    }

    async fn addresses(&self, _host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        panic!("only addresses of the client's family are of use")
    }

    async fn addresses_of(&self, host: &str, version: IpVersion) -> Result<Vec<IpAddr>, ResolveError> {
        let kind = if version == IpVersion::V4 { "A" } else { "AAAA" };
        Ok(self.find(host, kind)?.iter().map(|data| data.parse().unwrap()).collect())
    }

    async fn texts(&self, name: &str) -> Result<Vec<String>, ResolveError> {
        self.find(name, "TXT")
    }

    async fn names(&self, address: IpAddr) -> Result<Vec<String>, ResolveError> {
        self.find(&address.to_string(), "PTR")
    }
}

/// A line of the file that is a case: `= RESULT IP SENDER HELO WHY`, with tabs between.
async fn run(zone: &Zone, line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [results, ip, sender, helo, why] = fields[..] else { panic!("{line:?} is no case") };
    let (local_part, domain) = sender.rsplit_once('@').unwrap_or(("postmaster", helo));
    let local_part = if local_part.is_empty() { "postmaster" } else { local_part };
    let found = check(zone, Client { ip: ip.parse().unwrap(), helo, local_part, domain }).await.as_str();
    (!results.split('|').any(|expected| expected == found)).then(|| format!("{why}: {found} for {results}"))
}

#[tokio::test]
async fn cases() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    let without_comments: Vec<&str> = CASES.lines().filter(|line| !line.starts_with('#')).collect();
    for section in without_comments.join("\n").split("== ").skip(1) {
        let mut zone = Zone::default();
        for record in section.lines().filter_map(|line| line.strip_prefix(":\t")) {
            let [name, kind, data] = record.splitn(3, '\t').collect::<Vec<_>>()[..] else { panic!("{record:?}") };
            zone.add(name, kind, data);
        }
        for case in section.lines().filter_map(|line| line.strip_prefix("=\t")) {
            count += 1;
            wrong.extend(run(&zone, case).await);
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 200, "{count}");
}
