//! Whether the addresses that mail is to leave from are this host's.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use postrider_config::Settings;

use super::Finding;

const AREA: &str = "source-ips";

pub(super) fn check(settings: &Settings, findings: &mut Vec<Finding>) {
    let fallback = settings.ip_selection.fallback.filter(|_| settings.ip_selection.enabled);
    let sources = settings.source_ips.iter().map(|source| source.ip).filter(|_| !settings.ip_selection.enabled);
    let named = fallback.map(|ip| ("FALLBACK_IP", ip)).into_iter().chain(sources.map(|ip| ("SOURCE_IPS", ip)));
    findings.extend(named.map(|(setting, ip)| check_address(setting, ip)));
    if settings.ip_selection.enabled {
        let message = "a service picks source addresses; `postrider selftest ip` has the running server ask it";
        findings.push(Finding::ok(AREA, message));
    }
}

/// Nothing is sent to find out.
fn check_address(setting: &str, ip: IpAddr) -> Finding {
    match UdpSocket::bind(SocketAddr::new(ip, 0)) {
        Ok(_) => Finding::ok(AREA, format!("{ip} of {setting} is an address of this host")),
        Err(error) => Finding::warn(
            AREA,
            format!("{ip} of {setting} is no address of this host: {error}"),
            "no mail leaves from there: give the address to an interface (`ip address add`), or leave it out",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn addresses_of_other_hosts_are_doubtful() {
        assert_eq!(check_address("SOURCE_IPS", [127, 0, 0, 9].into()).level, Level::Ok);
        assert_eq!(check_address("SOURCE_IPS", [192, 0, 2, 9].into()).level, Level::Warn);
    }
}
