//! How it stands with the certificate from an authority, and whether the authority would find this host. The authority is not
//! asked: it counts.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use postrider::Engine;
use postrider_config::Settings;
use postrider_core::{Resolver, Timestamp};
use postrider_server::dns::DnsResolver;
use postrider_store::StoreError;
use postrider_store::acme::{AcmeCertificate, AcmeFailure, AcmeOrders};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::Finding;
use super::certificates::verify;

const AREA: &str = "acme";

const RENEWAL_ADVICE: &str = "start the server, which renews it; if it runs, its log says what it waits for";

pub(super) async fn check(settings: &Settings, findings: &mut Vec<Finding>) {
    match kept(settings).await {
        Ok((certificate, failure)) => {
            findings.push(judge(settings, certificate.as_ref(), failure.as_ref(), Timestamp::system()));
        }
        Err(error) => findings.push(Finding::warn(
            AREA,
            format!("the certificate that is kept cannot be looked at: {error}"),
            "see what is said of the store",
        )),
    }
    // Without a resolver, what is said of DNS says so.
    if let Ok(resolver) = DnsResolver::new(&settings.dns_servers) {
        for domain in &settings.acme.domains {
            findings.push(check_name(&resolver, settings, domain).await);
        }
    }
}

/// What the store has: the certificate, renewed later if the authority wishes that, and why there is no newer one.
async fn kept(settings: &Settings) -> Result<(Option<AcmeCertificate>, Option<AcmeFailure>), StoreError> {
    let engine = Engine::of(settings);
    if matches!(&engine, Engine::Sqlite(options) if !options.exists()) {
        return Ok((None, None));
    }
    let store = engine.open_beside().await?;
    let found = async {
        let certificate = AcmeCertificate::find(store.as_ref(), &settings.acme.domains).await?;
        let orders = AcmeOrders::find(store.as_ref(), &settings.acme.domains).await?;
        let wished = orders.renewal.and_then(|renewal| renewal.at).unwrap_or_default();
        let certificate = certificate.map(|(kept, _)| AcmeCertificate { renew_at: kept.renew_at.max(wished), ..kept });
        Ok((certificate, orders.failure))
    };
    let found = found.await;
    store.close().await?;
    found
}

fn judge(
    settings: &Settings,
    kept: Option<&AcmeCertificate>,
    failure: Option<&AcmeFailure>,
    now: Timestamp,
) -> Finding {
    let names = settings.acme.domains.join(", ");
    let failed = failure.map(|failure| format!("; the last try, at {}, failed: {}", failure.at, failure.error));
    let failed = failed.unwrap_or_default();
    let next =
        failure.map(|failure| format!("mend that; the server tries again at {}, or when reloaded", failure.retry_at));
    let Some(kept) = kept else {
        let advice = next.unwrap_or_else(|| "start the server: it asks the authority within a minute".to_owned());
        let message =
            format!("the authority has given no certificate for {names} yet; the self-signed one serves{failed}");
        return Finding::warn(AREA, message, advice);
    };
    let message = format!("the certificate for {names} is valid until {}", kept.not_after);
    if kept.not_after <= now {
        let message = format!("the certificate for {names} has ended at {}{failed}", kept.not_after);
        return Finding::fail(AREA, message, next.unwrap_or_else(|| RENEWAL_ADVICE.to_owned()));
    }
    if let Some(next) = next {
        return Finding::warn(AREA, format!("{message}{failed}"), next);
    }
    if kept.renew_at <= now {
        return Finding::warn(
            AREA,
            format!("{message}, and was to be renewed from {} on", kept.renew_at),
            RENEWAL_ADVICE,
        );
    }
    match trust(kept, &settings.acme.domains) {
        Ok(()) => Finding::ok(AREA, format!("{message}, and is renewed from {} on", kept.renew_at)),
        Err(error) => Finding::warn(
            AREA,
            format!("{message}, but not trusted by the public: {error}"),
            "if ACME_DIRECTORY_URL is an authority for trying, set it to the real one",
        ),
    }
}

