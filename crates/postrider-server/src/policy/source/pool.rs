//! Source addresses by `SOURCE_IPS`: in turn by weight, each recipient domain keeping to the one that it got.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider_config::{SourceIp, WarmUp};
use postrider_core::source::WarmUpStats;
use postrider_core::{Clock, Domain, Resolver, SourceDecision, SourceOrigin, Timestamp};
use postrider_store::Store;
use tracing::warn;

use super::local::Rejections;
use super::reverse::ReverseNames;
use super::warm_up::{Allowance, Leave};
use super::{DECISION, NoSource, Source, SourceKey};
use crate::generations::Generations;

/// Domains that keep to an address. Those that were not sent to for longest are given one anew.
const DOMAINS_MAX: usize = 200_000;

#[derive(Debug)]
pub(super) struct Pool {
    clock: Arc<dyn Clock>,
    names: ReverseNames,
    members: Vec<Member>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Member {
    ip: IpAddr,
    weight: i64,
    warm_up: Option<Allowance>,
}

#[derive(Debug)]
struct State {
    /// By which the turns are told: who has the most is next, and pays the sum of all weights.
    credits: Vec<i64>,
    /// Which member each domain keeps to.
    homes: Generations<Domain, usize>,
    rejected: Rejections,
}

impl Pool {
    pub(super) fn new(
        sources: &[SourceIp],
        warm_ups: &[WarmUp],
        store: &Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        let member = |source: &SourceIp| {
            let options = warm_ups.iter().find(|warm_up| warm_up.ip == source.ip);
            let warm_up = options.map(|options| Allowance::new(options.clone(), store.clone()));
            Member { ip: source.ip, weight: i64::from(source.weight), warm_up }
        };
        let members: Vec<Member> = sources.iter().map(member).collect();
        let state = State {
            credits: vec![0; members.len()],
            homes: Generations::new(DOMAINS_MAX),
            rejected: Rejections::default(),
        };
        Self { names: ReverseNames::new(clock.clone(), resolver), clock, members, state: Mutex::new(state) }
    }

    /// The source of a message to a domain, if it can be told without waiting.
    pub(super) fn known(&self, domain: &Domain) -> Option<Source> {
        let now = self.clock.now();
        let Member { ip, warm_up, .. } = &self.members[self.next(domain, &vec![false; self.members.len()], now)?];
        let ehlo = self.names.known(*ip)?;
        let is_granted = warm_up.as_ref().is_none_or(|allowance| allowance.take_held(now) == Leave::Granted);
        is_granted.then(|| self.source(SourceKey { ip: Some(*ip), ehlo }, now, None))
    }

    /// The source of a message to a domain.
    pub(super) async fn choose(&self, domain: &Domain) -> Result<Source, NoSource> {
        let started_at = self.clock.now();
        let mut spent = vec![false; self.members.len()];
        loop {
            let now = self.clock.now();
            let Some(member) = self.next(domain, &spent, now) else { break };
            let Member { ip, warm_up, .. } = &self.members[member];
            let leave = match warm_up {
                None => Leave::Granted,
                Some(allowance) => match allowance.take(now).await {
                    Ok(leave) => leave,
                    Err(error) => {
                        return Err(NoSource(format!("the warm-up of {ip} cannot be looked up now: {error}")));
                    }
                },
            };
            if leave == Leave::Granted {
                let key = SourceKey { ip: Some(*ip), ehlo: self.names.of(*ip).await };
                return Ok(self.source(key, started_at, None));
            }
            spent[member] = true;
        }
        if spent.contains(&true) {
            return Err(NoSource("all source addresses have sent what their warm-up allows today".to_owned()));
        }
        warn!("SOURCE_IPS names no address of this host: the system chooses");
        let error = "no address of SOURCE_IPS is one of this host".to_owned();
        Ok(self.source(SourceKey::default(), started_at, Some(error)))
    }

    /// Whose turn it is: that of the domain's own address, if it can be used.
    fn next(&self, domain: &Domain, spent: &[bool], now: Timestamp) -> Option<usize> {
        let mut state = self.state();
        let usable: Vec<usize> = (0..self.members.len())
            .filter(|&member| !spent[member] && !state.rejected.has(self.members[member].ip, now))
            .collect();
        let home = state.homes.get(domain).copied();
        match home {
            Some(home) if usable.contains(&home) => return Some(home),
            // It keeps its home for later, and one and the same substitute until then.
            Some(_) => {
                let mut hasher = DefaultHasher::new();
                domain.hash(&mut hasher);
                let place = (hasher.finish() % usable.len().max(1) as u64) as usize;
                return usable.get(place).copied();
            }
            None => {}
        }
        let weights: i64 = usable.iter().map(|&member| self.members[member].weight).sum();
        for &member in &usable {
            state.credits[member] += self.members[member].weight;
        }
        let next = usable.into_iter().max_by_key(|&member| (state.credits[member], std::cmp::Reverse(member)))?;
        state.credits[next] -= weights;
        state.homes.insert(domain.clone(), next);
        Some(next)
    }

