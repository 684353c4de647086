//! DNSSEC for a test's zone (RFC 4033 to 4035): which domains are zones, their keys, signatures made as they are asked for, and
//! NSEC records that prove what is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use hickory_proto::dnssec::crypto::EcdsaSigningKey;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, RRSIG};
use hickory_proto::dnssec::{Algorithm, DigestType, DnssecSigner, SigningKey};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType, rdata};
use time::OffsetDateTime;

use super::zone::{Found, name, record, start_of_authority};

/// From before the question to after it.
const SIGNATURES_HOLD: Duration = Duration::from_secs(24 * 3600);

type RecordsByName = BTreeMap<String, Vec<RData>>;

/// The zones, by the names of their apices; `None`: one without signatures.
pub(super) struct Signing {
    zones: BTreeMap<String, Option<DnssecSigner>>,
    forged: BTreeSet<String>,
    is_stripped: bool,
}

impl Default for Signing {
    fn default() -> Self {
        let zones = BTreeMap::from([(String::new(), Some(signer("")))]);
        Self { zones, forged: BTreeSet::new(), is_stripped: false }
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").field("zones", &self.zones.keys()).finish_non_exhaustive()
    }
}

impl Signing {
    pub(super) fn delegate(&mut self, apex: String, is_signed: bool) {
        let signer = is_signed.then(|| signer(&apex));
        self.zones.insert(apex, signer);
    }

    pub(super) fn forge(&mut self, host: String) {
        self.forged.insert(host);
    }

    pub(super) fn strip(&mut self) {
        self.is_stripped = true;
    }

    /// Whether anything of it is to be seen.
    pub(super) fn is_seen(&self) -> bool {
        !self.is_stripped
    }

    pub(super) fn trust_anchor(&self) -> String {
        let root = self.zones.get("").and_then(Option::as_ref).expect("the root is signed");
        format!(". 3600 IN DNSKEY {}\n", root.dnskey())
    }

    /// Adds what zones have of themselves to an answer, signed or not.
    pub(super) fn complete(&self, found: &mut Found, key: &str, record_type: RecordType, ttl_seconds: u32) {
        if let Some(signer) = self.zones.get(key) {
            found.code = ResponseCode::NoError;
            let own = match (record_type, signer) {
                (RecordType::NS, _) => Some(RData::NS(rdata::NS(name("ns.test")))),
                (RecordType::SOA, _) => Some(start_of_authority(key, ttl_seconds).data),
                (RecordType::DNSKEY, Some(signer)) => Some(RData::from(signer.dnskey().clone())),
                (RecordType::DS, Some(signer)) if !key.is_empty() => Some(ds(key, signer)),
                _ => None,
            };
            found.answers.extend(own.map(|data| record(key, &data, ttl_seconds)));
        }
        if found.answers.is_empty() {
            found.authorities.push(start_of_authority(self.zone_of(key, record_type), ttl_seconds));
        }
    }

    /// Signs an answer, or proves that there is none.
    pub(super) fn prove(
        &self,
        found: &mut Found,
        key: &str,
        record_type: RecordType,
        ttl_seconds: u32,
        records: &RecordsByName,
    ) {
        let is_answered = !found.answers.is_empty();
        for section in [&mut found.answers, &mut found.authorities] {
            let signatures = self.signatures(section, None);
            section.extend(signatures);
        }
        let signer = self.signer_of(key, record_type);
        if !is_answered && signer.is_some() {
            // At a delegation there are two, and what denies DS records is the parent's.
            let denial = self.denial(key, record_type, ttl_seconds, records);
            found.authorities.extend(self.signatures(&denial, signer));
            found.authorities.extend(denial);
        }
    }

    /// The signatures over all records of a section, by `signer` or by that of each one's zone.
    fn signatures(&self, section: &[Record], signer: Option<&DnssecSigner>) -> Vec<Record> {
        let mut sets: BTreeMap<(Name, RecordType), RecordSet> = BTreeMap::new();
        for record in section {
            let kind = (record.name.clone(), record.record_type());
            let set = sets.entry(kind).or_insert_with_key(|(name, kind)| RecordSet::new(name.clone(), *kind, 0));
            set.insert(record.clone(), 0);
        }
        let now = OffsetDateTime::now_utc() - Duration::from_secs(3600);
        let signature = |set: &RecordSet| {
            let key = super::zone::key(&set.name().to_string());
            let signer = signer.or_else(|| self.signer_of(&key, set.record_type()))?;
            let signature = RRSIG::from_rrset(set, DNSClass::IN, now, signer).expect("records of a test can be signed");
            let mut bytes = signature.sig().to_vec();
            if self.forged.contains(&key) {
                bytes.iter_mut().for_each(|byte| *byte ^= 1);
            }
            let signature = RRSIG::from_sig(signature.input().clone(), bytes);
            let data = RData::DNSSEC(DNSSECRData::RRSIG(signature));
            Some(Record::from_rdata(set.name().clone(), set.ttl(), data))
        };
        sets.values().filter_map(signature).collect()
    }

