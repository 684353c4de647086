//! The host that brings mail: whether its address has a name that knows the address (`iprev`, RFC 8601 section 2.7.3), and
//! whether it says in EHLO who it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_config::ClientCheck;
use postrider_core::ports::IpVersion;
use postrider_core::{AuthenticationResult, Clock, Domain, ResolveError, Resolver};
use postrider_wire::smtp::reply::Reply;
use tokio::sync::OnceCell;

use crate::clock::timeout;

/// How long DNS may take for one check. What is not known by then is a temporary error.
const CHECK_TIME_MAX: Duration = Duration::from_secs(10);

/// Names of one address that are looked at.
const NAMES_MAX: usize = 10;

/// Names with which a host speaks to itself.
const LOCAL_NAMES: [&str; 2] = ["localhost", "localhost.localdomain"];

/// What is checked, by setting.
#[derive(Debug, Clone)]
pub(crate) struct ClientChecks {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) resolver: Arc<dyn Resolver>,
    /// This host's name.
    pub(crate) hostname: String,
    pub(crate) reverse_dns: ClientCheck,
    pub(crate) ehlo: ClientCheck,
}

/// What was found of the client of one session, as far as somebody had to know.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    reverse_dns: OnceCell<Finding>,
    ehlo: OnceCell<Finding>,
}

/// What one check found, in the words of RFC 8601 section 2.7.3, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    result: &'static str,
    why: String,
}

impl Finding {
    fn new(result: &'static str, why: impl Into<String>) -> Self {
        Self { result, why: why.into() }
    }

    fn is_pass(&self) -> bool {
        self.result == "pass"
    }

    fn is_temporary(&self) -> bool {
        self.result == "temperror"
    }
}

impl Findings {
    /// The client called itself by another name.
    pub(crate) fn forget_ehlo(&mut self) {
        self.ehlo = OnceCell::new();
    }
}

impl ClientChecks {
    /// Whether mail of this client is taken. Asks only for what refuses mail, and once.
    pub(crate) async fn refuse(&self, ip: IpAddr, helo: &str, findings: &Findings) -> Result<(), Reply> {
        if self.reverse_dns == ClientCheck::Reject {
            let finding = self.reverse_dns(ip, findings).await;
            if !finding.is_pass() {
                let temporary = finding.is_temporary();
                return Err(if temporary { Reply::REVERSE_DNS_UNKNOWN } else { Reply::REVERSE_DNS_FAILED });
            }
        }
        if self.ehlo == ClientCheck::Reject {
            let finding = self.ehlo(ip, helo, findings).await;
            if !finding.is_pass() {
                return Err(if finding.is_temporary() { Reply::EHLO_UNKNOWN } else { Reply::EHLO_REFUSED });
            }
        }
        Ok(())
    }

    /// All that is recorded of this client.
    pub(crate) async fn results(&self, ip: IpAddr, helo: &str, findings: &Findings) -> Vec<AuthenticationResult> {
        let reverse_dns = async {
            let is_on = self.reverse_dns != ClientCheck::Off;
            if is_on { Some(self.reverse_dns(ip, findings).await) } else { None }
        };
        let ehlo =
            async { if self.ehlo == ClientCheck::Off { None } else { Some(self.ehlo(ip, helo, findings).await) } };
        let (reverse_dns, ehlo) = tokio::join!(reverse_dns, ehlo);
        let result = |method: &str, (property, value): (&str, String), finding: &Finding| AuthenticationResult {
            method: method.to_owned(),
            result: finding.result.to_owned(),
            properties: [(property.to_owned(), value)].into(),
            reason: Some(finding.why.clone()),
        };
        let reverse_dns = reverse_dns.map(|finding| result("iprev", ("policy.iprev", ip.to_string()), finding));
        let ehlo = ehlo.map(|finding| result("ehlo", ("smtp.helo", helo.to_owned()), finding));
        reverse_dns.into_iter().chain(ehlo).collect()
    }