    fn source(&self, key: SourceKey, started_at: Timestamp, error: Option<String>) -> Source {
        let now = self.clock.now();
        let origin = if key.ip.is_some() { SourceOrigin::Configured } else { SourceOrigin::Default };
        let decision = SourceDecision { ip: key.ip, origin, latency: now.since(started_at), error };
        Source { key, decision: Some(decision), holds_until: now + DECISION }
    }

    /// A message that was to leave from there did not.
    pub(super) fn give_back(&self, source: &Source) {
        let member = self.members.iter().find(|member| Some(member.ip) == source.key.ip);
        if let Some(allowance) = member.and_then(|member| member.warm_up.as_ref()) {
            allowance.give_back(self.clock.now());
        }
    }

    pub(super) fn reject(&self, ip: IpAddr) {
        self.state().rejected.add(ip, self.clock.now());
    }

    pub(super) fn warm_ups(&self) -> Vec<WarmUpStats> {
        self.members.iter().filter_map(|member| member.warm_up.as_ref()?.stats()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers and a map: nothing in there is left half-changed by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::dns::DnsResolver;
    use postrider_store::{SqliteOptions, SqliteStore};

    fn pool(folder: &std::path::Path, weights: &[u32], warm_ups: &[(u8, u64)]) -> Pool {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteOptions::new(folder)).unwrap());
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let sources: Vec<SourceIp> =
            weights.iter().zip(1..).map(|(&weight, last)| SourceIp { ip: ip(last), weight }).collect();
        let warm_ups: Vec<WarmUp> =
            warm_ups.iter().map(|&(last, messages)| WarmUp { ip: ip(last), messages, growth: 1.0 }).collect();
        // Nobody answers there: the addresses have no names.
        let resolver = DnsResolver::new(&[([127, 0, 0, 1], 9).into()]).unwrap();
        Pool::new(&sources, &warm_ups, &store, Arc::new(SystemClock), Arc::new(resolver))
    }

    fn domain(number: usize) -> Domain {
        Domain::parse(&format!("d{number}.example")).unwrap()
    }

    fn last(source: &Source) -> Option<u8> {
        match source.key.ip? {
            IpAddr::V4(ip) => Some(ip.octets()[3]),
            IpAddr::V6(_) => None,
        }
    }

    #[test]
    fn domains_are_spread_by_weight_and_stay_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(folder.path(), &[3, 1], &[]);
        let now = Timestamp::system();
        let next = |number| pool.next(&domain(number), &[false; 2], now).unwrap();
        let turns: Vec<usize> = (0..8).map(next).collect();
        assert_eq!(turns, [0, 0, 1, 0, 0, 0, 1, 0]);
        assert_eq!((0..8).map(next).collect::<Vec<_>>(), turns);
        // Without its own address a domain has one substitute, and comes home again.
        pool.reject([192, 0, 2, 2].into());
        assert_eq!((next(2), next(2)), (0, 0));
        assert_eq!(pool.next(&domain(2), &[false; 2], now + std::time::Duration::from_secs(3600)), Some(1));
        pool.reject([192, 0, 2, 1].into());
        assert_eq!(pool.next(&domain(2), &[false; 2], now), None);
    }

    #[tokio::test]
    async fn what_a_warm_up_does_not_allow_leaves_from_the_others_or_waits() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(folder.path(), &[1, 1], &[(1, 3), (2, 2)]);
        let mut sent = Vec::new();
        for _ in 0..5 {
            sent.push(last(&pool.choose(&domain(0)).await.unwrap()));
        }
        assert_eq!(sent, [Some(1), Some(1), Some(1), Some(2), Some(2)]);
        assert!(pool.choose(&domain(0)).await.unwrap_err().0.contains("warm-up"));
        let used: Vec<_> = pool.warm_ups().iter().map(|stats| (stats.limit, stats.used)).collect();
        assert_eq!(used, [(3, 3), (2, 2)]);
    }
}