    /// The NSEC records that prove that a name has no such record, or does not exist (RFC 4035 section 3.1.3).
    fn denial(&self, key: &str, record_type: RecordType, ttl_seconds: u32, records: &RecordsByName) -> Vec<Record> {
        let apex = self.zone_of(key, record_type);
        let chain = self.chain(apex, records);
        let asked = name(key);
        let at = |wanted: &Name| match chain.binary_search_by(|(owner, _)| owner.cmp(wanted)) {
            Ok(at) => at,
            Err(after) => after.saturating_sub(1),
        };
        let mut needed = BTreeSet::from([at(&asked)]);
        if chain[at(&asked)].0 != asked {
            let is_there = |name: &Name| chain.iter().any(|(owner, _)| name.zone_of(owner));
            let mut encloser = asked.base_name();
            while !is_there(&encloser) {
                encloser = encloser.base_name();
            }
            needed.insert(at(&encloser.prepend_label("*").expect("the names of a test are short")));
        }
        let nsec = |at: usize| {
            let (owner, types) = &chain[at];
            let next = &chain[(at + 1) % chain.len()].0;
            let data = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new(next.clone(), types.iter().copied())));
            Record::from_rdata(owner.clone(), ttl_seconds, data)
        };
        needed.into_iter().map(nsec).collect()
    }

    /// The names of a zone with the types of their records, in canonical order.
    fn chain(&self, apex: &str, records: &RecordsByName) -> Vec<(Name, BTreeSet<RecordType>)> {
        let mut chain: BTreeMap<Name, BTreeSet<RecordType>> = BTreeMap::new();
        for (key, data) in records.iter().filter(|(key, _)| self.zone_of(key, RecordType::A) == apex) {
            chain.entry(name(key)).or_default().extend(data.iter().map(RData::record_type));
        }
        chain.entry(name(apex)).or_default().extend([RecordType::SOA, RecordType::NS, RecordType::DNSKEY]);
        for (cut, signer) in self.zones.iter().filter(|(cut, _)| !cut.is_empty()) {
            if self.zone_of(cut, RecordType::DS) == apex {
                chain.entry(name(cut)).or_default().extend([RecordType::NS]);
                chain.entry(name(cut)).or_default().extend(signer.as_ref().map(|_| RecordType::DS));
            }
        }
        for types in chain.values_mut() {
            types.extend([RecordType::RRSIG, RecordType::NSEC]);
        }
        chain.into_iter().collect()
    }

    /// The apex of the zone that a name's records are in. DS records, and what denies them, are the parent's.
    fn zone_of(&self, key: &str, record_type: RecordType) -> &str {
        let mut name = key;
        if record_type == RecordType::DS {
            name = parent(name);
        }
        loop {
            if let Some((apex, _)) = self.zones.get_key_value(name) {
                return apex;
            }
            name = parent(name);
        }
    }

    fn signer_of(&self, key: &str, record_type: RecordType) -> Option<&DnssecSigner> {
        self.zones.get(self.zone_of(key, record_type))?.as_ref()
    }
}

fn parent(key: &str) -> &str {
    key.split_once('.').map_or("", |(_, parent)| parent)
}

fn signer(apex: &str) -> DnssecSigner {
    let algorithm = Algorithm::ECDSAP256SHA256;
    let made = EcdsaSigningKey::generate_pkcs8(algorithm).expect("keys can be made");
    let key = EcdsaSigningKey::from_pkcs8(&made, algorithm).expect("a key that was just made can be read");
    let public = key.to_public_key().expect("a key has a public part");
    DnssecSigner::new(DNSKEY::from_key(&public), Box::new(key), name(apex), SIGNATURES_HOLD)
}

fn ds(apex: &str, signer: &DnssecSigner) -> RData {
    let dnskey = signer.dnskey();
    let ds = DS::from_key(dnskey.public_key(), &name(apex), DigestType::SHA256).expect("a key has a digest");
    RData::DNSSEC(DNSSECRData::DS(ds))
}