    async fn reverse_dns<'f>(&self, ip: IpAddr, findings: &'f Findings) -> &'f Finding {
        let look = || self.in_time(reverse_dns(self.resolver.as_ref(), ip));
        findings.reverse_dns.get_or_init(look).await
    }

    async fn ehlo<'f>(&self, ip: IpAddr, helo: &str, findings: &'f Findings) -> &'f Finding {
        let look = || self.in_time(ehlo(self.resolver.as_ref(), ip, helo, &self.hostname));
        findings.ehlo.get_or_init(look).await
    }

    async fn in_time(&self, looking: impl Future<Output = Finding>) -> Finding {
        let found = timeout(self.clock.as_ref(), CHECK_TIME_MAX, looking).await;
        found.unwrap_or_else(|_| Finding::new("temperror", "DNS did not answer in time"))
    }
}

async fn reverse_dns(resolver: &dyn Resolver, ip: IpAddr) -> Finding {
    let ip = ip.to_canonical();
    let names = match resolver.names(ip).await {
        Ok(names) => names,
        Err(ResolveError::Temporary(error)) => return Finding::new("temperror", error),
        Err(ResolveError::NoSuchDomain | ResolveError::NoRecords) => {
            return Finding::new("permerror", "the address has no name");
        }
    };
    let mut failure = None;
    for name in names.iter().take(NAMES_MAX) {
        match resolver.addresses_of(name, IpVersion::of(ip)).await {
            Ok(addresses) if addresses.contains(&ip) => return Finding::new("pass", name),
            Err(ResolveError::Temporary(error)) => failure = Some(error),
            Ok(_) | Err(ResolveError::NoSuchDomain | ResolveError::NoRecords) => {}
        }
    }
    match failure {
        Some(error) => Finding::new("temperror", error),
        None => Finding::new("fail", "no name of the address knows it"),
    }
}

