//! An authority looks whether a name leads where it should, and whether who answers there holds the account's key.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::site::ports;
use crate::tls;
use crate::wait::GUARD_SECONDS;

const ACME_TLS: &[u8] = b"acme-tls/1";
/// id-pe-acmeIdentifier (RFC 8737 section 6.1).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// Why a name was not proven: the last part of the problem's type, and details.
pub(super) type Refusal = (&'static str, String);

/// RFC 8555 section 8.3, but for the port.
pub(super) async fn http_01(ip: IpAddr, name: &str, token: &str, key_authorization: &str) -> Result<(), Refusal> {
    let asking = async {
        let mut stream = TcpStream::connect(SocketAddr::new(ip, ports::ACME_HTTP)).await?;
        let request = format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {name}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = match within(asking).await {
        Ok(answer) => answer,
        Err(error) => return Err(("connection", format!("Fetching http://{name}/: {error}"))),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if !head.starts_with("HTTP/1.1 200 ") {
        let line = head.lines().next().unwrap_or_default();
        return Err(("unauthorized", format!("Invalid response from http://{name}/: {line}")));
    }
    if body != key_authorization {
        return Err(("unauthorized", format!("The key authorization is {body:?}")));
    }
    Ok(())
}

/// RFC 8737 section 3, but for the port.
pub(super) async fn tls_alpn_01(ip: IpAddr, name: &str, key_authorization: &str) -> Result<(), Refusal> {
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&TLS13])
        .expect("ring speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(HoldsItsKey))
        .with_no_client_auth();
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    let server = ServerName::try_from(name.to_owned()).map_err(|error| ("malformed", error.to_string()))?;
    let asking = async {
        let stream = TcpStream::connect(SocketAddr::new(ip, ports::ACME_TLS)).await?;
        TlsConnector::from(Arc::new(config)).connect(server, stream).await
    };
    let stream = within(asking).await.map_err(|error| ("connection", format!("{name}: {error}")))?;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(ACME_TLS) {
        return Err(("unauthorized", format!("{name} does not speak acme-tls/1")));
    }
    let shown = session.peer_certificates().and_then(<[_]>::first).map(|certificate| certificate.to_vec());
    let shown = shown.unwrap_or_default();
    let seen = digest::digest(&digest::SHA256, key_authorization.as_bytes());
    judge(&shown, name, seen.as_ref()).map_err(|error| ("unauthorized", error))
}

fn judge(certificate: &[u8], name: &str, seen: &[u8]) -> Result<(), String> {
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let names = parsed.subject_alternative_name().ok().flatten().map(|names| names.value.general_names.clone());
    if !matches!(names.as_deref(), Some([GeneralName::DNSName(only)]) if *only == name) {
        return Err(format!("the certificate is not for {name} alone"));
    }
    let identifier = parsed.extensions().iter().find(|extension| extension.oid.to_id_string() == ACME_IDENTIFIER);
    // An octet string of 32 bytes within the extension's.
    let wanted = [&[4, 32], seen].concat();
    match identifier {
        Some(identifier) if identifier.critical && identifier.value == wanted => Ok(()),
        _ => Err("the certificate does not show the key authorization".to_owned()),
    }
}

/// Checks that the server has the certificate's key, and leaves all else to [`judge`]: what checks certificates elsewhere does
/// not know the critical extension.
#[derive(Debug)]
struct HoldsItsKey;

impl ServerCertVerifier for HoldsItsKey {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|error| Error::General(error.to_string()))?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        let algorithms = tls::provider().signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Of what does not answer, no test waits long.
async fn within<T>(asking: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(Duration::from_secs(GUARD_SECONDS / 2), asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("Timeout".to_owned()),
    }
}
