//! Reading values. A reason in an error may show a part of the value only where the setting is no secret.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use postrider_core::Domain;
use postrider_core::source::is_of_one_host;
use url::{Host, Url};

use crate::settings::{Credentials, DomainPattern, Relay, SourceIp, WarmUp};

/// Why a value is refused; `None` where there is nothing to add to what is allowed.
pub(crate) type Reason = Option<String>;

const DNS_PORT: u16 = 53;
const SMTP_PORT: u16 = 25;
const WARM_UP_GROWTH_DEFAULT: &str = "1.5";
/// Implicit TLS (RFC 8314 section 7.3).
const SUBMISSIONS_PORT: u16 = 465;

/// Decimal digits only: no sign, no space, no unit.
pub(crate) fn number(text: &str, min: u64, max: u64) -> Result<u64, Reason> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(None);
    }
    // What overflows is too large.
    text.parse().ok().filter(|n| (min..=max).contains(n)).ok_or(None)
}

pub(crate) fn switch(text: &str) -> Result<bool, Reason> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(None),
    }
}

/// A comma list; spaces around the elements and a comma at the end do not matter. The empty text is the empty list.
pub(crate) fn list<T>(text: &str, element: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Reason>
where
    T: PartialEq,
{
    let mut elements = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let value = element(part).ok_or_else(|| Some(format!("{part:?} is none")))?;
        if !elements.contains(&value) {
            elements.push(value);
        }
    }
    Ok(elements)
}

/// An address to bind. `localhost` is taken too, because many write it; other names are not looked up.
pub(crate) fn bind_address(text: &str) -> Option<IpAddr> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse().ok()
}

/// A network in CIDR notation, or one address. Host bits are cleared.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse().ok().map(|ip: IpAddr| IpNet::from(ip))).map(|net| net.trunc())
}

/// The networks that may relay without AUTH. Together they must not be all addresses, which is an open relay by a typo.
pub(crate) fn trusted_networks(text: &str) -> Result<Vec<IpNet>, Reason> {
    let networks = list(text, network)?;
    match IpNet::aggregate(&networks).iter().find(|network| network.prefix_len() == 0) {
        Some(whole) => Err(Some(format!(
            "that is {whole}, the whole Internet, and an open relay; name the networks of your own machines"
        ))),
        None => Ok(networks),
    }
}

/// Whether a network holds more of the public Internet than one organisation is likely to have.
pub(crate) fn is_wide_and_public(network: &IpNet) -> bool {
    let prefix_bits_min = match network {
        IpNet::V4(_) => 16,
        IpNet::V6(_) => 32,
    };
    // Loopback, link-local, private use, shared address space and unique local (RFC 6890).
    let private = [
        IpNet::new_assert(Ipv4Addr::new(10, 0, 0, 0).into(), 8),
        IpNet::new_assert(Ipv4Addr::new(100, 64, 0, 0).into(), 10),
        IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        IpNet::new_assert(Ipv4Addr::new(169, 254, 0, 0).into(), 16),
        IpNet::new_assert(Ipv4Addr::new(172, 16, 0, 0).into(), 12),
        IpNet::new_assert(Ipv4Addr::new(192, 168, 0, 0).into(), 16),
        IpNet::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0).into(), 7),
        IpNet::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10),
    ];
    network.prefix_len() < prefix_bits_min && !private.iter().any(|private| private.contains(network))
}

/// `ip`, `ip:port`, `[v6]` or `[v6]:port`.
pub(crate) fn dns_server(text: &str) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, DNS_PORT));
    }
    if let Some(v6) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return v6.parse().ok().map(|ip| SocketAddr::new(IpAddr::V6(ip), DNS_PORT));
    }
    text.parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

/// A domain whose mail can be kept here: a name, no address literal.
pub(crate) fn domain(text: &str) -> Option<Domain> {
    Domain::parse(text).ok().filter(|domain| domain.literal().is_none())
}

/// `domain`, `.domain` for all below it, or `*`.
pub(crate) fn domain_pattern(text: &str) -> Option<DomainPattern> {
    match text.strip_prefix('.') {
        _ if text == "*" => Some(DomainPattern::All),
        Some(parent) => domain(parent).map(DomainPattern::Below),
        None => domain(text).map(DomainPattern::One),
    }
}

