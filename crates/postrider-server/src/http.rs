//! Asking other HTTP servers: one request, one answer of bounded size. Redirects are answers like others.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioExecutor;
use percent_encoding::percent_decode_str;
use postrider_core::Resolver;
use postrider_core::source::is_public;
use rustls::ClientConfig;
use tower_service::Service;
use url::{Host, Url};

const AGENT: &str = concat!("postrider/", env!("CARGO_PKG_VERSION"));

/// Asks servers, over connections that are kept for further requests. Certificates are verified.
#[derive(Clone)]
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector<Names>>, Full<Bytes>>,
    /// Whether it asks servers at public addresses only.
    is_for_public: bool,
}

/// A server's answer.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Up to the limit.
    pub(crate) body: Vec<u8>,
    /// Whether there was more of it.
    pub(crate) is_cut: bool,
}

/// Why there is no answer, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoAnswer(String);

impl HttpClient {
    /// For servers of the operator's, whose names the system knows. `tls`: one that verifies.
    pub(crate) fn new(tls: &ClientConfig) -> Self {
        Self::with_names(tls, Names::OfSystem(GaiResolver::new()))
    }

    /// For servers of the world, whose names are looked up as those of MX hosts are.
    pub(crate) fn of_world(tls: &ClientConfig, resolver: Arc<dyn Resolver>) -> Self {
        Self::with_names(tls, Names::OfWorld(resolver))
    }

    /// For servers that strangers name: at public addresses only.
    pub(crate) fn of_public(tls: &ClientConfig) -> Self {
        Self { is_for_public: true, ..Self::with_names(tls, Names::Public(GaiResolver::new())) }
    }

    fn with_names(tls: &ClientConfig, names: Names) -> Self {
        let mut http = HttpConnector::new_with_resolver(names);
        // TLS is the outer connector's business.
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new()).build(https.wrap_connector(http));
        Self { client, is_for_public: false }
    }

    /// Asks for a document, and reads at most `answer_bytes_max` of it. Waits for as long as the caller does.
    pub(crate) async fn get(&self, url: &Url, answer_bytes_max: usize) -> Result<HttpAnswer, NoAnswer> {
        let request = Request::get(uri(url)?).body(Full::default()).map_err(|error| NoAnswer(error.to_string()))?;
        self.ask(request, url, answer_bytes_max).await
    }

    /// Sends `body`, and reads at most `answer_bytes_max` of the answer. Waits for as long as the caller does.
    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        answer_bytes_max: usize,
    ) -> Result<HttpAnswer, NoAnswer> {
        self.send(Method::POST, url, headers, body, answer_bytes_max).await
    }

    /// The same with any method.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        answer_bytes_max: usize,
    ) -> Result<HttpAnswer, NoAnswer> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri(url)?;
        *request.headers_mut() = headers;
        self.ask(request, url, answer_bytes_max).await
    }

    async fn ask(
        &self,
        mut request: Request<Full<Bytes>>,
        url: &Url,
        answer_bytes_max: usize,
    ) -> Result<HttpAnswer, NoAnswer> {
        if let Some(ip) = literal(url).filter(|&ip| self.is_for_public && !is_public(ip)) {
            return Err(NoAnswer(not_public(ip)));
        }
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(credentials) = credentials(url) {
            request.headers_mut().insert(AUTHORIZATION, credentials);
        }
        let response = self.client.request(request).await.map_err(|error| NoAnswer(to_the_root(&error)))?;
        let (parts, mut rest) = response.into_parts();
        let mut answer = HttpAnswer { status: parts.status, headers: parts.headers, body: Vec::new(), is_cut: false };
        while let Some(frame) = rest.frame().await {
            let frame = frame.map_err(|error| NoAnswer(to_the_root(&error)))?;
            let Some(data) = frame.data_ref() else { continue };
            let room = answer_bytes_max.saturating_sub(answer.body.len());
            answer.body.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                answer.is_cut = true;
                break;
            }
        }
        Ok(answer)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// Who knows the addresses of hosts.
#[derive(Clone)]
enum Names {
    OfSystem(GaiResolver),
    OfWorld(Arc<dyn Resolver>),
    /// As the system, without addresses that are not public.
    Public(GaiResolver),
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::OfSystem(resolver) | Self::Public(resolver) => resolver.poll_ready(context),
            Self::OfWorld(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, name: Name) -> Self::Future {
        match self {
            Self::OfSystem(resolver) => {
                let looking = resolver.call(name);
                Box::pin(async move { Ok(looking.await?.collect::<Vec<_>>().into_iter()) })
            }
            Self::Public(resolver) => {
                let looking = resolver.call(name);
                Box::pin(async move {
                    let found: Vec<SocketAddr> = looking.await?.collect();
                    let public: Vec<SocketAddr> = found.iter().copied().filter(|found| is_public(found.ip())).collect();
                    match found.first() {
                        Some(found) if public.is_empty() => Err(io::Error::other(not_public(found.ip()))),
                        _ => Ok(public.into_iter()),
                    }
                })
            }
            Self::OfWorld(resolver) => {
                let resolver = resolver.clone();
                Box::pin(async move {
                    let found = resolver.addresses(name.as_str()).await.map_err(io::Error::other)?;
                    // The port comes from the URL.
                    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter())
                })
            }
        }
    }
}

/// The address that a URL has in place of a name: no name is looked up then.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

fn not_public(ip: IpAddr) -> String {
    format!("{ip} is no public address; WEBHOOK_PRIVATE_URLS says whether such are called")
}

/// The URL without what is not sent as part of it.
fn uri(url: &Url) -> Result<Uri, NoAnswer> {
    let mut url = url.clone();
    // A URL with a host takes both.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    url.as_str().parse().map_err(|error| NoAnswer(format!("the URL cannot be used: {error}")))
}

/// User and password of a URL as a server is told them (RFC 7617).
fn credentials(url: &Url) -> Option<HeaderValue> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = url.password().map(decoded);
    if url.username().is_empty() && password.is_none() {
        return None;
    }
    let pair = format!("{}:{}", decoded(url.username()), password.unwrap_or_default());
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What went wrong at the root: the outermost error only says that something did.
fn to_the_root(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_url_are_told_apart_from_it() {
        let url = Url::parse("https://ann:p%40ss@service.example/pick?a=b#c").unwrap();
        assert_eq!(uri(&url).unwrap().to_string(), "https://service.example/pick?a=b");
        assert_eq!(credentials(&url).unwrap().to_str().unwrap(), format!("Basic {}", BASE64.encode("ann:p@ss")));
        assert_eq!(credentials(&Url::parse("https://service.example/").unwrap()), None);
    }

    #[tokio::test]
    async fn strangers_have_nobody_called_who_is_not_public() {
        let client = HttpClient::of_public(&crate::tls::verifying_client(None).unwrap());
        for url in
            ["http://127.0.0.1:9/", "http://0x7f.1:9/", "http://2130706433/", "http://[::1]:9/", "http://localhost:9/"]
        {
            let error = client.get(&Url::parse(url).unwrap(), 10).await.unwrap_err();
            assert!(error.to_string().contains("no public address"), "{url}: {error}");
        }
    }
}
