//! The authority's own key, and what it signs.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use postrider_core::{Clock as _, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::OffsetDateTime;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::parse_x509_certificate;

use crate::ManualClock;

/// What signs certificates.
#[derive(Debug)]
pub(super) struct Issuing {
    issuer: Issuer<'static, KeyPair>,
    /// PEM.
    certificate: String,
    /// DER.
    certificate_der: Vec<u8>,
}

impl Issuing {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().expect("ring makes keys");
        let mut params = CertificateParams::new([]).expect("no name is a bad one");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "Authority for tests");
        let made = params.self_signed(&key).expect("the key signs");
        let (certificate, certificate_der) = (made.pem(), made.der().to_vec());
        Self { issuer: Issuer::new(params, key), certificate, certificate_der }
    }

    /// The chain (PEM) for a request (base64url of DER) that is for exactly these names.
    pub(super) fn issue(
        &self,
        request: &str,
        names: &[String],
        clock: &ManualClock,
        life: Duration,
    ) -> Result<String, String> {
        let der = BASE64URL.decode(request).map_err(|error| error.to_string())?;
        // This checks the request's signature, too.
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der));
        let mut request = request.map_err(|error| error.to_string())?;
        let mut asked: Vec<String> = Vec::new();
        for name in &request.params.subject_alt_names {
            match name {
                SanType::DnsName(name) => asked.push(name.to_string()),
                other => return Err(format!("{other:?} was not ordered")),
            }
        }
        asked.sort();
        let mut ordered = names.to_vec();
        ordered.sort();
        if asked != ordered {
            return Err(format!("{asked:?} was not ordered, but {ordered:?}"));
        }
        let now = clock.now();
        request.params.not_before = date(now);
        request.params.not_after = date(now + life);
        request.params.use_authority_key_identifier_extension = true;
        let signed = request.signed_by(&self.issuer).map_err(|error| error.to_string())?;
        Ok(format!("{}{}", signed.pem(), self.certificate))
    }

    /// What a certificate of a chain (PEM) is called when it is renewed (RFC 9773 section 4.1).
    pub(super) fn identifier(chain: &str) -> Option<String> {
        let certificate = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
        let (_, parsed) = parse_x509_certificate(&certificate).ok()?;
        let authority = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
            _ => None,
        })?;
        Some(format!("{}.{}", BASE64URL.encode(authority.0), BASE64URL.encode(parsed.raw_serial())))
    }

    pub(super) fn is_ours(&self, certificate: &[u8], names: &[&str]) -> bool {
        let (Ok((_, authority)), Ok((_, parsed))) =
            (parse_x509_certificate(&self.certificate_der), parse_x509_certificate(certificate))
        else {
            return false;
        };
        let mut shown: Vec<&str> = Vec::new();
        if let Ok(Some(alternatives)) = parsed.subject_alternative_name() {
            for name in &alternatives.value.general_names {
                match name {
                    GeneralName::DNSName(name) => shown.push(name),
                    _ => return false,
                }
            }
        }
        let (mut shown, mut names) = (shown, names.to_vec());
        shown.sort_unstable();
        names.sort_unstable();
        shown == names && parsed.verify_signature(Some(authority.public_key())).is_ok()
    }
}

fn date(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_millis().div_euclid(1000))
        .expect("clocks of tests show years of four digits")
}
