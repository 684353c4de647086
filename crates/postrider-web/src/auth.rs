//! Who may ask: the bearer token, and, where there is none, only browsers and programs of this machine.
//!
//! A listener without a token is open to whoever reaches loopback, and a web page in a browser on this machine reaches
//! it too. Two checks keep strange pages out. The Host field must name loopback, so that a page whose name was rebound to
//! 127.0.0.1 reads nothing. And a changing request must not come from a page of another origin.

use std::fmt;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use ring::hmac;
use ring::rand::SystemRandom;

use crate::AppState;
use crate::api::openapi;
use crate::problem::Problem;

const HEALTH_PATH: &str = "/health";
const BEARER_CHALLENGE: &str = r#"Bearer realm="Postrider""#;
/// For pages only: a browser asks its user, who gives the token as password.
const BASIC_CHALLENGE: &str = r#"Basic realm="Postrider", charset="UTF-8""#;

/// Decides about requests.
pub(crate) struct Guard {
    token: Option<TokenDigest>,
}

/// A token as a digest under a random key: comparing digests tells nothing about the token by the time it takes.
struct TokenDigest {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Guard {
    pub(crate) fn new(token: Option<&str>) -> Self {
        Self { token: token.map(TokenDigest::new) }
    }

    /// Whether the request may see and do everything.
    pub(crate) fn permits(&self, headers: &HeaderMap) -> bool {
        match &self.token {
            Some(token) => bearer(headers).is_some_and(|presented| token.matches(presented)),
            None => host_is_local(headers),
        }
    }

    /// Whether the request may see a page.
    fn permits_page(&self, headers: &HeaderMap) -> bool {
        let by_password = |token: &TokenDigest| basic_password(headers).is_some_and(|given| token.matches(&given));
        self.permits(headers) || self.token.as_ref().is_some_and(by_password)
    }

    fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
        let is_safe = method.is_safe();
        if !is_safe && !is_same_origin(headers) {
            return Err(Problem::forbidden_origin(
                "A page of another origin may not change anything here. Send the request from a program, or without \
                 the Origin field.",
            ));
        }
        // Load balancers ask without credentials; the handler shows details only to those who may see everything. What the API
        // can do is no secret, and a page that is to ask for a token must be seen without one.
        if path == HEALTH_PATH || openapi::is_documentation(path) {
            return Ok(());
        }
        let is_api = path == "/api" || path.starts_with("/api/");
        // A browser sends Basic credentials by itself, so they are good for reading pages and for nothing else.
        let permitted = if is_api || !is_safe { self.permits(headers) } else { self.permits_page(headers) };
        match (permitted, &self.token) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(Problem::unauthorized(if is_api { BEARER_CHALLENGE } else { BASIC_CHALLENGE })),
            (false, None) => Err(Problem::forbidden_origin(
                "Without API_TOKEN only names of this machine are answered: use http://localhost or http://127.0.0.1, \
                 or set API_TOKEN.",
            )),
        }
    }
}

impl TokenDigest {
    fn new(token: &str) -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .expect("the operating system gives random bytes");
        let tag = hmac::sign(&key, token.as_bytes());
        Self { key, tag }
    }

    fn matches(&self, presented: &str) -> bool {
        hmac::verify(&self.key, presented.as_bytes(), self.tag.as_ref()).is_ok()
    }
}

/// Lets through what [`Guard`] permits.
pub(crate) async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, Problem> {
    state.guard.check(request.method(), request.uri().path(), request.headers())?;
    Ok(next.run(request).await)
}

/// RFC 6750 section 2.1.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "Bearer")
}

/// The password of RFC 7617 section 2; the user name says nothing here.
fn basic_password(headers: &HeaderMap) -> Option<String> {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(credentials(headers, "Basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

fn credentials<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim())
}

/// Whether the Host field names loopback. Browsers always send one; a program that sends none is no browser.
fn host_is_local(headers: &HeaderMap) -> bool {
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
fn is_same_origin(headers: &HeaderMap) -> bool {
    let fetch_site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    if fetch_site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("has_token", &self.token.is_some()).finish()
    }
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
    fn other_origins_change_nothing() {
        let check = |fields: &[(&'static str, &str)]| {
            Guard::new(None).check(&Method::POST, "/api/emails/x/retry", &headers(fields)).is_ok()
        };
        assert!(check(&[("host", "localhost:3000")]));
        assert!(check(&[("host", "localhost:3000"), ("origin", "http://localhost:3000")]));
        assert!(check(&[("host", "localhost:3000"), ("sec-fetch-site", "same-origin")]));
        assert!(!check(&[("host", "localhost:3000"), ("origin", "http://localhost:8080")]));
        assert!(!check(&[("host", "localhost:3000"), ("origin", "null")]));
        assert!(!check(&[("host", "localhost:3000"), ("sec-fetch-site", "cross-site")]));
        assert!(!check(&[("host", "evil.example"), ("origin", "http://evil.example")]));
    }

    #[test]
    fn the_token_opens() {
        let guard = Guard::new(Some("s3cret"));
        let check = |path: &str, authorization: Option<&str>| {
            let fields: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
            guard.check(&Method::GET, path, &headers(&fields)).is_ok()
        };
        assert!(check("/api/emails", Some("Bearer s3cret")));
        assert!(check("/api/emails", Some("bearer s3cret")));
        assert!(!check("/api/emails", Some("Bearer s3cre")));
        assert!(!check("/api/emails", Some("Bearer ")));
        assert!(!check("/api/emails", Some("Basic OnMzY3JldA==")));
        assert!(!check("/api/emails", None));
        assert!(!check("/", None));
        assert!(check("/", Some("Basic OnMzY3JldA==")));
        assert!(!check("/", Some("Basic Ondyb25n")));
        assert!(check("/health", None));
        assert!(check("/api/openapi.json", None));
        assert!(check("/api/docs/swagger-ui.css", None));
        assert!(!check("/api/docsx", None));
        assert!(!guard.permits(&HeaderMap::new()));
        assert!(!format!("{guard:?}").contains("s3cret"));
    }
}