/// Whether those that trust what browsers trust would take it.
fn trust(kept: &AcmeCertificate, domains: &[String]) -> Result<(), String> {
    let chain = CertificateDer::pem_slice_iter(kept.chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| error.to_string())?;
    let (certificate, intermediates) = chain.split_first().ok_or("there is none")?;
    for domain in domains {
        let name = ServerName::try_from(domain.as_str()).map_err(|error| error.to_string())?;
        verify(certificate, intermediates, &name, UnixTime::now()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Whether a name leads here, as far as that can be told from here.
async fn check_name(resolver: &dyn Resolver, settings: &Settings, domain: &str) -> Finding {
    match resolver.addresses(domain).await {
        Ok(addresses) => judge_addresses(settings, domain, &addresses),
        Err(error) => Finding::warn(
            AREA,
            format!("the authority would not find {domain}: {error}"),
            "add an A or AAAA record that leads here",
        ),
    }
}

fn judge_addresses(settings: &Settings, domain: &str, addresses: &[IpAddr]) -> Finding {
    let listed = |ips: &[&IpAddr]| ips.iter().map(|ip| ip.to_string()).collect::<Vec<_>>().join(", ");
    let setting = settings.acme.port_setting();
    let is_here = |ip: &&IpAddr| UdpSocket::bind(SocketAddr::new(**ip, 0)).is_ok();
    let (here, elsewhere): (Vec<&IpAddr>, Vec<&IpAddr>) = addresses.iter().partition(is_here);
    let is_heard = |ip: &&IpAddr| {
        let mut hosts = settings.acme_hosts().iter();
        hosts.any(|host| host == *ip || (host.is_unspecified() && host.is_ipv4() == ip.is_ipv4()))
    };
    let unheard: Vec<&IpAddr> = here.iter().copied().filter(|ip| !is_heard(ip)).collect();
    if !unheard.is_empty() {
        return Finding::warn(
            AREA,
            format!("the authority may look for {domain} at {}, where {setting} is not bound", listed(&unheard)),
            "add that address, or :: for all of IPv6, to ACME_HOST or SMTP_HOST",
        );
    }
    if !elsewhere.is_empty() {
        return Finding::warn(
            AREA,
            format!("the authority may look for {domain} at {}, no address of this machine", listed(&elsewhere)),
            format!("what has that address must pass on to {setting} here, or to another node on the same store"),
        );
    }
    Finding::ok(AREA, format!("the authority finds {domain} at {}, where {setting} is bound", listed(&here)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postrider_config::{Profile, Sources};
    use postrider_store::dkim::PrivateKey;

    use super::super::Level;
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn settings(host: &str) -> Settings {
        let variables = [("MAIL_HOSTNAME", "mx.example.org"), ("ACME_ENABLED", "true"), ("SMTP_HOST", host)];
        postrider_config::load(Profile::Serve, Sources::from_variables(variables)).unwrap().settings
    }

    #[test]
    fn what_is_kept_is_judged_by_its_time_and_by_what_failed() {
        let now = Timestamp::from_millis(1_795_354_780_000);
        let settings = settings("0.0.0.0");
        let made = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
        let kept = AcmeCertificate {
            directory_url: String::new(),
            chain: made.cert.pem(),
            private_key: PrivateKey(String::new()),
            not_before: now,
            not_after: now + DAY * 90,
            renew_at: now + DAY * 60,
        };
        let failed =
            AcmeFailure { count: 1, at: now, error: "no way".to_owned(), retry_at: now + DAY, barred_until: None };
        for (kept, failure, now, level, message, advice) in [
            (None, None, now, Level::Warn, "given no certificate for mx.example.org yet", "start the server"),
            (None, Some(&failed), now, Level::Warn, "failed: no way", "tries again at 2026-11-23"),
            (Some(&kept), None, now, Level::Warn, "not trusted by the public", "for trying"),
            (
                Some(&kept),
                Some(&failed),
                now,
                Level::Warn,
                "valid until 2027-02-20T13:39:40.000Z; the last try",
                "mend that",
            ),
            (Some(&kept), None, now + DAY * 61, Level::Warn, "was to be renewed from 2027-01-21", "start the server"),
            (Some(&kept), None, now + DAY * 90, Level::Fail, "has ended at 2027-02-20", "start the server"),
        ] {
            let finding = judge(&settings, kept, failure, now);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.message.contains(message), "{finding:?}");
            assert!(finding.advice.as_ref().unwrap().contains(advice), "{finding:?}");
        }
    }

    #[test]
    fn names_lead_here_or_to_whoever_passes_on() {
        let judged = |host: &str, addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            judge_addresses(&settings(host), "mx.example.org", &addresses)
        };
        assert_eq!(judged("127.0.0.9", &["127.0.0.9"]).level, Level::Ok);
        assert_eq!(judged("0.0.0.0", &["127.0.0.9"]).level, Level::Ok);
        assert!(judged("127.0.0.8", &["127.0.0.9"]).message.contains("ACME_HTTP_PORT is not bound"));
        assert!(judged("0.0.0.0", &["127.0.0.9", "::1"]).message.contains("at ::1, where ACME_HTTP_PORT is not bound"));
        assert!(judged("0.0.0.0", &["127.0.0.9", "192.0.2.9"]).message.contains("at 192.0.2.9, no address"));
    }
}
