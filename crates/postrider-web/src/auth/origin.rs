//! Keeping strange pages out: by the name that a request is for, and by the page that it comes from.
//!
//! It knows no tokens.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// Whether the Host field names loopback. Browsers always send one; a program that sends none is no browser.
pub(super) fn host_is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = host_name(host);
    match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        // RFC 6761 section 6.3: names under localhost are loopback everywhere.
        Err(_) => name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost"),
    }
}

/// `host[:port]` without the port; an IPv6 address keeps its brackets.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a browser says, or no browser contradicts, that the request comes from a page of this server.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let fetch_site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    if fetch_site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in
            ["localhost", "localhost:3000", "LOCALHOST", "a.localhost:1", "127.0.0.1:3000", "127.9.9.9", "[::1]:80"]
        {
            assert!(host_is_local(&headers(&[("host", host)])), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "192.0.2.1:3000", "127.0.0.1.evil.example", "", "[::2]"]
        {
            assert!(!host_is_local(&headers(&[("host", host)])), "{host}");
        }
        assert!(host_is_local(&HeaderMap::new()));
    }

    #[test]
    fn pages_of_other_origins_are_told_apart() {
        let check = |fields: &[(&'static str, &str)]| is_same_origin(&headers(fields));
        assert!(check(&[("host", "localhost:3000")]));
        assert!(check(&[("host", "localhost:3000"), ("origin", "http://localhost:3000")]));
        assert!(check(&[("host", "localhost:3000"), ("sec-fetch-site", "same-origin")]));
        assert!(!check(&[("host", "localhost:3000"), ("origin", "http://localhost:8080")]));
        assert!(!check(&[("host", "localhost:3000"), ("origin", "null")]));
        assert!(!check(&[("host", "localhost:3000"), ("sec-fetch-site", "cross-site")]));
    }
}
