//! The names of source addresses, for EHLO: what reverse DNS says of an address, where the name says the same of itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postrider_core::{Clock, Domain, Resolver, Timestamp};
use tracing::debug;

use crate::clock::timeout;

/// How long a name is used without asking again, and how long the lack of one.
const FOUND: Duration = Duration::from_secs(3600);
const NOT_FOUND: Duration = Duration::from_secs(60);

/// Mail waits no longer for a name.
const PATIENCE: Duration = Duration::from_secs(2);

type Known = (Option<Arc<str>>, Timestamp);

#[derive(Debug)]
pub(super) struct ReverseNames {
    clock: Arc<dyn Clock>,
    resolver: Arc<dyn Resolver>,
    /// Each until when it is used.
    known: Mutex<HashMap<IpAddr, Known>>,
}

impl ReverseNames {
    pub(super) fn new(clock: Arc<dyn Clock>, resolver: Arc<dyn Resolver>) -> Self {
        Self { clock, resolver, known: Mutex::default() }
    }

    /// The name of this host at an address, or that it has none, if that is known without asking.
    pub(super) fn known(&self, ip: IpAddr) -> Option<Option<Arc<str>>> {
        let now = self.clock.now();
        // There are as few as this host has addresses.
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&ip).cloned();
        known.filter(|(_, until)| now < *until).map(|(name, _)| name)
    }

    /// The name of this host at an address, if that has one.
    pub(super) async fn of(&self, ip: IpAddr) -> Option<Arc<str>> {
        if let Some(name) = self.known(ip) {
            return name;
        }
        let name = timeout(self.clock.as_ref(), PATIENCE, self.look_up(ip)).await.unwrap_or_default();
        debug!(%ip, ?name, "looked up the name of a source address");
        let until = self.clock.now() + if name.is_some() { FOUND } else { NOT_FOUND };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(ip, (name.clone(), until));
        name
    }

    async fn look_up(&self, ip: IpAddr) -> Option<Arc<str>> {
        for name in self.resolver.names(ip).await.ok()? {
            let Some(name) = Domain::host_name(&name) else { continue };
            if self.resolver.addresses(name.as_str()).await.is_ok_and(|addresses| addresses.contains(&ip)) {
                return Some(name.as_str().into());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use postrider_core::ResolveError;
    use postrider_core::ports::MxRecord;

    use super::*;
    use crate::clock::SystemClock;

    const NAMED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const LYING: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[derive(Debug, Default)]
    struct Zone {
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Resolver for Zone {
        async fn mx(&self, _: &str) -> Result<Vec<MxRecord>, ResolveError> {
            Err(ResolveError::NoRecords)
        }

        async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
            if host == "out.example" { Ok(vec![NAMED]) } else { Err(ResolveError::NoRecords) }
        }

        async fn texts(&self, _name: &str) -> Result<Vec<String>, ResolveError> {
            Err(ResolveError::NoRecords)
        }

        async fn names(&self, address: IpAddr) -> Result<Vec<String>, ResolveError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match address {
                NAMED => Ok(vec!["a_b.example".into(), "gone.example".into(), "out.example".into()]),
                LYING => Ok(vec!["out.example".into()]),
                _ => Err(ResolveError::Temporary("SERVFAIL".into())),
            }
        }
    }

    #[tokio::test]
    async fn a_name_counts_where_it_knows_the_address() {
        let zone = Arc::new(Zone::default());
        let names = ReverseNames::new(Arc::new(SystemClock), zone.clone());
        for _ in 0..2 {
            assert_eq!(names.of(NAMED).await.as_deref(), Some("out.example"));
            assert_eq!(names.of(LYING).await, None);
            assert_eq!(names.of([192, 0, 2, 3].into()).await, None);
        }
        assert_eq!(zone.asked.load(Ordering::Relaxed), 3, "what is known is not asked again");
    }
}
