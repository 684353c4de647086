//! DNSSEC (RFC 4033 to 4035): which answers of name servers are proven, from the root's keys down. The proof is made here: of the name
//! servers it takes no more than that they pass signatures on.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::dnssec::{Proof, TrustAnchors};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use postrider_core::ports::MxRecord;
use postrider_core::{Clock, ResolveError, Timestamp};
use tracing::{debug, info, warn};

use crate::clock::{SystemClock, timeout};
use crate::dns;

/// Whoever asks waits no longer, however many questions a proof takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where signatures did not come through, it is tried again after so long.
const DISABILITY_HOLDS: Duration = Duration::from_secs(600);

/// Whether name servers pass DNSSEC on, so that the root's answers can be proven: what DANE stands on. Servers and keys as in
/// `DNS_SERVERS` and `DNSSEC_TRUST_ANCHOR_FILE`.
pub async fn passes_dnssec(servers: &[SocketAddr], trust_anchor_file: Option<&Path>) -> Result<bool, DnssecFailure> {
    let dnssec = Dnssec::new(servers, trust_anchor_file, Arc::new(SystemClock)).map_err(DnssecFailure::Settings)?;
    dnssec.is_able().await.map_err(|error| DnssecFailure::NoAnswer(error.to_string()))
}

/// Why it is not known whether name servers pass DNSSEC on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnssecFailure {
    /// The servers or the file of keys are of no use.
    #[error("{0}")]
    Settings(String),
    /// Nobody answered, or not now.
    #[error("the DNS servers do not say now whether they pass DNSSEC on: {0}")]
    NoAnswer(String),
}

/// An answer, and whether it is proven. One that is disproven is none, but a temporary error (RFC 4035 section 5.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer<T> {
    pub(crate) is_secure: bool,
    pub(crate) content: T,
}

/// A TLSA record (RFC 6698 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tlsa {
    pub(crate) usage: u8,
    pub(crate) selector: u8,
    pub(crate) matching: u8,
    pub(crate) data: Vec<u8>,
}

/// Looks names up and proves what it finds.
#[derive(Debug)]
pub(crate) struct Dnssec {
    resolver: TokioResolver,
    clock: Arc<dyn Clock>,
    ability: Mutex<Ability>,
}

/// Whether signatures come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ability {
    Unknown,
    /// It stays so: who could take signatures away later would be an attacker.
    Able,
    UnableUntil(Timestamp),
}

impl Dnssec {
    /// Asks `servers`, or the system's where the list is empty. The root's keys are those that are built in, or those of a file of
    /// DNSKEY records. The error says what is wrong.
    pub(crate) fn new(
        servers: &[SocketAddr],
        trust_anchor_file: Option<&Path>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let anchors = match trust_anchor_file {
            None => TrustAnchors::default(),
            Some(file) => {
                let refuse =
                    |error: &dyn std::fmt::Display| format!("DNSSEC_TRUST_ANCHOR_FILE {}: {error}", file.display());
                let anchors = TrustAnchors::from_file(file).map_err(|error| refuse(&error))?;
                if anchors.is_empty() {
                    return Err(refuse(&"there is no DNSKEY record of the root in it"));
                }
                anchors
            }
        };
        let mut builder = dns::builder(servers)?.with_trust_anchor(Arc::new(anchors));
        builder.options_mut().preserve_intermediates = true;
        let resolver = builder.build().map_err(|error| format!("the resolver cannot be set up: {error}"))?;
        Ok(Self { resolver, clock, ability: Mutex::new(Ability::Unknown) })
    }

