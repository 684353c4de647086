//! Reading what an authority has given: whether it can be used, and from when to when.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postrider_core::Timestamp;
use postrider_store::acme::AcmeCertificate;
use postrider_store::dkim::PrivateKey;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::parse_x509_certificate;

use crate::tls;

/// Of a certificate's life, the part that is left when it is renewed: a third.
const LEFT_AT_RENEWAL: u32 = 3;

/// Renewals are spread over this part of a certificate's life before that: not all that were given together come together.
const SPREAD_OF_RENEWAL: u32 = 30;

/// A certificate and its key as TLS takes them.
pub(super) type Usable = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Takes a chain as it came, for a key of ours. Refuses one that does not fit: it must be for this key, for these names and for
/// now. `spread`: 0 to 1.
pub(super) fn read(
    chain: String,
    private_key: &[u8],
    domains: &[String],
    directory_url: &str,
    now: Timestamp,
    spread: f64,
) -> Result<AcmeCertificate, String> {
    let (not_before, not_after) = {
        let certificates = certificates(&chain)?;
        let own = certificates.first().ok_or("there is none in the authority's answer")?;
        let parsed = ParsedCertificate::try_from(own).map_err(|error| error.to_string())?;
        for domain in domains {
            let name = ServerName::try_from(domain.as_str()).map_err(|error| error.to_string())?;
            verify_server_name(&parsed, &name).map_err(|_| format!("it does not hold the name {domain}"))?;
        }
        validity(own)?
    };
    if not_after <= now {
        return Err(format!("it ended at {not_after}"));
    }
    let life = not_after.since(not_before);
    let renew_at = not_after - life / LEFT_AT_RENEWAL - life.mul_f64(spread) / SPREAD_OF_RENEWAL;
    let private_key = PrivateKey(BASE64.encode(private_key));
    let directory_url = directory_url.to_owned();
    let certificate = AcmeCertificate { directory_url, chain, private_key, not_before, not_after, renew_at };
    let (chain, key) = usable(&certificate)?;
    tls::certified(chain, key).map_err(|error| error.to_string())?;
    Ok(certificate)
}

/// What is kept, as TLS takes it.
pub(super) fn usable(certificate: &AcmeCertificate) -> Result<Usable, String> {
    let key = BASE64.decode(&certificate.private_key.0).map_err(|_| "its private key cannot be read".to_owned())?;
    Ok((certificates(&certificate.chain)?, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key))))
}

/// How many of these names it is for.
pub(super) fn names_held(certificate: &AcmeCertificate, domains: &[String]) -> usize {
    let Ok(certificates) = certificates(&certificate.chain) else { return 0 };
    let Some(Ok(parsed)) = certificates.first().map(ParsedCertificate::try_from) else { return 0 };
    let names = domains.iter().filter_map(|domain| ServerName::try_from(domain.as_str()).ok());
    names.filter(|name| verify_server_name(&parsed, name).is_ok()).count()
}

fn certificates(chain: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// From when to when a certificate is valid.
fn validity(certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), String> {
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let at = |seconds: i64| Timestamp::from_millis(0) + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = parsed.validity();
    Ok((at(validity.not_before.timestamp()), at(validity.not_after.timestamp())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// Valid for 90 days from `now` on.
    fn made(name: &str, now: Timestamp) -> (String, Vec<u8>) {
        let at =
            |timestamp: Timestamp| time::OffsetDateTime::from_unix_timestamp(timestamp.as_millis() / 1000).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(now), at(now + DAY * 90));
        (params.self_signed(&key).unwrap().pem(), key.serialize_der())
    }

    #[test]
    fn only_what_fits_is_taken() {
        let now = Timestamp::from_millis(1_795_354_780_000);
        let (chain, key) = made("mx.example.org", now);
        let read = |chain: &str, key: &[u8], domain: &str, now, spread| {
            super::read(chain.to_owned(), key, &[domain.to_owned()], "https://acme.test/", now, spread)
        };
        let good = read(&chain, &key, "mx.example.org", now, 0.0).unwrap();
        assert_eq!((good.not_before, good.not_after, good.renew_at), (now, now + DAY * 90, now + DAY * 60));
        assert_eq!(read(&chain, &key, "mx.example.org", now, 1.0).unwrap().renew_at, now + DAY * 57);

        let refused = |outcome: Result<AcmeCertificate, String>| outcome.unwrap_err();
        assert!(refused(read(&chain, &key, "imap.example.org", now, 0.0)).contains("the name imap.example.org"));
        assert!(refused(read(&chain, &key, "mx.example.org", now + DAY * 90, 0.0)).contains("ended"));
        let (_, other) = made("mx.example.org", now);
        assert!(refused(read(&chain, &other, "mx.example.org", now, 0.0)).contains("do not go together"));
        assert!(refused(read("", &key, "mx.example.org", now, 0.0)).contains("there is none"));
    }
}
