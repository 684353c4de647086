//! DANE (RFC 7672): which certificates a host may show, by the TLSA records that DNSSEC proves.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postrider_core::{Domain, ResolveError};
use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::dnssec::{Dnssec, Tlsa};
use crate::tls;
use crate::tls_reports::ReportedPolicy;

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
#[derive(Debug)]
pub(super) struct TlsaSet {
    /// The name that they stand under; it is told the host (RFC 7672 section 8.1).
    pub(super) base: String,
    port: u16,
    /// Names of the host that a certificate under an authority of its own may be for (RFC 7672 section 3.2.2): any of these.
    names: Vec<String>,
    /// The recipients' domain, which it may be for as well.
    next_hop: Option<String>,
    records: Vec<Tlsa>,
    /// Whether it was, and for none of the host's names.
    is_for_next_hop: AtomicBool,
}

impl Dane {
    /// What is proven of a host of a domain whose MX records are (RFC 7672 section 2.2.2). After an error the host may not be used.
    ///
    /// `next_hop`: the recipients' domain, where all are of one.
    pub(super) async fn of(
        dnssec: &Dnssec,
        host: &str,
        port: u16,
        next_hop: Option<&Domain>,
    ) -> Result<Self, ResolveError> {
        let bases = dnssec.bases(host).await?;
        for base in &bases {
            let records = dnssec.tlsa(base, port).await?;
            if !records.is_empty() {
                let mut names = vec![base.clone()];
                names.extend((host != base).then(|| host.to_owned()));
                let next_hop = next_hop.map(|domain| domain.as_str().to_owned());
                return Ok(Self::from_records((base.clone(), port), (names, next_hop), records));
            }
        }
        Ok(Self::Absent)
    }