/// A host's own name as it stands in banner, EHLO and trace fields: letters, digits and hyphens (RFC 5321 section 4.1.2).
pub(crate) fn hostname(text: &str) -> Option<String> {
    Domain::host_name(text).map(|name| name.as_str().to_owned())
}

pub(crate) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

/// What a bearer token may hold (RFC 6750 section 2.1).
pub(crate) fn is_bearer_token(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b))
}

/// An absolute http or https URL with a host.
pub(crate) fn http_url(text: &str) -> Result<Url, Reason> {
    let url = Url::parse(text).map_err(|error| Some(error.to_string()))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(None) }
}

/// An absolute https URL with a host.
pub(crate) fn https_url(text: &str) -> Result<Url, Reason> {
    let url = http_url(text)?;
    if url.scheme() == "https" { Ok(url) } else { Err(None) }
}

/// RFC 4648 section 5, without padding or with it.
pub(crate) fn is_base64url(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).is_ok()
}

/// `ip[*weight]`.
pub(crate) fn weighted_ip(text: &str) -> Option<SourceIp> {
    let (ip, weight) = text.split_once('*').unwrap_or((text, "1"));
    let weight = number(weight.trim(), 1, 1_000).ok()?;
    Some(SourceIp { ip: source_ip(ip.trim())?, weight: u32::try_from(weight).ok()? })
}

/// `ip=messages[*growth]`.
pub(crate) fn warm_up(text: &str) -> Option<WarmUp> {
    let (ip, rest) = text.split_once('=')?;
    let (messages, growth) = rest.split_once('*').unwrap_or((rest, WARM_UP_GROWTH_DEFAULT));
    let growth: f64 = growth.trim().parse().ok().filter(|growth| (1.0..=10.0).contains(growth))?;
    Some(WarmUp { ip: source_ip(ip.trim())?, messages: number(messages.trim(), 1, 10_000_000).ok()?, growth })
}

/// An address that mail can come from.
pub(crate) fn source_ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()).filter(|ip| is_of_one_host(*ip))
}

/// A MongoDB connection string. Only its scheme is looked at here; the engine's driver judges the rest.
pub(crate) fn mongodb_url(text: &str) -> Result<(), Reason> {
    let rest = text.strip_prefix("mongodb://").or_else(|| text.strip_prefix("mongodb+srv://"));
    if rest.is_some_and(|rest| !rest.is_empty()) { Ok(()) } else { Err(None) }
}

/// `smtp[s]://[user:password@]host[:port]`, user and password percent-encoded (RFC 3986 section 2.1).
pub(crate) fn relay(text: &str) -> Result<Relay, Reason> {
    let refuse = |reason: &str| Some(reason.to_owned());
    let url = Url::parse(text).map_err(|error| Some(error.to_string()))?;
    let implicit_tls = match url.scheme() {
        "smtp" => false,
        "smtps" => true,
        _ => return Err(refuse("the scheme is neither smtp nor smtps")),
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("something stands behind host and port; in a password, write / as %2F, ? as %3F, # as %23"));
    }
    let host = match url.host() {
        // For schemes that the URL standard does not know, an IPv4 address comes as a name.
        Some(Host::Domain(name)) => match name.parse::<IpAddr>() {
            Ok(ip) => ip.to_string(),
            Err(_) => domain(&decoded(name)?).ok_or_else(|| refuse("the host is not a valid name"))?.to_string(),
        },
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => return Err(refuse("there is no host")),
    };
    let port = url.port().unwrap_or(if implicit_tls { SUBMISSIONS_PORT } else { SMTP_PORT });
    if port == 0 {
        return Err(refuse("the port is 0"));
    }
    Ok(Relay { implicit_tls, host, port, credentials: credentials(&url)? })
}

fn credentials(url: &Url) -> Result<Option<Credentials>, Reason> {
    match (url.username(), url.password().unwrap_or_default()) {
        ("", "") => Ok(None),
        ("", _) => Err(Some("there is a password, but no user".to_owned())),
        (_, "") => Err(Some("there is a user, but no password".to_owned())),
        (user, password) => Ok(Some(Credentials { user: decoded(user)?, password: decoded(password)? })),
    }
}

