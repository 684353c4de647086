//! What DNS says of the addresses that mail leaves from: whether SPF lets them send, and whether their names lead back.

use std::net::IpAddr;

use postrider_config::{DeliveryMode, Settings};
use postrider_core::spf::SpfResult;
use postrider_core::{Domain, ResolveError, Resolver};
use postrider_server::{SpfClient, check_spf};

use postrider_web::view::{DnsRecordView, DnsState};

use super::{said, state_of, text};

/// An address that mail leaves from, and the setting by which it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) ip: IpAddr,
    pub(super) setting: &'static str,
}

/// Those that are known beforehand: which others a service picks, it alone knows. None where a relay sends.
pub(super) fn senders(settings: &Settings, own: &[IpAddr]) -> Vec<Sender> {
    if settings.delivery_mode == DeliveryMode::Relay {
        return Vec::new();
    }
    let selection = &settings.ip_selection;
    let named: Vec<Sender> = if selection.enabled {
        selection.fallback.iter().map(|&ip| Sender { ip, setting: "FALLBACK_IP" }).collect()
    } else {
        settings.source_ips.iter().map(|source| Sender { ip: source.ip, setting: "SOURCE_IPS" }).collect()
    };
    match named.is_empty() {
        true => own.iter().map(|&ip| Sender { ip, setting: "MAIL_HOSTNAME" }).collect(),
        false => named,
    }
}

/// The domain's SPF record, and whether each of the senders passes it (RFC 7208).
pub(super) async fn spf(resolver: &dyn Resolver, name: &Domain, hostname: &str, senders: &[Sender]) -> DnsRecordView {
    let mut record = text(resolver, "SPF", name.to_string(), spf_value(name, hostname, senders), "v=spf1").await;
    if record.state != DnsState::Present {
        return record;
    }
    for Sender { ip, setting } in senders {
        let client = SpfClient { ip: *ip, helo: hostname, local_part: "postmaster", domain: name.as_str() };
        let result = check_spf(resolver, client).await;
        match result {
            SpfResult::Pass => continue,
            SpfResult::TempError if record.state == DnsState::Present => record.state = DnsState::Unknown,
            SpfResult::TempError => {}
            _ => record.state = DnsState::Wrong,
        }
        record.found.push(format!("mail from {ip} ({setting}) does not pass it: {}", result.as_str()));
    }
    record
}

/// What the domain should say of who sends for it: its MX, this host where that is another, and what leaves from elsewhere.
fn spf_value(name: &Domain, hostname: &str, senders: &[Sender]) -> String {
    let mut value =
        if name.as_str() == hostname { "v=spf1 a mx".to_owned() } else { format!("v=spf1 mx a:{hostname}") };
    for Sender { ip, .. } in senders.iter().filter(|sender| sender.setting != "MAIL_HOSTNAME") {
        let mechanism = if ip.is_ipv4() { "ip4" } else { "ip6" };
        value.push_str(&format!(" {mechanism}:{ip}"));
    }
    value + " -all"
}

/// The PTR record of each address of this host, and of each that mail leaves from: other servers distrust one that does not lead
/// back (RFC 8601 section 3).
pub(super) async fn reverse(
    resolver: &dyn Resolver,
    hostname: &str,
    own: &Result<Vec<IpAddr>, ResolveError>,
    senders: &[Sender],
) -> Vec<DnsRecordView> {
    let mut records = Vec::new();
    match own {
        Ok(addresses) => {
            for &address in addresses {
                records.push(reverse_of(resolver, hostname, address, true).await);
            }
        }
        Err(error) => {
            let name = format!("the address of {hostname}");
            records.push(record(name, hostname, state_of(error), said(error)));
        }
    }
    let known = own.as_deref().unwrap_or_default();
    for Sender { ip, .. } in senders.iter().filter(|sender| !known.contains(&sender.ip)) {
        records.push(reverse_of(resolver, hostname, *ip, false).await);
    }
    records
}

/// `is_host`: the address is to have this host's name. Else any does that leads back: it is what the mail says in EHLO.
async fn reverse_of(resolver: &dyn Resolver, hostname: &str, address: IpAddr, is_host: bool) -> DnsRecordView {
    let name = reverse_name(address);
    let names = match resolver.names(address).await {
        Ok(names) => names,
        Err(error) => return record(name, hostname, state_of(&error), said(&error)),
    };
    let mut is_right = names.iter().any(|name| name.eq_ignore_ascii_case(hostname)) && is_host;
    for candidate in names.iter().filter(|_| !is_host) {
        is_right |= resolver.addresses(candidate).await.is_ok_and(|addresses| addresses.contains(&address));
    }
    let state = match names.is_empty() {
        _ if is_right => DnsState::Present,
        true => DnsState::Missing,
        false => DnsState::Wrong,
    };
    record(name, hostname, state, names)
}

fn record(name: String, hostname: &str, state: DnsState, found: Vec<String>) -> DnsRecordView {
    DnsRecordView { purpose: "PTR", name, kind: "PTR", value: format!("{hostname}."), state, found }
}

/// Where an address's PTR record stands (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names() {
        assert_eq!(reverse_name([192, 0, 2, 7].into()), "7.2.0.192.in-addr.arpa");
        let name = reverse_name("2001:db8::1".parse().unwrap());
        assert_eq!(name, format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23)));
    }

    #[test]
    fn the_record_names_all_who_send() {
        let sender = |ip: &str, setting| Sender { ip: ip.parse().unwrap(), setting };
        let name = Domain::parse("a.test").unwrap();
        let value = spf_value(&name, "mx.test", &[sender("192.0.2.1", "MAIL_HOSTNAME")]);
        assert_eq!(value, "v=spf1 mx a:mx.test -all");
        let senders = [sender("192.0.2.1", "SOURCE_IPS"), sender("2001:db8::1", "SOURCE_IPS")];
        assert_eq!(spf_value(&name, "a.test", &senders), "v=spf1 a mx ip4:192.0.2.1 ip6:2001:db8::1 -all");
    }
}