/// RFC 5321 section 4.1.4: the name of a host in full, or its address.
async fn ehlo(resolver: &dyn Resolver, ip: IpAddr, helo: &str, hostname: &str) -> Finding {
    if helo.starts_with('[') {
        let literal = Domain::parse(helo).ok().and_then(|domain| domain.literal());
        return match literal {
            Some(literal) if literal.to_canonical() == ip.to_canonical() => {
                Finding::new("pass", "the client's address")
            }
            Some(_) => Finding::new("fail", "it is another address than the client's"),
            None => Finding::new("fail", "it is no address"),
        };
    }
    let Some(name) = Domain::host_name(helo).filter(|name| name.as_str().contains('.')) else {
        return Finding::new("fail", "it is no host's full name");
    };
    if name.as_str().eq_ignore_ascii_case(hostname) || LOCAL_NAMES.contains(&name.as_str()) {
        return Finding::new("fail", "it is this host's own name");
    }
    let error = match resolver.addresses(name.as_str()).await {
        Ok(_) => return Finding::new("pass", "the name exists"),
        Err(error) => error,
    };
    match (error, resolver.mx(name.as_str()).await) {
        (_, Ok(_)) => Finding::new("pass", "the name takes mail"),
        (ResolveError::Temporary(error), _) | (_, Err(ResolveError::Temporary(error))) => {
            Finding::new("temperror", error)
        }
        _ => Finding::new("fail", "no host has that name"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use postrider_core::ports::MxRecord;

    use super::*;
    use crate::clock::SystemClock;

    #[derive(Debug, Default)]
    struct Zone(AtomicUsize);

    #[async_trait]
    impl Resolver for Zone {
        async fn mx(&self, domain: &str) -> Result<Vec<MxRecord>, ResolveError> {
            match domain {
                "mail.test" => Ok(vec![MxRecord { preference: 1, exchange: "mx.test".into() }]),
                "half.test" => Err(ResolveError::Temporary("SERVFAIL".into())),
                _ => Err(ResolveError::NoSuchDomain),
            }
        }

        async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
            match host {
                "one.test" => Ok(vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]),
                "slow.test" => Err(ResolveError::Temporary("SERVFAIL".into())),
                _ => Err(ResolveError::NoSuchDomain),
            }
        }

        async fn texts(&self, _: &str) -> Result<Vec<String>, ResolveError> {
            Err(ResolveError::NoRecords)
        }

        async fn names(&self, address: IpAddr) -> Result<Vec<String>, ResolveError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            match address.to_string().as_str() {
                "192.0.2.1" | "2001:db8::1" => Ok(vec!["gone.test".into(), "slow.test".into(), "one.test".into()]),
                "192.0.2.2" => Ok(vec!["one.test".into()]),
                "192.0.2.3" => Ok(vec!["one.test".into(), "slow.test".into()]),
                "192.0.2.4" => Err(ResolveError::Temporary("SERVFAIL".into())),
                _ => Err(ResolveError::NoSuchDomain),
            }
        }
    }

    fn checks(reverse_dns: ClientCheck, ehlo: ClientCheck) -> (Arc<Zone>, ClientChecks) {
        let zone = Arc::new(Zone::default());
        let hostname = "mx.shop.test".to_owned();
        (zone.clone(), ClientChecks { clock: Arc::new(SystemClock), resolver: zone, hostname, reverse_dns, ehlo })
    }

    #[tokio::test]
    async fn an_address_has_a_name_that_knows_it() {
        for (ip, result, code) in [
            ("192.0.2.1", "pass", 250),
            ("2001:db8::1", "pass", 250),
            ("::ffff:192.0.2.1", "pass", 250),
            ("192.0.2.2", "fail", 550),
            ("192.0.2.3", "temperror", 451),
            ("192.0.2.4", "temperror", 451),
            ("192.0.2.5", "permerror", 550),
        ] {
            let (zone, checks) = checks(ClientCheck::Reject, ClientCheck::Off);
            let (ip, findings): (IpAddr, _) = (ip.parse().unwrap(), Findings::default());
            let refused = checks.refuse(ip, "x", &findings).await.map_or_else(|reply| reply.code, |()| 250);
            let results = checks.results(ip, "x", &findings).await;
            assert_eq!((results[0].result.as_str(), refused), (result, code), "{ip}");
            assert_eq!((results.len(), zone.0.load(Ordering::Relaxed)), (1, 1), "asked once a session");
        }
    }

    #[tokio::test]
    async fn a_client_says_who_it_is() {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        for (helo, code) in [
            ("one.test", 250),
            ("ONE.test", 250),
            ("mail.test", 250),
            ("[192.0.2.1]", 250),
            ("[192.0.2.2]", 550),
            ("[IPv6:2001:db8::1]", 550),
            ("[x]", 550),
            ("one", 550),
            ("192.0.2.1", 550),
            ("a_b.test", 550),
            ("nowhere.test", 550),
            ("mx.shop.test", 550),
            ("MX.Shop.test", 550),
            ("localhost.localdomain", 550),
            ("slow.test", 451),
            ("half.test", 451),
        ] {
            let (_, checks) = checks(ClientCheck::Off, ClientCheck::Reject);
            let refused = checks.refuse(ip, helo, &Findings::default()).await;
            assert_eq!(refused.map_or_else(|reply| reply.code, |()| 250), code, "{helo}");
        }
    }

    #[tokio::test]
    async fn what_is_only_recorded_refuses_nothing() {
        let (zone, checks) = checks(ClientCheck::Record, ClientCheck::Record);
        let (ip, findings) = ("192.0.2.5".parse().unwrap(), Findings::default());
        assert_eq!(checks.refuse(ip, "one", &findings).await, Ok(()));
        assert_eq!(zone.0.load(Ordering::Relaxed), 0, "nobody asks before it is needed");
        let results = checks.results(ip, "one", &findings).await;
        let found: Vec<_> = results.iter().map(|found| (found.method.as_str(), found.result.as_str())).collect();
        assert_eq!(found, [("iprev", "permerror"), ("ehlo", "fail")]);
    }
}
