//! Certificates and TLS configurations: from the files of `TLS_CERT_FILE` and `TLS_KEY_FILE`, or made once and kept.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use std::{fs, io};

use postrider_config::Settings;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

/// Why there is no usable certificate, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// The one TLS provider of the program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The server's certificate: reread when its files change, or put in by whoever gets it elsewhere.
#[derive(Debug)]
pub struct ServerTls {
    cert_file: PathBuf,
    key_file: PathBuf,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// `None`: it comes from elsewhere.
    files: Option<[FileState; 2]>,
}

/// When a file was changed last, and its length; `None` if it cannot be looked at.
type FileState = Option<(SystemTime, u64)>;

impl ServerTls {
    /// Loads the certificate that the settings name; without one, the self-signed one of `DATA_DIR/tls`, made now if it
    /// is not there.
    pub fn load(settings: &Settings) -> Result<Self, TlsError> {
        let (cert_file, key_file) = match (&settings.tls_cert_file, &settings.tls_key_file) {
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            _ => self_signed(&settings.data_dir.join("tls"), &settings.mail_hostname)?,
        };
        let current = Current::read(&cert_file, &key_file)?;
        Ok(Self { cert_file, key_file, current: RwLock::new(current) })
    }

    /// The configuration for the next handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// Rereads the files if they have changed; `true` if a new certificate is in use now. After an error the old one
    /// stays in use. Nothing is reread once [`ServerTls::install`] has put one in their place.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let known = self.current.read().map(|current| current.files).unwrap_or_default();
        if known.is_none_or(|known| known == states(&self.cert_file, &self.key_file)) {
            return Ok(false);
        }
        self.put(Current::read(&self.cert_file, &self.key_file)?);
        Ok(true)
    }

    /// Puts a certificate into use for new handshakes, in place of that of the files. Its own comes first, then those of the
    /// authorities. After an error the old one stays in use.
    pub fn install(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<(), TlsError> {
        self.put(Current::new(certified(chain, key)?, None)?);
        Ok(())
    }

    fn put(&self, fresh: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// The file that the certificate comes from.
    pub fn cert_file(&self) -> &Path {
        &self.cert_file
    }
}

impl Current {
    fn read(cert_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        // Taken before reading: a change in between is then seen at the next look.
        let files = states(cert_file, key_file);
        let certificates =
            CertificateDer::pem_file_iter(cert_file).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(
                |error| TlsError(format!("{}: no certificate in PEM can be read: {error}", cert_file.display())),
            )?;
        if certificates.is_empty() {
            return Err(TlsError(format!("{}: there is no certificate in this file", cert_file.display())));
        }
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|error| TlsError(format!("{}: no private key in PEM can be read: {error}", key_file.display())))?;
        let certified = certified(certificates, key)
            .map_err(|error| TlsError(format!("{}, {}: {error}", cert_file.display(), key_file.display())))?;
        Self::new(certified, Some(files))
    }

    fn new(certified: CertifiedKey, files: Option<[FileState; 2]>) -> Result<Self, TlsError> {
        let resolver = rustls::sign::SingleCertAndKey::from(certified);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.send_half_rtt_data = false;
        Ok(Self { config: Arc::new(config), files })
    }
}

/// A certificate with the key that it is for.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| TlsError(format!("certificate and key do not go together: {error}")))
}

/// The state of both files. Each counts: a new certificate may well be older than the key that it was made for.
fn states(cert_file: &Path, key_file: &Path) -> [FileState; 2] {
    [cert_file, key_file].map(|file| {
        let data = fs::metadata(file).ok()?;
        Some((data.modified().ok()?, data.len()))
    })
}

/// The kept self-signed certificate, made if it is not there.
fn self_signed(dir: &Path, hostname: &str) -> Result<(PathBuf, PathBuf), TlsError> {
    let (cert_file, key_file) = (dir.join("cert.pem"), dir.join("key.pem"));
    if cert_file.exists() && key_file.exists() {
        return Ok((cert_file, key_file));
    }
    let made = rcgen::generate_simple_self_signed(vec![hostname.to_owned(), "localhost".to_owned()])
        .map_err(|error| TlsError(format!("no certificate for {hostname} can be made: {error}")))?;
    fs::create_dir_all(dir)
        .and_then(|()| write_private(&key_file, made.signing_key.serialize_pem().as_bytes()))
        .and_then(|()| fs::write(&cert_file, made.cert.pem()))
        .map_err(|error| TlsError(format!("{}: the generated certificate cannot be kept: {error}", dir.display())))?;
    Ok((cert_file, key_file))
}

/// Writes a file that only this user may read.
pub fn write_private(file: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)?.write_all(content)
}

/// For sending: encrypts to whatever certificate the other side has, since without DANE or MTA-STS nothing says which it
/// should be, and clear text would be the alternative (RFC 7435).
pub fn opportunistic_client() -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider())))
        .with_no_client_auth();
    Arc::new(config)
}

/// For whoever has to prove its name: the certificate must be valid for it. The roots are Mozilla's, and those of `ca_file`
/// (PEM).
pub fn verifying_client(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    if let Some(file) = ca_file {
        let refuse = |error: &dyn std::fmt::Display| TlsError(format!("TLS_EXTRA_CA_FILE {}: {error}", file.display()));
        let before = roots.len();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| refuse(&error))? {
            roots.add(certificate.map_err(|error| refuse(&error))?).map_err(|error| refuse(&error))?;
        }
        if roots.len() == before {
            return Err(refuse(&"there is no certificate in it"));
        }
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes any certificate, but does check that the peer holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn write_at(file: &Path, content: &str, time: SystemTime) {
        fs::write(file, content).unwrap();
        fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_new_certificate_older_than_its_key_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |name: &str| {
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.self_signed(&key).unwrap().pem()
        };
        let key_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        write_at(&key_file, &key.serialize_pem(), key_time);
        write_at(&cert_file, &certificate("first.test"), key_time - Duration::from_secs(7200));
        let current = RwLock::new(Current::read(&cert_file, &key_file).unwrap());
        let tls = ServerTls { cert_file: cert_file.clone(), key_file, current };
        assert_eq!(tls.refresh(), Ok(false));
        write_at(&cert_file, &certificate("other.test"), key_time - Duration::from_secs(3600));
        assert_eq!(tls.refresh(), Ok(true));
        assert_eq!(tls.refresh(), Ok(false));
        // Of the same time, as some tools keep it, but of another length.
        write_at(&cert_file, &certificate("another.name.test"), key_time - Duration::from_secs(3600));
        assert_eq!(tls.refresh(), Ok(true));
    }
}