    fn from_records(
        (base, port): (String, u16),
        (names, next_hop): (Vec<String>, Option<String>),
        mut records: Vec<Tlsa>,
    ) -> Self {
        records.truncate(RECORDS_MAX);
        records.retain(is_usable);
        // RFC 7671 section 9: where there is a digest that is stronger, the weaker one says nothing.
        let strong: Vec<(u8, u8)> =
            records.iter().filter(|tlsa| tlsa.matching == SHA2_512).map(|tlsa| (tlsa.usage, tlsa.selector)).collect();
        records.retain(|tlsa| tlsa.matching != SHA2_256 || !strong.contains(&(tlsa.usage, tlsa.selector)));
        if records.is_empty() {
            return Self::Unusable;
        }
        let is_for_next_hop = AtomicBool::new(false);
        Self::Usable(Arc::new(TlsaSet { base, port, names, next_hop, records, is_for_next_hop }))
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
    /// As reports show it (RFC 8460 section 4.4).
    pub(super) fn reported(&self) -> ReportedPolicy {
        let line = |tlsa: &Tlsa| {
            let Tlsa { usage, selector, matching, data } = tlsa;
            let mut line = format!("_{}._tcp.{}. IN TLSA {usage} {selector} {matching} ", self.port, self.base);
            for byte in data {
                // Writing to a String does not fail.
                let _ = write!(line, "{byte:02x}");
            }
            line
        };
        let text = self.records.iter().map(line).collect();
        ReportedPolicy { kind: "tlsa".to_owned(), text, hosts: vec![self.base.clone()] }
    }

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
        let is_for = |name: &String| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        };
        if self.names.iter().any(is_for) {
            return Ok(());
        }
        if self.next_hop.as_ref().is_some_and(is_for) {
            self.is_for_next_hop.store(true, Ordering::Relaxed);
            return Ok(());
        }
        Err(CertificateError::NotValidForName.into())
    }

    /// Whether a connection proved itself by the recipients' domain alone: it carries no mail for others.
    pub(super) fn is_for_next_hop(&self) -> bool {
        self.is_for_next_hop.load(Ordering::Relaxed)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    /// An authority, and a certificate of a host that it made.
    struct Made {
        authority: CertificateDer<'static>,
        host: CertificateDer<'static>,
    }

    fn made(name: &str) -> Made {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap().der().clone();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2030, 1, 1));
        let issuer = {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Issuer::new(params, key)
        };
        let host = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone();
        Made { authority, host }
    }

    fn tlsa(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> Tlsa {
        let selected = match selector {
            PUBLIC_KEY => ParsedCertificate::try_from(certificate).unwrap().subject_public_key_info().to_vec(),
            _ => certificate.to_vec(),
        };
        let data = match matching {
            SHA2_256 => digest::digest(&digest::SHA256, &selected).as_ref().to_vec(),
            SHA2_512 => digest::digest(&digest::SHA512, &selected).as_ref().to_vec(),
            _ => selected,
        };
        Tlsa { usage, selector, matching, data }
    }

    fn year(year: i32) -> UnixTime {
        let seconds = rcgen::date_time_ymd(year, 6, 1).unix_timestamp();
        UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap()))
    }

    fn verify(
        records: Vec<Tlsa>,
        made: &Made,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let names = vec!["mx.example".to_owned(), "alias.example".to_owned()];
        let next_hop = Some("domain.example".to_owned());
        match Dane::from_records(("mx.example".to_owned(), 25), (names, next_hop), records) {
            Dane::Usable(set) => set.verify(&made.host, chain, now, &tls::provider()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_authority_of_the_records_vouches_for_names_and_times() {
        let (good, aliased, wrong) = (made("mx.example"), made("alias.example"), made("other.example"));
        let of_domain = made("domain.example");
        let records = vec![tlsa(DANE_TA, 0, 0, &of_domain.authority)];
        assert_eq!(verify(records, &of_domain, &[], year(2026)), Ok(()));
        for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let of = |made: &Made, now| {
                let records = vec![tlsa(DANE_TA, selector, matching, &made.authority)];
                verify(records, made, std::slice::from_ref(&made.authority), now)
            };
            assert_eq!((of(&good, year(2026)), of(&aliased, year(2026))), (Ok(()), Ok(())), "{selector} {matching}");
            assert!(of(&wrong, year(2026)).is_err() && of(&good, year(2035)).is_err(), "{selector} {matching}");
            // Another's authority, shown along with the right one, makes nothing good.
            let records = vec![tlsa(DANE_TA, selector, matching, &wrong.authority)];
            let chain = [good.authority.clone(), wrong.authority.clone()];
            assert!(verify(records, &good, &chain, year(2026)).is_err());
        }
        // Where the record is the authority's certificate itself, it need not be shown.
        assert_eq!(verify(vec![tlsa(DANE_TA, 0, 0, &good.authority)], &good, &[], year(2026)), Ok(()));
        assert!(verify(vec![tlsa(DANE_TA, 0, 1, &good.authority)], &good, &[], year(2026)).is_err());
    }

    #[test]
    fn a_record_of_the_certificate_itself_asks_for_no_name_and_no_time() {
        let (host, other) = (made("other.example"), made("mx.example"));
        assert_eq!(verify(vec![tlsa(DANE_EE, 1, 1, &host.host)], &host, &[], year(2035)), Ok(()));
        // It is enough that one record fits.
        let both = vec![tlsa(DANE_EE, 1, 1, &other.host), tlsa(DANE_EE, 0, 1, &host.host)];
        assert_eq!(verify(both, &host, &[], year(2026)), Ok(()));
        assert!(verify(vec![tlsa(DANE_EE, 1, 1, &other.host)], &host, &[], year(2026)).is_err());
        assert!(
            verify(
                vec![tlsa(DANE_EE, 1, 1, &host.authority)],
                &host,
                std::slice::from_ref(&host.authority),
                year(2026)
            )
            .is_err()
        );
    }

    #[test]
    fn a_weaker_digest_says_nothing_beside_a_stronger_one() {
        let (host, other) = (made("mx.example"), made("mx.example"));
        let weak = tlsa(DANE_EE, 1, 1, &host.host);
        assert!(verify(vec![weak.clone(), tlsa(DANE_EE, 1, 2, &other.host)], &host, &[], year(2026)).is_err());
        // Of another selector it is another matter.
        assert_eq!(verify(vec![weak, tlsa(DANE_EE, 0, 2, &other.host)], &host, &[], year(2026)), Ok(()));
    }

    #[test]
    fn records_that_nobody_can_use_are_none() {
        let data = |length: usize| vec![1; length];
        let records =
            [(0, 0, 1, 32), (1, 0, 1, 32), (3, 2, 1, 32), (3, 1, 3, 32), (3, 1, 1, 31), (2, 1, 2, 32), (3, 0, 0, 0)];
        let tlsa = |&(usage, selector, matching, length)| Tlsa { usage, selector, matching, data: data(length) };
        let dane =
            Dane::from_records(("mx.example".to_owned(), 25), (Vec::new(), None), records.iter().map(tlsa).collect());
        assert!(matches!(dane, Dane::Unusable), "{dane:?}");
    }
}
