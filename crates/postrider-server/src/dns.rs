//! The resolver: hickory, with the system's servers or those of `DNS_SERVERS`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use postrider_core::ports::{IpVersion, MxRecord};
use postrider_core::{ResolveError, Resolver};

use crate::verify::Verifier;

/// One question to one server is given this long; there are as many tries as [`TRIES`].
const QUESTION_TIMEOUT: Duration = Duration::from_secs(3);
const TRIES: usize = 2;

/// Looks names up over DNS and keeps answers for as long as they say.
#[derive(Debug, Clone)]
pub struct DnsResolver {
    resolver: TokioResolver,
}

impl DnsResolver {
    /// A resolver that asks `servers`, or the system's where the list is empty. The error says what is wrong with the
    /// system's configuration.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, String> {
        let builder = builder(servers)?;
        let resolver = builder.build().map_err(|error| format!("the resolver cannot be set up: {error}"))?;
        Ok(Self { resolver })
    }

    /// A verifier of incoming mail that shares this resolver and its cache.
    pub fn verifier(&self) -> Verifier {
        Verifier::new(self.resolver.clone(), Arc::new(self.clone()))
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, ResolveError> {
        Ok(self.records(name, kind).await?.into_iter().map(|record| record.data).collect())
    }

    async fn records(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, ResolveError> {
        let name = fully_qualified(name)?;
        let lookup = self.resolver.lookup(name, kind).await.map_err(resolve_error)?;
        Ok(lookup.answers().iter().filter(|record| record.record_type() == kind).cloned().collect())
    }
}

/// A name that the system's search list has no part in. In ASCII its labels are taken as they are: a backslash in one is no
/// escape.
pub(crate) fn fully_qualified(name: &str) -> Result<Name, ResolveError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let parsed = if name.is_ascii() {
        Name::from_labels(name.split('.').filter(|_| !name.is_empty()).map(str::as_bytes))
    } else {
        Name::from_utf8(name)
    };
    let mut parsed = parsed.map_err(|_| ResolveError::NoSuchDomain)?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

/// What all resolvers of this program have in common.
pub(crate) fn builder(servers: &[SocketAddr]) -> Result<ResolverBuilder<TokioRuntimeProvider>, String> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if servers.is_empty() {
        TokioResolver::builder(provider)
            .map_err(|error| format!("the system's resolver configuration cannot be used: {error}; set DNS_SERVERS"))?
    } else {
        let servers = servers.iter().map(|&server| name_server(server)).collect();
        TokioResolver::builder_with_config(ResolverConfig::from_parts(None, Vec::new(), servers), provider)
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = QUESTION_TIMEOUT;
    options.attempts = TRIES;
    // What the DNS does not say, /etc/hosts shall not say either: mail goes where its MX records tell.
    if !servers.is_empty() {
        options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
    }
    Ok(builder)
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

/// An MX record, if it is one.
pub(crate) fn mx_record(record: &Record) -> Option<MxRecord> {
    let RData::MX(mx) = &record.data else { return None };
    let exchange = mx.exchange.to_ascii().to_ascii_lowercase();
    let exchange = if exchange == "." { exchange } else { exchange.trim_end_matches('.').to_owned() };
    Some(MxRecord { preference: mx.preference, exchange })
}

/// The name that a record is of, in lower case and without the final dot.
pub(crate) fn owner(record: &Record) -> String {
    record.name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

pub(crate) fn resolve_error(error: NetError) -> ResolveError {
    match &error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => ResolveError::NoSuchDomain,
            ResponseCode::NoError => ResolveError::NoRecords,
            code => ResolveError::Temporary(format!("the DNS server answered {code}")),
        },
        _ => ResolveError::Temporary(error.to_string()),
    }
}

#[async_trait]
impl Resolver for DnsResolver {
    async fn mx(&self, domain: &str) -> Result<Vec<MxRecord>, ResolveError> {
        let records: Vec<MxRecord> = self.records(domain, RecordType::MX).await?.iter().filter_map(mx_record).collect();
        if records.is_empty() { Err(ResolveError::NoRecords) } else { Ok(records) }
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let (v4, v6) = tokio::join!(self.lookup(host, RecordType::A), self.lookup(host, RecordType::AAAA));
        let mut addresses = Vec::new();
        for data in v4.iter().chain(&v6).flatten() {
            match data {
                RData::A(a) => addresses.push(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => addresses.push(IpAddr::V6(aaaa.0)),
                _ => {}
            }
        }
        if !addresses.is_empty() {
            return Ok(addresses);
        }
        // A temporary failure of either kind leaves open whether there is an address.
        let errors = [v4.err(), v6.err()];
        let temporary = errors.iter().flatten().find(|error| matches!(error, ResolveError::Temporary(_)));
        Err(temporary.or(errors[0].as_ref()).cloned().unwrap_or(ResolveError::NoRecords))
    }

    async fn addresses_of(&self, host: &str, version: IpVersion) -> Result<Vec<IpAddr>, ResolveError> {
        let kind = if version == IpVersion::V4 { RecordType::A } else { RecordType::AAAA };
        let addresses: Vec<IpAddr> = self.lookup(host, kind).await?.iter().filter_map(RData::ip_addr).collect();
        if addresses.is_empty() { Err(ResolveError::NoRecords) } else { Ok(addresses) }
    }

    async fn texts(&self, name: &str) -> Result<Vec<String>, ResolveError> {
        let records = self.lookup(name, RecordType::TXT).await?;
        let texts: Vec<String> = records
            .into_iter()
            .filter_map(|data| match data {
                RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
                _ => None,
            })
            .collect();
        if texts.is_empty() { Err(ResolveError::NoRecords) } else { Ok(texts) }
    }

    async fn names(&self, address: IpAddr) -> Result<Vec<String>, ResolveError> {
        let name = Name::from(address).to_ascii();
        let records = self.lookup(&name, RecordType::PTR).await?;
        Ok(records
            .into_iter()
            .filter_map(|data| match data {
                RData::PTR(name) => Some(name.0.to_ascii().trim_end_matches('.').to_ascii_lowercase()),
                _ => None,
            })
            .collect())
    }
}