/// Percent-decoding that leaves nothing doubtful: UTF-8 without control characters, which SASL does not take (RFC 4616,
/// RFC 4013). The reason shows nothing of the text: it may be a password.
fn decoded(text: &str) -> Result<String, Reason> {
    let decoded =
        percent_decode_str(text).decode_utf8().map_err(|_| Some("what is percent-encoded is not UTF-8".to_owned()))?;
    if decoded.chars().any(char::is_control) {
        return Err(Some("it holds a control character".to_owned()));
    }
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_within_their_range() {
        assert_eq!(number("0", 0, 9), Ok(0));
        assert_eq!(number("007", 0, 9), Ok(7));
        for text in ["", "10", "-1", "+1", " 1", "1 ", "1.0", "0x1", "99999999999999999999999", "١"] {
            assert_eq!(number(text, 0, 9), Err(None), "{text:?}");
        }
    }

    #[test]
    fn lists_take_spaces_and_name_the_bad_element() {
        let numbers = |text: &str| list(text, |part| part.parse::<u8>().ok());
        assert_eq!(numbers(" 1, 2 ,,2,"), Ok(vec![1, 2]));
        assert_eq!(numbers(""), Ok(vec![]));
        assert_eq!(numbers("1,x,3"), Err(Some("\"x\" is none".to_owned())));
    }

    #[test]
    fn networks() {
        let shown = |text| network(text).map(|net| net.to_string());
        assert_eq!(shown("10.1.2.3/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(shown("192.0.2.1").as_deref(), Some("192.0.2.1/32"));
        assert_eq!(shown("::1").as_deref(), Some("::1/128"));
        assert_eq!(shown("2001:db8::/32").as_deref(), Some("2001:db8::/32"));
        for text in ["10.0.0.0/33", "10.0.0/8", "::1/129", "example.org", "10.0.0.0/"] {
            assert_eq!(shown(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_whole_internet_is_never_trusted() {
        for text in ["0.0.0.0/0", "::/0", "10.0.0.0/8, 1.2.3.4/0", "0.0.0.0/1,128.0.0.0/1"] {
            let reason = trusted_networks(text).expect_err(text).unwrap();
            assert!(reason.contains("open relay"), "{text:?} gave {reason:?}");
        }
        for text in ["", "127.0.0.0/8,::1", "10.0.0.0/8", "0.0.0.0/1", "2001:db8::/32"] {
            assert!(trusted_networks(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn wide_public_networks() {
        let is_wide = |text| is_wide_and_public(&network(text).unwrap());
        for text in ["8.0.0.0/8", "203.0.0.0/15", "10.0.0.0/7", "172.0.0.0/8", "2001:d00::/24", "2000::/3"] {
            assert!(is_wide(text), "{text}");
        }
        for text in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "203.0.0.0/16"] {
            assert!(!is_wide(text), "{text}");
        }
        for text in ["2001:db8::/32", "fd00::/8", "fe80::/10", "::1"] {
            assert!(!is_wide(text), "{text}");
        }
    }

    #[test]
    fn dns_servers() {
        let shown = |text| dns_server(text).map(|address| address.to_string());
        assert_eq!(shown("192.0.2.1").as_deref(), Some("192.0.2.1:53"));
        assert_eq!(shown("192.0.2.1:5353").as_deref(), Some("192.0.2.1:5353"));
        assert_eq!(shown("::1").as_deref(), Some("[::1]:53"));
        assert_eq!(shown("[::1]").as_deref(), Some("[::1]:53"));
        assert_eq!(shown("[::1]:5353").as_deref(), Some("[::1]:5353"));
        for text in ["192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "[192.0.2.1]", "dns.example"] {
            assert_eq!(shown(text), None, "{text:?}");
        }
    }

    #[test]
    fn source_addresses() {
        assert_eq!(source_ip("192.0.2.1"), Some([192, 0, 2, 1].into()));
        assert_eq!(source_ip("::ffff:192.0.2.1"), Some([192, 0, 2, 1].into()));
        for text in ["", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "192.0.2.0/24", "mx.example"] {
            assert_eq!(source_ip(text), None, "{text:?}");
        }
    }

    #[test]
    fn source_addresses_with_weights_and_warm_ups() {
        let ip: IpAddr = [192, 0, 2, 1].into();
        assert_eq!(weighted_ip("192.0.2.1"), Some(SourceIp { ip, weight: 1 }));
        assert_eq!(weighted_ip("192.0.2.1 * 3"), Some(SourceIp { ip, weight: 3 }));
        assert_eq!(weighted_ip("2001:db8::1*2").map(|source| source.weight), Some(2));
        for text in ["", "192.0.2.1*0", "192.0.2.1*1001", "192.0.2.1*x", "*2", "mx.example*2"] {
            assert_eq!(weighted_ip(text), None, "{text:?}");
        }
        assert_eq!(warm_up("192.0.2.1=50"), Some(WarmUp { ip, messages: 50, growth: 1.5 }));
        assert_eq!(warm_up("192.0.2.1 = 50 * 2"), Some(WarmUp { ip, messages: 50, growth: 2.0 }));
        for text in ["192.0.2.1", "192.0.2.1=0", "192.0.2.1=5*0.9", "192.0.2.1=5*11", "192.0.2.1=5*inf", "=5", "x=5"] {
            assert_eq!(warm_up(text), None, "{text:?}");
        }
    }

    #[test]
    fn patterns_of_domains() {
        let matches = |pattern: &str, text: &str| domain_pattern(pattern).unwrap().matches(&domain(text).unwrap());
        assert!(matches("*", "a.example") && matches("A.Example", "a.example") && matches(".example", "b.a.example"));
        for (pattern, text) in [("example", "a.example"), (".example", "example"), (".a.example", "ba.example")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        for text in ["", ".", "*.example", "[192.0.2.1]", "a b"] {
            assert_eq!(domain_pattern(text), None, "{text:?}");
        }
    }

    #[test]
    fn host_names() {
        assert_eq!(hostname("MX.Example.org.").as_deref(), Some("mx.example.org"));
        assert_eq!(hostname("bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        for text in ["", "a b", "a_b.example", "[192.0.2.1]", "-a.example", "a..b", "a\r\nb"] {
            assert_eq!(hostname(text), None, "{text:?}");
        }
    }

    #[test]
    fn relay_urls() {
        let plain = relay("smtp://relay.example").unwrap();
        assert_eq!(plain, Relay { implicit_tls: false, host: "relay.example".into(), port: 25, credentials: None });
        let full = relay("smtps://ann%40example.org:p%3A%2F%40%25w%C3%B6rd@Relay.Example:2465/").unwrap();
        assert_eq!((full.implicit_tls, full.host.as_str(), full.port), (true, "relay.example", 2465));
        let credentials = full.credentials.unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("ann@example.org", "p:/@%wörd"));
        assert_eq!(relay("smtps://relay.example").unwrap().port, 465);
        assert_eq!(relay("smtp://[2001:db8::1]:26").unwrap().host, "2001:db8::1");
        assert_eq!(relay("smtp://127.0.0.1:2526").unwrap().host, "127.0.0.1");
    }

    #[test]
    fn refused_relay_urls_never_show_the_password() {
        for text in [
            "",
            "relay.example",
            "http://relay.example",
            "smtp://",
            "smtp://:secret@relay.example",
            "smtp://ann@relay.example",
            "smtp://ann:secret@",
            "smtp://ann:sec/ret@relay.example",
            "smtp://ann:sec%FFret@relay.example",
            "smtp://ann:sec%00ret@relay.example",
            "smtp://ann:secret@relay.example/path",
            "smtp://ann:secret@relay.example?x=1",
            "smtp://ann:secret@relay.example:0",
            "smtp://ann:secret@relay.example:65536",
            "smtp://ann:secret@relay..example",
        ] {
            let reason = relay(text).expect_err(text).unwrap_or_default();
            assert!(!reason.contains("sec"), "{text:?} gave {reason:?}");
        }
    }
}
