//! What a test's name server knows: records, and names that fail in one way or another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{self, SOA, TLSA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::signing::Signing;

/// How many aliases are followed.
const ALIASES_MAX: usize = 8;

/// How a name fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    ServFail,
    Refused,
    /// The question is never answered.
    Silent,
}

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A question that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// In lower case, without the final dot.
    pub name: String,
    pub record_type: RecordType,
    pub transport: Transport,
}

/// The records of a test's Internet. Clones are the same zone; it may change at any time. A name that is not in it does
/// not exist. Nothing may be cached, unless a test says so, so that the zone may change between two questions.
#[derive(Debug, Clone, Default)]
pub struct Zone(Arc<Mutex<Records>>);

impl Zone {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn mx(&self, domain: &str, preference: u16, exchange: &str) -> &Self {
        self.add(domain, RData::MX(rdata::MX::new(preference, name(exchange))))
    }

    /// A domain that takes no mail (RFC 7505).
    pub fn null_mx(&self, domain: &str) -> &Self {
        self.add(domain, RData::MX(rdata::MX::new(0, Name::root())))
    }

    pub fn a(&self, host: &str, ip: Ipv4Addr) -> &Self {
        self.add(host, RData::from(ip))
    }

    pub fn aaaa(&self, host: &str, ip: Ipv6Addr) -> &Self {
        self.add(host, RData::from(ip))
    }

    pub fn address(&self, host: &str, ip: IpAddr) -> &Self {
        self.add(host, RData::from(ip))
    }

    pub fn ptr(&self, ip: IpAddr, host: &str) -> &Self {
        let reverse = Name::from(ip).to_string();
        self.add(&reverse, RData::PTR(rdata::PTR(name(host))))
    }

    pub fn txt(&self, host: &str, text: &str) -> &Self {
        // A string has a length of one byte (RFC 1035 section 3.3.14).
        let strings = text.as_bytes().chunks(255).map(|string| String::from_utf8_lossy(string).into_owned());
        self.add(host, RData::TXT(TXT::new(strings.collect())))
    }

    pub fn cname(&self, alias: &str, target: &str) -> &Self {
        self.add(alias, RData::CNAME(rdata::CNAME(name(target))))
    }

    /// A name that exists and has no records.
    pub fn empty(&self, host: &str) -> &Self {
        self.lock().records.entry(key(host)).or_default();
        self
    }

    /// Makes all questions for a name fail.
    pub fn fail(&self, host: &str, failure: Failure) -> &Self {
        self.lock().failures.insert(key(host), failure);
        self
    }

    /// Answers questions for a name with the truncation bit over UDP, whole over TCP.
    pub fn truncate(&self, host: &str) -> &Self {
        self.lock().truncated.insert(key(host));
        self
    }

    /// Lets answers be kept for so long, from now on.
    pub fn time_to_live(&self, seconds: u32) -> &Self {
        self.lock().ttl_seconds = seconds;
        self
    }

    /// Signs all of it from the root on, for whoever asks for signatures (RFC 4035 section 3).
    pub fn sign(&self) -> &Self {
        self.lock().signing.get_or_insert_default();
        self
    }

    /// Makes a domain a zone of its own, with keys of its own where `is_signed`. All is signed then, but for zones that are not.
    pub fn delegate(&self, domain: &str, is_signed: bool) -> &Self {
        self.lock().signing.get_or_insert_default().delegate(key(domain), is_signed);
        self
    }

    /// Spoils all signatures over records of a name.
    pub fn forge(&self, host: &str) -> &Self {
        self.lock().signing.get_or_insert_default().forge(key(host));
        self
    }

    /// Leaves all signatures out from now on, as name servers do that know nothing of DNSSEC.
    pub fn strip_signatures(&self) -> &Self {
        self.lock().signing.get_or_insert_default().strip();
        self
    }

    /// The root's key, as a file of trust anchors has it.
    pub fn trust_anchor(&self) -> String {
        self.lock().signing.get_or_insert_default().trust_anchor()
    }

    /// TLSA (RFC 6698 section 2.1): the association's data as it is.
    pub fn tlsa(&self, host: &str, usage: u8, selector: u8, matching: u8, data: &[u8]) -> &Self {
        self.add(host, RData::TLSA(TLSA::new(usage.into(), selector.into(), matching.into(), data.to_vec())))
    }

