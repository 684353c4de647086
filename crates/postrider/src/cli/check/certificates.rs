//! Whether the certificate can be read, belongs to its key, is valid now and soon, and names this host.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postrider_config::Settings;
use postrider_server::tls::{self, ServerTls};
use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

use super::Finding;

const AREA: &str = "certificates";
/// A certificate that ends sooner is worth a warning.
const EXPIRY_WARNING_DAYS: u64 = 14;

const RENEWAL_ADVICE: &str = "renew it; the server rereads the file itself";
const SELF_SIGNED_ADVICE: &str =
    "mail programs do not trust it: set ACME_ENABLED, or TLS_CERT_FILE and TLS_KEY_FILE to one of a public authority";

pub(super) fn check(settings: &Settings, findings: &mut Vec<Finding>) {
    if let Err(error) = tls::verifying_client(settings.tls_extra_ca_file.as_deref()) {
        findings.push(Finding::fail(
            AREA,
            error.to_string(),
            "name a file with certificates in PEM, or leave it unset",
        ));
    }
    if settings.acme.enabled {
        // The self-signed one is a stopgap.
        return;
    }
    let is_own = settings.tls_cert_file.is_none();
    if is_own && !settings.data_dir.join("tls").join("cert.pem").exists() {
        findings.push(Finding::warn(AREA, "there is none; a self-signed one is made at the start", SELF_SIGNED_ADVICE));
        return;
    }
    match ServerTls::load(settings) {
        Ok(loaded) => findings.push(judge(loaded.cert_file(), &settings.mail_hostname, UnixTime::now(), is_own)),
        Err(error) => findings.push(Finding::fail(
            AREA,
            error.to_string(),
            "TLS_CERT_FILE and TLS_KEY_FILE must name PEM files that belong together and that this user may read",
        )),
    }
}

/// Judges the chain in `file` as a client would that connects to `hostname`.
fn judge(file: &Path, hostname: &str, now: UnixTime, is_own: bool) -> Finding {
    let shown = file.display();
    let chain = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.unwrap_or_default();
    let Some((certificate, intermediates)) = chain.split_first() else {
        return Finding::fail(AREA, format!("{shown} holds no certificate in PEM"), "look at its owner and content");
    };
    let Ok(name) = ServerName::try_from(hostname) else {
        return Finding::fail(AREA, format!("{hostname} is no name that a certificate can hold"), "set MAIL_HOSTNAME");
    };
    let verdict = verify(certificate, intermediates, &name, now);
    if is_expired(&verdict) {
        return Finding::fail(AREA, format!("{shown} has expired"), RENEWAL_ADVICE);
    }
    if is_not_valid_yet(&verdict) {
        return Finding::fail(AREA, format!("{shown} is not valid yet"), "look at this machine's clock");
    }
    let parsed = ParsedCertificate::try_from(certificate);
    if !parsed.is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok()) {
        return Finding::warn(
            AREA,
            format!("{shown} does not hold the name {hostname}"),
            "mail programs refuse it under that name: have one made for MAIL_HOSTNAME",
        );
    }
    let soon = Duration::from_secs(now.as_secs().saturating_add(EXPIRY_WARNING_DAYS * 86_400));
    if is_expired(&verify(certificate, intermediates, &name, UnixTime::since_unix_epoch(soon))) {
        return Finding::warn(AREA, format!("{shown} expires within {EXPIRY_WARNING_DAYS} days"), RENEWAL_ADVICE);
    }
    match verdict {
        Ok(()) => Finding::ok(AREA, format!("{shown} is valid for {hostname}")),
        Err(_) if is_own => Finding::warn(AREA, format!("{shown} is self-signed, for {hostname}"), SELF_SIGNED_ADVICE),
        Err(error) => Finding::warn(
            AREA,
            format!("{shown} is not trusted by the public: {error}"),
            "if it comes from a public authority, its intermediate certificates are missing from the file",
        ),
    }
}

fn is_expired(verdict: &Result<(), Error>) -> bool {
    use CertificateError::{Expired, ExpiredContext};
    matches!(verdict, Err(Error::InvalidCertificate(Expired | ExpiredContext { .. })))
}

fn is_not_valid_yet(verdict: &Result<(), Error>) -> bool {
    use CertificateError::{NotValidYet, NotValidYetContext};
    matches!(verdict, Err(Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. })))
}

/// As a client verifies that trusts Mozilla's roots.
pub(super) fn verify(
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    verifier.verify_server_cert(certificate, intermediates, name, &[], now).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    /// Valid from 1975 to 4096, as the generator makes them.
    fn certificate(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cert.pem");
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(&file, made.cert.pem()).unwrap();
        (folder, file)
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    const NOW_SECONDS: u64 = 1_795_354_780;
    /// 4096-01-01T00:00:00Z
    const END_SECONDS: u64 = 67_090_118_400;

    #[test]
    fn a_self_signed_one_is_worth_a_warning() {
        let (_folder, file) = certificate("mx.example.org");
        let finding = judge(&file, "mx.example.org", at(NOW_SECONDS), true);
        assert_eq!(finding.level, Level::Warn);
        assert!(finding.message.contains("self-signed"), "{finding:?}");
        assert!(judge(&file, "mx.example.org", at(NOW_SECONDS), false).message.contains("not trusted"));
    }

    #[test]
    fn the_name_must_fit() {
        let (_folder, file) = certificate("other.example.org");
        let finding = judge(&file, "mx.example.org", at(NOW_SECONDS), false);
        assert!(finding.message.contains("does not hold the name"), "{finding:?}");
    }

    #[test]
    fn the_time_must_fit() {
        let (_folder, file) = certificate("mx.example.org");
        let message = |seconds| judge(&file, "mx.example.org", at(seconds), true).message;
        assert!(message(END_SECONDS + 86_400).ends_with("has expired"), "{}", message(END_SECONDS + 86_400));
        assert!(message(END_SECONDS - 86_400).contains("expires within"), "{}", message(END_SECONDS - 86_400));
        assert!(message(1).ends_with("is not valid yet"), "{}", message(1));
    }

    #[test]
    fn what_is_no_certificate_fails() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cert.pem");
        std::fs::write(&file, "nothing").unwrap();
        assert_eq!(judge(&file, "mx.example.org", at(NOW_SECONDS), false).level, Level::Fail);
    }
}
