//! Source addresses that a sender asks for its e-mail: used as long as they are of this host.
//!
//! Mail never waits for one that is gone: then it leaves as mail that asks for none, and the decision says so.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use postrider_core::{Clock, Resolver, SourceDecision, SourceOrigin};

use super::local::{Rejections, can_bind};
use super::reverse::ReverseNames;
use super::{DECISION, Source, SourceKey};

#[derive(Debug)]
pub(super) struct Requested {
    clock: Arc<dyn Clock>,
    names: ReverseNames,
    rejected: Mutex<Rejections>,
}

/// The address that was asked for cannot be used now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone(IpAddr);

impl Requested {
    pub(super) fn new(clock: Arc<dyn Clock>, resolver: Arc<dyn Resolver>) -> Self {
        Self { names: ReverseNames::new(clock.clone(), resolver), clock, rejected: Mutex::default() }
    }

    /// The source at an address, if that can be told without waiting.
    pub(super) fn known(&self, ip: IpAddr) -> Option<Source> {
        let ehlo = self.names.known(ip)?;
        self.is_usable(ip).then(|| self.source(SourceKey { ip: Some(ip), ehlo }))
    }

    /// The source at an address.
    pub(super) async fn choose(&self, ip: IpAddr) -> Result<Source, Gone> {
        if !self.is_usable(ip) {
            return Err(Gone(ip));
        }
        let ehlo = self.names.of(ip).await;
        Ok(self.source(SourceKey { ip: Some(ip), ehlo }))
    }

    /// The system does not let connections come from this address.
    pub(super) fn reject(&self, ip: IpAddr) {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).add(ip, self.clock.now());
    }

    fn is_usable(&self, ip: IpAddr) -> bool {
        !self.rejected.lock().unwrap_or_else(PoisonError::into_inner).has(ip, self.clock.now()) && can_bind(ip)
    }

    fn source(&self, key: SourceKey) -> Source {
        let decision = SourceDecision {
            ip: key.ip,
            origin: SourceOrigin::Request,
            latency: std::time::Duration::ZERO,
            error: None,
        };
        Source { key, decision: Some(decision), holds_until: self.clock.now() + DECISION }
    }
}

impl Gone {
    /// Says of the source that is used instead why it is.
    pub(super) fn stand_in(self, mut source: Source) -> Source {
        let error = format!("the e-mail asks to leave from {}, which is no address of this host any more", self.0);
        let unchosen =
            SourceDecision { ip: None, origin: SourceOrigin::Default, latency: std::time::Duration::ZERO, error: None };
        let decision = source.decision.get_or_insert(unchosen);
        decision.error = Some(match decision.error.take() {
            Some(other) => format!("{error}; {other}"),
            None => error,
        });
        source
    }
}
