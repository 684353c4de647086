//! DANE (RFC 7672): which certificates a host may show, by the TLSA records that DNSSEC proves.

use std::sync::Arc;

use postrider_core::ResolveError;
use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::dnssec::{Dnssec, Tlsa};
use crate::tls;

const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;

const CERTIFICATE: u8 = 0;
const PUBLIC_KEY: u8 = 1;

const FULL: u8 = 0;
const SHA2_256: u8 = 1;
const SHA2_512: u8 = 2;

/// Records of one host that are looked at. A signed zone may have any number.
const RECORDS_MAX: usize = 32;

/// What a host's TLSA records ask for.
#[derive(Debug, Clone)]
pub(super) enum Dane {
    /// It has none.
    Absent,
    /// It has some, and none is of use: TLS with any certificate (RFC 7672 section 2.2).
    Unusable,
    Usable(Arc<TlsaSet>),
}

/// The records of use of one host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TlsaSet {
    /// The name that they stand under; it is told the host (RFC 7672 section 8.1).
    pub(super) base: String,
    /// Names of the host that a certificate under an authority of its own may be for (RFC 7672 section 3.2.2): any of these.
    names: Vec<String>,
    records: Vec<Tlsa>,
}

impl Dane {
    /// What is proven of a host of a domain whose MX records are (RFC 7672 section 2.2.2). After an error the host may not be used.
    pub(super) async fn of(dnssec: &Dnssec, host: &str, port: u16) -> Result<Self, ResolveError> {
        let bases = dnssec.bases(host).await?;
        for base in &bases {
            let records = dnssec.tlsa(base, port).await?;
            if !records.is_empty() {
                let mut names = vec![base.clone()];
                names.extend((host != base).then(|| host.to_owned()));
                return Ok(Self::from_records(base.clone(), names, records));
            }
        }
        Ok(Self::Absent)
    }

    fn from_records(base: String, names: Vec<String>, mut records: Vec<Tlsa>) -> Self {
        records.truncate(RECORDS_MAX);
        records.retain(is_usable);
        // RFC 7671 section 9: where there is a digest that is stronger, the weaker one says nothing.
        let strong: Vec<(u8, u8)> =
            records.iter().filter(|tlsa| tlsa.matching == SHA2_512).map(|tlsa| (tlsa.usage, tlsa.selector)).collect();
        records.retain(|tlsa| tlsa.matching != SHA2_256 || !strong.contains(&(tlsa.usage, tlsa.selector)));
        if records.is_empty() { Self::Unusable } else { Self::Usable(Arc::new(TlsaSet { base, names, records })) }
    }
}

/// RFC 7672 section 3.1: of the four usages two make sense for mail.
fn is_usable(tlsa: &Tlsa) -> bool {
    let is_of_length = match tlsa.matching {
        FULL => !tlsa.data.is_empty(),
        SHA2_256 => tlsa.data.len() == 32,
        SHA2_512 => tlsa.data.len() == 64,
        _ => false,
    };
    is_of_length && [DANE_TA, DANE_EE].contains(&tlsa.usage) && [CERTIFICATE, PUBLIC_KEY].contains(&tlsa.selector)
}

impl TlsaSet {
    /// For a connection to this host alone.
    pub(super) fn client(self: &Arc<Self>) -> Arc<ClientConfig> {
        let verifier = TlsaVerifier { set: self.clone(), provider: tls::provider() };
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }

    /// As RFC 7671 section 5 has it.
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        provider: &CryptoProvider,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        // Section 5.1: neither names nor dates count, the record says it all.
        if self.of_usage(DANE_EE).any(|tlsa| matches(tlsa, end_entity)) {
            return Ok(());
        }
        let mut anchors = RootCertStore::empty();
        for tlsa in self.of_usage(DANE_TA) {
            let shown = chain.iter().filter(|certificate| matches(tlsa, certificate));
            let mut trusted: Vec<CertificateDer<'_>> = shown.cloned().collect();
            if tlsa.selector == CERTIFICATE && tlsa.matching == FULL {
                trusted.push(CertificateDer::from(tlsa.data.as_slice()));
            }
            // What cannot be an authority is none.
            anchors.add_parsable_certificates(trusted.into_iter().map(CertificateDer::into_owned));
        }
        if anchors.is_empty() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let algorithms = provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &anchors, chain, now, algorithms)?;
        let mut last = rustls::Error::from(CertificateError::NotValidForName);
        for name in &self.names {
            let Ok(name) = ServerName::try_from(name.as_str()) else { continue };
            match verify_server_name(&parsed, &name) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn of_usage(&self, usage: u8) -> impl Iterator<Item = &Tlsa> {
        self.records.iter().filter(move |tlsa| tlsa.usage == usage)
    }
}

/// Whether a record is of a certificate (RFC 6698 section 2.1).
fn matches(tlsa: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let public_key = match tlsa.selector {
        PUBLIC_KEY => match ParsedCertificate::try_from(certificate) {
            Ok(parsed) => Some(parsed.subject_public_key_info()),
            Err(_) => return false,
        },
        _ => None,
    };
    let selected: &[u8] = public_key.as_ref().map_or(certificate.as_ref(), |key| key.as_ref());
    match tlsa.matching {
        FULL => tlsa.data == selected,
        SHA2_256 => tlsa.data == digest::digest(&digest::SHA256, selected).as_ref(),
        SHA2_512 => tlsa.data == digest::digest(&digest::SHA512, selected).as_ref(),
        _ => false,
    }
}

/// Takes the certificates that the records are of.
#[derive(Debug)]
struct TlsaVerifier {
    set: Arc<TlsaSet>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TlsaVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.set.verify(end_entity, intermediates, now, &self.provider).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