    /// Forgets all about a name: it does not exist any more, and does not fail any more.
    pub fn clear(&self, host: &str) -> &Self {
        let mut records = self.lock();
        let key = key(host);
        records.records.remove(&key);
        records.failures.remove(&key);
        records.truncated.remove(&key);
        drop(records);
        self
    }

    /// All questions so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// How often this was asked.
    pub fn count(&self, host: &str, record_type: RecordType) -> usize {
        let key = key(host);
        self.lock().asked.iter().filter(|asked| asked.name == key && asked.record_type == record_type).count()
    }

    /// Looks a question up and notes it; `None`: be silent.
    ///
    /// `with_signatures`: for one who asks for them.
    pub(super) fn ask(
        &self,
        host: &Name,
        record_type: RecordType,
        transport: Transport,
        with_signatures: bool,
    ) -> Option<Found> {
        let mut records = self.lock();
        let key = key(&host.to_string());
        records.asked.push(Asked { name: key.clone(), record_type, transport });
        let code = match records.failures.get(&key) {
            Some(Failure::Silent) => return None,
            Some(Failure::ServFail) => ResponseCode::ServFail,
            Some(Failure::Refused) => ResponseCode::Refused,
            None if records.exists(&key) => ResponseCode::NoError,
            None => ResponseCode::NXDomain,
        };
        let mut found = Found { code, truncated: records.truncated.contains(&key), ..Found::default() };
        if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
            return Some(found);
        }
        if code == ResponseCode::NoError {
            found.answers = records.answers(key.clone(), record_type);
        }
        match records.signing.as_ref().filter(|signing| signing.is_seen()) {
            Some(signing) => {
                signing.complete(&mut found, &key, record_type, records.ttl_seconds);
                if with_signatures {
                    signing.prove(&mut found, &key, record_type, records.ttl_seconds, &records.records);
                }
            }
            None if found.answers.is_empty() => found.authorities.push(start_of_authority("", records.ttl_seconds)),
            None => {}
        }
        Some(found)
    }

    fn add(&self, host: &str, data: RData) -> &Self {
        self.lock().records.entry(key(host)).or_default().push(data);
        self
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the zone has to say to a question.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) code: ResponseCode,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) truncated: bool,
}

/// What a negative answer carries (RFC 2308 section 2).
pub(super) fn start_of_authority(apex: &str, ttl_seconds: u32) -> Record {
    let soa = SOA::new(name("ns.test"), name("hostmaster.test"), 1, 0, 0, 0, ttl_seconds);
    record(apex, &RData::SOA(soa), ttl_seconds)
}

#[derive(Debug, Default)]
struct Records {
    records: BTreeMap<String, Vec<RData>>,
    failures: BTreeMap<String, Failure>,
    truncated: BTreeSet<String>,
    asked: Vec<Asked>,
    ttl_seconds: u32,
    signing: Option<Signing>,
}

impl Records {
    /// Whether the name has records, or stands above one that has (RFC 8020).
    fn exists(&self, key: &str) -> bool {
        let below = format!(".{key}");
        self.records.keys().any(|name| name == key || name.ends_with(&below))
    }

    fn answers(&self, mut key: String, record_type: RecordType) -> Vec<Record> {
        let mut answers = Vec::new();
        for _ in 0..ALIASES_MAX {
            let records = self.records.get(&key).map(Vec::as_slice).unwrap_or_default();
            let wanted = |data: &&RData| data.record_type() == record_type;
            answers.extend(records.iter().filter(wanted).map(|data| record(&key, data, self.ttl_seconds)));
            let alias = records.iter().find(|data| data.record_type() == RecordType::CNAME);
            let Some(data @ RData::CNAME(target)) = alias.filter(|_| record_type != RecordType::CNAME) else { break };
            answers.push(record(&key, data, self.ttl_seconds));
            key = self::key(&target.0.to_string());
        }
        answers
    }
}

pub(super) fn record(key: &str, data: &RData, ttl_seconds: u32) -> Record {
    Record::from_rdata(name(key), ttl_seconds, data.clone())
}

/// # Panics
///
/// When the text is no domain name: the test is wrong.
pub(super) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap_or_else(|error| panic!("{text:?} is no domain name: {error}"));
    name.set_fqdn(true);
    name
}

pub(super) fn key(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}