    /// Whether name servers pass signatures on. Many do not: then nothing can be proven, and all is as if nothing were signed. Only
    /// an answer without its proof says so: where there is none, the error is temporary, and nothing is known.
    pub(crate) async fn is_able(&self) -> Result<bool, ResolveError> {
        let known = *self.ability.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Ability::Able => return Ok(true),
            Ability::UnableUntil(until) if self.clock.now() < until => return Ok(false),
            Ability::UnableUntil(_) | Ability::Unknown => {}
        }
        let is_able = match self.try_ask(".", RecordType::SOA).await {
            Ok(answer) => answer.is_secure,
            Err(Failure::Other(error @ ResolveError::Temporary(_))) => {
                debug!(%error, "whether the name servers pass DNSSEC on is not known yet");
                return Err(error);
            }
            Err(Failure::Disproven | Failure::Other(_)) => false,
        };
        let now_known = if is_able { Ability::Able } else { Ability::UnableUntil(self.clock.now() + DISABILITY_HOLDS) };
        let before = std::mem::replace(&mut *self.ability.lock().unwrap_or_else(PoisonError::into_inner), now_known);
        match (before, is_able) {
            (Ability::Able, _) | (Ability::UnableUntil(_), false) => {}
            (_, true) => info!("the name servers pass DNSSEC on: DANE is in effect"),
            (Ability::Unknown, false) => warn!("the name servers pass no DNSSEC on: there is no DANE"),
        }
        Ok(is_able)
    }

    /// The MX records of a domain; none where it has none.
    pub(crate) async fn mx(&self, domain: &str) -> Result<Answer<Vec<MxRecord>>, ResolveError> {
        let answer = self.ask(domain, RecordType::MX).await?;
        let records = answer.content.iter().filter_map(dns::mx_record).collect();
        Ok(Answer { is_secure: answer.is_secure, content: records })
    }

    /// The names under which a host may have TLSA records, best first: what its aliases lead to, and itself; none where they are not
    /// proven (RFC 7672 section 2.2.2).
    pub(crate) async fn bases(&self, host: &str) -> Result<Vec<String>, ResolveError> {
        // One kind of address is enough, and that one of both is missing would have to be proven each time.
        let mut failure = None;
        let mut found = None;
        for kind in [RecordType::A, RecordType::AAAA] {
            match self.ask(host, kind).await {
                Ok(answer) if answer.content.iter().any(is_address) => {
                    found = Some(answer);
                    break;
                }
                Err(error @ ResolveError::Temporary(_)) => failure = Some(error),
                Ok(_) | Err(ResolveError::NoSuchDomain | ResolveError::NoRecords) => {}
            }
        }
        // No addresses: whoever connects will find that out.
        let Some(found) = found else { return failure.map_or(Ok(Vec::new()), Err) };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let canonical = found.content.iter().find(|record| is_address(record)).map(dns::owner);
        let alias = found.content.iter().find(|record| record.record_type() == RecordType::CNAME);
        let is_alias_secure = alias.is_some_and(|alias| alias.proof.is_secure() && dns::owner(alias) == host);
        Ok(match canonical.filter(|name| *name != host) {
            Some(canonical) if found.is_secure => vec![canonical, host],
            None if found.is_secure => vec![host],
            Some(_) if is_alias_secure => vec![host],
            Some(_) | None => Vec::new(),
        })
    }

    /// The TLSA records of a name and port that are proven (RFC 6698 section 3).
    pub(crate) async fn tlsa(&self, base: &str, port: u16) -> Result<Vec<Tlsa>, ResolveError> {
        let answer = match self.ask(&format!("_{port}._tcp.{base}"), RecordType::TLSA).await {
            Ok(answer) => answer,
            Err(ResolveError::NoSuchDomain | ResolveError::NoRecords) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if !answer.is_secure {
            return Ok(Vec::new());
        }
        let tlsa = |record: &Record| match &record.data {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        };
        Ok(answer.content.iter().filter_map(tlsa).collect())
    }

    /// The records of a name, with the aliases on the way. Without records an answer is secure where their absence is proven.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<Answer<Vec<Record>>, ResolveError> {
        self.try_ask(name, kind).await.map_err(ResolveError::from)
    }

    async fn try_ask(&self, name: &str, kind: RecordType) -> Result<Answer<Vec<Record>>, Failure> {
        let name = dns::fully_qualified(name)?;
        let asking = timeout(self.clock.as_ref(), PATIENCE, self.resolver.lookup(name, kind));
        let asked = asking.await.map_err(|_| ResolveError::Temporary("DNSSEC's proof takes too long".to_owned()))?;
        match asked {
            Ok(lookup) => {
                let is_of_use = |record: &&Record| [kind, RecordType::CNAME].contains(&record.record_type());
                let records: Vec<Record> = lookup.answers().iter().filter(is_of_use).cloned().collect();
                let is_secure = !records.is_empty() && records.iter().all(|record| record.proof.is_secure());
                Ok(Answer { is_secure, content: records })
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) if none.response_code == ResponseCode::NoError => {
                Ok(Answer { is_secure: is_denied(&none), content: Vec::new() })
            }
            // A denial that proves nothing, and need not: the zone says itself that it cannot (RFC 9276 section 3.2).
            Err(NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. })) => match response.response_code
            {
                ResponseCode::NXDomain => Err(Failure::Other(ResolveError::NoSuchDomain)),
                _ => Ok(Answer { is_secure: false, content: Vec::new() }),
            },
            Err(NetError::Dns(DnsError::DnssecBogus | DnsError::Nsec { .. })) => Err(Failure::Disproven),
            Err(error) => Err(Failure::Other(dns::resolve_error(error))),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    /// There is one, and its signatures are wrong or missing.
    Disproven,
    Other(ResolveError),
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for ResolveError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Disproven => Self::Temporary("DNSSEC disproves what the name server says".to_owned()),
            Failure::Other(error) => error,
        }
    }
}

/// Whether the absence of records is proven.
fn is_denied(none: &NoRecords) -> bool {
    let is_proof = |record: &Record| {
        let denies = matches!(record.data, RData::DNSSEC(DNSSECRData::NSEC(_) | DNSSECRData::NSEC3(_)));
        denies && record.proof.is_secure()
    };
    none.authorities.as_ref().is_some_and(|authorities| authorities.iter().any(is_proof))
}

fn is_address(record: &Record) -> bool {
    matches!(record.record_type(), RecordType::A | RecordType::AAAA)
}
