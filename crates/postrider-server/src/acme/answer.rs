//! The listeners that answer the authority while it looks whether names lead here: HTTP (RFC 8555 section 8.3) or TLS (RFC
//! 8737). They answer nothing else, and what they answer any node has put into the store.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_config::AcmeChallenge as Method;
use postrider_store::acme::{AcmeChallenge, ChallengeKey};
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::Acceptor;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tracing::{debug, info};

use crate::listen;
use crate::smtp::Context;
use crate::tls;

/// The longest request that is read, in bytes, to the end of its header.
const REQUEST_BYTES_MAX: usize = 8192;
/// The longest token that is looked up. It is the authority's own, 43 characters with most.
const TOKEN_BYTES_MAX: usize = 256;
/// How long a connection may last.
const CONNECTION_MAX: Duration = Duration::from_secs(20);

const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";
/// The protocol in the handshake (RFC 8737 section 6.2).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// What serves such a listener.
#[derive(Debug)]
pub(crate) struct Answerer {
    pub(crate) method: Method,
    pub(crate) name: &'static str,
    pub(crate) context: Arc<Context>,
}

impl listen::Service for Answerer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn too_many_sessions(&self) -> Option<Vec<u8>> {
        None
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, _peer: IpAddr, _is_trusted: bool) {
        let answering = async {
            match self.method {
                Method::Http01 => self.answer_http(tcp).await,
                Method::TlsAlpn01 => self.answer_tls(tcp).await,
            }
        };
        tokio::select! {
            answered = answering => {
                if let Err(error) = answered {
                    debug!(%error, "the connection ended early");
                }
            }
            () = self.context.clock.sleep(CONNECTION_MAX) => debug!("the connection took too long"),
        }
    }
}

impl Answerer {
    async fn answer_http(&self, mut tcp: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            if request.len() >= REQUEST_BYTES_MAX || tcp.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let answer = match token(&request) {
            None => None,
            Some((is_head, token)) => {
                self.key_authorization(ChallengeKey::Token(token)).await.map(|text| (is_head, text))
            }
        };
        let (status, is_head, body) = match &answer {
            Some((is_head, text)) => ("200 OK", *is_head, text.as_str()),
            None => ("404 Not Found", false, ""),
        };
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        if !is_head {
            text.push_str(body);
        }
        tcp.write_all(text.as_bytes()).await?;
        tcp.shutdown().await?;
        if answer.is_some() {
            info!("the authority was shown what it asked for");
        }
        Ok(())
    }

    /// A handshake that asks for another protocol is not for us, and ends.
    async fn answer_tls(&self, tcp: TcpStream) -> std::io::Result<()> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let name = {
            let hello = start.client_hello();
            let is_acme = hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == ACME_TLS));
            hello.server_name().filter(|_| is_acme).map(str::to_ascii_lowercase)
        };
        let Some(name) = name else { return Ok(()) };
        let Some(shown) = self.key_authorization(ChallengeKey::Domain(&name)).await else { return Ok(()) };
        let config = challenge_config(&name, &shown).map_err(std::io::Error::other)?;
        let mut stream = start.into_stream(Arc::new(config)).await?;
        info!(domain = name, "the authority was shown what it asked for");
        stream.shutdown().await
    }

    async fn key_authorization(&self, key: ChallengeKey<'_>) -> Option<String> {
        match AcmeChallenge::find(self.context.store.as_ref(), key).await {
            Ok(challenge) => challenge.map(|challenge| challenge.key_authorization),
            Err(error) => {
                debug!(%error, "what the authority asks for cannot be looked up");
                None
            }
        }
    }
}

/// The token that a request asks for, and whether it asks for the header only.
fn token(request: &[u8]) -> Option<(bool, &str)> {
    let line = request.split(|&byte| byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let is_head = match words.next()? {
        "GET" => false,
        "HEAD" => true,
        _ => return None,
    };
    let token = words.next()?.strip_prefix(CHALLENGE_PATH)?;
    if !words.next()?.starts_with("HTTP/1.") || words.next().is_some() {
        return None;
    }
    // base64url (RFC 8555 section 8.3).
    let is_token = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (is_token && (1..=TOKEN_BYTES_MAX).contains(&token.len())).then_some((is_head, token))
}

/// The certificate that proves a name (RFC 8737 section 3), for this handshake only.
fn challenge_config(name: &str, key_authorization: &str) -> Result<ServerConfig, String> {
    let seen = digest(&SHA256, key_authorization.as_bytes());
    let key = rcgen::KeyPair::generate().map_err(|error| error.to_string())?;
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).map_err(|error| error.to_string())?;
    params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(seen.as_ref())];
    let made = params.self_signed(&key).map_err(|error| error.to_string())?;
    let private_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // Put together by hand: what checks certificates before it takes them does not know the critical extension.
    let signing = any_supported_type(&private_key).map_err(|error| error.to_string())?;
    let certified = CertifiedKey::new(vec![made.der().clone()], signing);
    let mut config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_are_looked_up() {
        let token = |line: &str| {
            super::token(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).map(|(head, token)| (head, token.to_owned()))
        };
        let path = CHALLENGE_PATH;
        assert_eq!(token(&format!("GET {path}a-Z_9 HTTP/1.1")), Some((false, "a-Z_9".to_owned())));
        assert_eq!(token(&format!("HEAD {path}a HTTP/1.0")), Some((true, "a".to_owned())));
        for line in [
            format!("POST {path}a HTTP/1.1"),
            format!("GET {path} HTTP/1.1"),
            format!("GET {path}a/b HTTP/1.1"),
            format!("GET {path}.. HTTP/1.1"),
            format!("GET {path}a?b HTTP/1.1"),
            format!("GET {path}{} HTTP/1.1", "a".repeat(TOKEN_BYTES_MAX + 1)),
            format!("GET {path}a"),
            format!("GET {path}a HTTP/1.1 x"),
            "GET / HTTP/1.1".to_owned(),
            String::new(),
        ] {
            assert_eq!(token(&line), None, "{line}");
        }
    }
}
