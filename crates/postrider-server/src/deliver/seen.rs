//! What a delivery saw of TLS on the way to a domain, for the reports to it (RFC 8460 section 4.3).

use std::sync::Arc;

use rustls::{CertificateError, Error};

use super::conversation::{Connection, Peer};
use super::dane::TlsaSet;
use super::route::{Route, TlsMode};
use crate::tls_reports::{Failure, ReportedPolicy, ResultType};

/// One session, or one that did not come about.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Set where it was under TLSA records; else the domain's own policy counts, if it has one.
    pub(crate) tlsa: Option<ReportedPolicy>,
    /// `None`: it was as protected as it should be.
    pub(crate) failure: Option<Failure>,
}

impl Seen {
    pub(super) fn failure(result: ResultType, tlsa: Option<&Arc<TlsaSet>>, peer: &Peer) -> Self {
        let failure = Failure { result, mx: peer.mx.clone(), mx_ip: peer.mx_ip, source_ip: peer.source_ip };
        // Where they could not be had, nobody knows what they say.
        let unknown = (result == ResultType::DnssecInvalid).then(|| ReportedPolicy {
            kind: "tlsa".to_owned(),
            text: Vec::new(),
            hosts: Vec::new(),
        });
        Self { tlsa: tlsa.map(|set| set.reported()).or(unknown), failure: Some(failure) }
    }

    /// Of a connection that carries mail. `None` where it says nothing of the other side: we avoided TLS ourselves.
    pub(crate) fn of(connection: &Connection, route: &Route) -> Option<Self> {
        let may_encrypt = matches!(route.tls, TlsMode::Opportunistic | TlsMode::StartTlsVerified);
        let (peer, tlsa) = (&connection.peer, connection.tlsa.as_ref());
        match (&peer.tls, connection.client.capabilities().starttls) {
            _ if !may_encrypt => None,
            (Some(_), _) => Some(Self { tlsa: tlsa.map(|set| set.reported()), failure: None }),
            (None, false) => Some(Self::failure(ResultType::StarttlsNotSupported, tlsa, peer)),
            (None, true) => None,
        }
    }
}

/// What a handshake failed of. `is_dane`: certificates are judged by TLSA records.
pub(super) fn result_of(error: &std::io::Error, is_dane: bool) -> ResultType {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    let Some(Error::InvalidCertificate(certificate)) = tls else { return ResultType::ValidationFailure };
    match certificate {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ResultType::CertificateHostMismatch
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => ResultType::CertificateExpired,
        CertificateError::ApplicationVerificationFailure if is_dane => ResultType::TlsaInvalid,
        CertificateError::UnknownIssuer | CertificateError::Revoked => ResultType::CertificateNotTrusted,
        _ => ResultType::ValidationFailure,
    }
}
