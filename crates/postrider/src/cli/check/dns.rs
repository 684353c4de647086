//! Whether names resolve, and whether the world would bring its mail here.

use std::net::IpAddr;

use postrider_config::{DeliveryMode, Settings};
use postrider_core::{Domain, ResolveError, Resolver};
use postrider_server::dns::DnsResolver;
use postrider_server::{DnssecFailure, passes_dnssec};

use super::Finding;

const AREA: &str = "dns";

pub(super) async fn check(settings: &Settings, findings: &mut Vec<Finding>) {
    match DnsResolver::new(&settings.dns_servers) {
        Ok(resolver) => {
            check_with(&resolver, settings, findings).await;
            if settings.dane_enabled && settings.delivery_mode == DeliveryMode::Mx {
                findings.push(check_dnssec(settings).await);
            }
        }
        Err(error) => findings.push(Finding::fail(AREA, error, "set DNS_SERVERS to servers that answer")),
    }
}

/// What DANE stands on.
async fn check_dnssec(settings: &Settings) -> Finding {
    match passes_dnssec(&settings.dns_servers, settings.dnssec_trust_anchor_file.as_deref()).await {
        Ok(true) => Finding::ok(AREA, "the DNS servers pass DNSSEC on: DANE is in effect"),
        Ok(false) => Finding::warn(
            AREA,
            "the DNS servers pass no DNSSEC on: there is no DANE",
            "set DNS_SERVERS to servers that do, best on this machine, or DANE_ENABLED=false",
        ),
        Err(DnssecFailure::Settings(error)) => Finding::fail(AREA, error, "name a file of DNSKEY records, or none"),
        Err(error @ DnssecFailure::NoAnswer(_)) => Finding::warn(
            AREA,
            error.to_string(),
            "mail waits for that answer: try again, or set DNS_SERVERS to servers that answer",
        ),
    }
}

async fn check_with(resolver: &dyn Resolver, settings: &Settings, findings: &mut Vec<Finding>) {
    let hostname = settings.mail_hostname.as_str();
    let own = match resolver.addresses(hostname).await {
        Ok(addresses) => {
            findings.push(judge_addresses(hostname, &addresses, settings.delivery_mode));
            addresses
        }
        Err(ResolveError::Temporary(error)) => {
            findings.push(no_answer(settings, &error));
            // The questions behind this one would wait as long for as little.
            return;
        }
        Err(ResolveError::NoSuchDomain | ResolveError::NoRecords) => {
            findings.push(Finding::warn(
                AREA,
                format!("{hostname} has no address"),
                "other servers distrust such a name in EHLO: add an A or AAAA record, or set MAIL_HOSTNAME",
            ));
            Vec::new()
        }
    };
    for domain in &settings.allowed_domains {
        findings.push(check_domain(resolver, domain, hostname, &own).await);
    }
}

/// A name that means loopback is what a machine calls itself; the world does not find it so.
fn judge_addresses(hostname: &str, addresses: &[IpAddr], mode: DeliveryMode) -> Finding {
    let shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let message = format!("{hostname} is {}", shown.join(", "));
    if mode == DeliveryMode::Mx && addresses.iter().all(IpAddr::is_loopback) {
        return Finding::warn(
            AREA,
            message,
            "that is this machine's name for itself: set MAIL_HOSTNAME to its public name",
        );
    }
    Finding::ok(AREA, message)
}

/// Without DNS no mail leaves by MX; the other modes may live without.
fn no_answer(settings: &Settings, error: &str) -> Finding {
    let message = format!("no DNS server answers: {error}");
    let advice = "set DNS_SERVERS to servers that answer, or mend /etc/resolv.conf";
    if settings.delivery_mode == DeliveryMode::Mx {
        Finding::fail(AREA, message, advice)
    } else {
        Finding::warn(AREA, message, advice)
    }
}

/// Whether the MX records of a domain lead to this host: by its name, or by one of its addresses.
async fn check_domain(resolver: &dyn Resolver, domain: &Domain, hostname: &str, own: &[IpAddr]) -> Finding {
    let advice = format!("add the record: {domain}. MX 10 {hostname}.");
    let records = match resolver.mx(domain.as_str()).await {
        Ok(records) => records,
        Err(error) => {
            return Finding::warn(AREA, format!("the MX records of {domain} cannot be found: {error}"), advice);
        }
    };
    for record in &records {
        if record.exchange.eq_ignore_ascii_case(hostname) {
            return Finding::ok(AREA, format!("mail for {domain} comes to {hostname}"));
        }
    }
    for record in &records {
        let addresses = resolver.addresses(&record.exchange).await.unwrap_or_default();
        if addresses.iter().any(|address| own.contains(address)) {
            return Finding::ok(AREA, format!("mail for {domain} comes here by the name {}", record.exchange));
        }
    }
    let exchanges: Vec<&str> = records.iter().map(|record| record.exchange.as_str()).collect();
    Finding::warn(AREA, format!("mail for {domain} goes to {}, not here", exchanges.join(", ")), advice)
}

#[cfg(test)]
mod tests {
    use postrider_core::ports::MxRecord;

    use super::super::Level;
    use super::*;

    /// `mx.example.org` is 192.0.2.1, under the name `alias.example.org` too.
    #[derive(Debug)]
    struct Zone;

    #[async_trait::async_trait]
    impl Resolver for Zone {
        async fn mx(&self, domain: &str) -> Result<Vec<MxRecord>, ResolveError> {
            let exchange = match domain {
                "named.example" => "MX.example.org",
                "aliased.example" => "alias.example.org",
                "elsewhere.example" => "mx.elsewhere.example",
                _ => return Err(ResolveError::NoRecords),
            };
            Ok(vec![MxRecord { preference: 10, exchange: exchange.to_owned() }])
        }

        async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
            match host {
                "alias.example.org" => Ok(vec!["192.0.2.1".parse().unwrap()]),
                "mx.elsewhere.example" => Ok(vec!["192.0.2.9".parse().unwrap()]),
                _ => Err(ResolveError::NoSuchDomain),
            }
        }

        async fn texts(&self, _name: &str) -> Result<Vec<String>, ResolveError> {
            Err(ResolveError::NoRecords)
        }

        async fn names(&self, _address: IpAddr) -> Result<Vec<String>, ResolveError> {
            Err(ResolveError::NoRecords)
        }
    }

    #[test]
    fn loopback_is_no_public_address() {
        let level = |address: &str, mode| judge_addresses("mx.example.org", &[address.parse().unwrap()], mode).level;
        assert_eq!(level("127.0.1.1", DeliveryMode::Mx), Level::Warn);
        assert_eq!(level("127.0.1.1", DeliveryMode::Capture), Level::Ok);
        assert_eq!(level("192.0.2.1", DeliveryMode::Mx), Level::Ok);
    }

    #[tokio::test]
    async fn mail_comes_here_by_name_or_address() {
        let own = ["192.0.2.1".parse().unwrap()];
        for (domain, level) in [
            ("named.example", Level::Ok),
            ("aliased.example", Level::Ok),
            ("elsewhere.example", Level::Warn),
            ("none.example", Level::Warn),
        ] {
            let finding = check_domain(&Zone, &Domain::parse(domain).unwrap(), "mx.example.org", &own).await;
            assert_eq!(finding.level, level, "{domain}: {finding:?}");
        }
    }
}
