//! TLS for tests: a certificate made on the spot, and a client that takes any certificate.

use std::io;
use std::sync::{Arc, OnceLock};

use rcgen::{CertifiedKey, KeyPair, PublicKeyData};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::stream::LineStream;
use crate::wait::guarded;

/// A certificate and its key, both PEM, for `name`.
pub fn certificate_pem(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a host name makes a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The certificate of all servers of this process but Postrider, PEM: for hosts directly below `test` and `example.org`. Who
/// takes it as an authority trusts them.
pub fn servers_certificate_pem() -> String {
    servers_certificate().cert.pem()
}

/// What a TLSA record with these numbers says of that certificate (RFC 6698 section 2.1).
///
/// # Panics
///
/// When the numbers are none of RFC 6698.
pub fn servers_association(selector: u8, matching: u8) -> Vec<u8> {
    use ring::digest::{SHA256, SHA512, digest};

    let made = servers_certificate();
    let selected = match selector {
        0 => made.cert.der().to_vec(),
        1 => made.signing_key.subject_public_key_info(),
        other => panic!("{other} is no selector"),
    };
    match matching {
        0 => selected,
        1 => digest(&SHA256, &selected).as_ref().to_vec(),
        2 => digest(&SHA512, &selected).as_ref().to_vec(),
        other => panic!("{other} is no matching type"),
    }
}

fn servers_certificate() -> &'static CertifiedKey<KeyPair> {
    static MADE: OnceLock<CertifiedKey<KeyPair>> = OnceLock::new();
    MADE.get_or_init(|| {
        let names = ["*.test", "*.example.org"].map(str::to_owned);
        rcgen::generate_simple_self_signed(names).expect("host names make a certificate")
    })
}

/// A server with that certificate.
pub(crate) fn server_config() -> Arc<ServerConfig> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let made = servers_certificate();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
            let config = ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .expect("ring speaks TLS 1.2 and 1.3")
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)
                .expect("the key is the certificate's");
            Arc::new(config)
        })
        .clone()
}

/// A client that takes any certificate and remembers nothing.
pub(crate) fn client_config() -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakeAny(provider())))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// What a session knows of its TLS.
pub(crate) struct TlsFacts {
    /// `tls-exporter` (RFC 9266).
    pub(crate) channel_binding: [u8; 32],
    /// The server's certificate (DER).
    pub(crate) certificate: Option<Vec<u8>>,
}

/// The client's handshake, with any certificate.
pub(crate) async fn handshake(stream: &mut LineStream) -> io::Result<TlsFacts> {
    let name = ServerName::try_from("server.test").map_err(io::Error::other)?;
    let connecting = TlsConnector::from(client_config()).connect(name, stream.unwrap_stream()?);
    let encrypted = guarded("the TLS handshake", connecting).await?;
    let session = encrypted.get_ref().1;
    let binding = session.export_keying_material([0u8; 32], b"EXPORTER-Channel-Binding", Some(&[]));
    let certificates = session.peer_certificates().unwrap_or_default();
    let facts = TlsFacts {
        channel_binding: binding.map_err(io::Error::other)?,
        certificate: certificates.first().map(|certificate| certificate.to_vec()),
    };
    stream.wrap(encrypted);
    Ok(facts)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Checks signatures, but not whose they are.
#[derive(Debug)]
struct TakeAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakeAny {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
