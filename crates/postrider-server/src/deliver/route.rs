//! Which hosts take mail for a domain (RFC 5321 section 5.1).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_config::{Credentials, DeliveryMode, DomainPattern, Settings};
use postrider_core::ports::MxRecord;
use postrider_core::{Category, Clock, Domain, Outcome, ResolveError, Resolver, Timestamp, dsn};
use postrider_store::ClaimedEmail;
use tokio::sync::OnceCell;

use crate::dnssec::{Answer, Dnssec};
use crate::policy::mta_sts::{Mode, MtaSts, Policy};
use crate::policy::shaping::{Profile, Profiles};
use crate::tls_reports::{ReportedPolicy, ResultType};

/// How long a route is used without asking the resolver again, which has its own cache by the records' time to live.
const ROUTE_SECONDS: u64 = 30;
/// Routes kept; past it all are forgotten and found anew.
const ROUTES_MAX: usize = 10_000;

/// One host that takes mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MxHost {
    pub(crate) preference: u16,
    /// A host name, or an address as text.
    pub(crate) name: String,
    /// Set where the route names an address instead of a host.
    pub(crate) address: Option<IpAddr>,
    /// Whether DNSSEC proves that it takes the domain's mail.
    pub(crate) is_secure: bool,
    /// Whether the domain's MTA-STS policy, if it enforces one, names it.
    pub(crate) is_allowed: bool,
}

impl MxHost {
    pub(crate) fn new(preference: u16, name: String, address: Option<IpAddr>) -> Self {
        Self { preference, name, address, is_secure: false, is_allowed: true }
    }
}

/// What a message asks of the TLS on its way (RFC 8689).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TlsRule {
    /// What the recipient's domain and the operator ask for holds.
    Usual,
    /// REQUIRETLS: hosts that are known for the domain's, prove it, and ask the same of the next.
    Required,
    /// `TLS-Required: No`: the domain's wishes do not count.
    Waived,
}

impl TlsRule {
    pub(crate) fn of(email: &ClaimedEmail) -> Self {
        match (email.envelope.require_tls, email.instructions.waives_tls) {
            (true, _) => Self::Required,
            (false, true) => Self::Waived,
            (false, false) => Self::Usual,
        }
    }
}

/// How TLS is used with the hosts of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Never,
    /// STARTTLS where offered, with any certificate.
    Opportunistic,
    /// STARTTLS, with a valid certificate.
    StartTlsVerified,
    /// From the first byte. `verified`: with a valid certificate.
    Implicit {
        verified: bool,
    },
}

/// Where mail goes: the same for all domains that share their MX hosts, so that one transaction serves them together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The same for the same hosts: what connections, and limits on them, are kept by.
    pub(crate) key: Arc<str>,
    /// In order of preference.
    pub(crate) hosts: Vec<MxHost>,
    pub(crate) port: u16,
    pub(crate) tls: TlsMode,
    /// Whether hosts have to offer REQUIRETLS.
    pub(crate) requires_tls: bool,
    pub(crate) credentials: Option<Credentials>,
    /// What it takes, as far as that is known beforehand.
    pub(crate) profile: Profile,
}

/// Why there is no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoRoute {
    pub(crate) permanent: bool,
    pub(crate) category: Category,
    /// As in RFC 3463, for the report to the sender.
    pub(crate) enhanced_code: &'static str,
    pub(crate) reason: String,
}

/// Finds routes.
#[derive(Debug)]
pub(crate) struct Router {
    resolver: Arc<dyn Resolver>,
    clock: Arc<dyn Clock>,
    hostname: String,
    delivery_port: u16,
    profiles: Profiles,
    tls_required: Vec<DomainPattern>,
    mta_sts: Option<MtaSts>,
    dnssec: Option<Arc<Dnssec>>,
    /// Set where all mail goes one way: a relay, the simulator.
    fixed: Option<Fixed>,
    known: Mutex<HashMap<Key, (Arc<Route>, Timestamp)>>,
    /// Look-ups under way, each shared by all who ask meanwhile.
    under_way: Mutex<HashMap<Key, Arc<LookUp>>>,
}

/// What a route is found by.
type Key = (Domain, TlsRule);

/// The one way of all mail.
#[derive(Debug)]
struct Fixed {
    usual: Arc<Route>,
    /// Of what requires TLS.
    protected: Arc<Route>,
}

type LookUp = OnceCell<Result<Arc<Route>, NoRoute>>;

impl Router {
    /// `simulator_port`: where `DELIVERY_MODE=capture` delivers to, on 127.0.0.1.
    pub(crate) fn new(
        settings: &Settings,
        simulator_port: Option<u16>,
        profiles: Profiles,
        (mta_sts, dnssec): (Option<MtaSts>, Option<Arc<Dnssec>>),
        resolver: Arc<dyn Resolver>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let fixed = match settings.delivery_mode {
            DeliveryMode::Mx => None,
            DeliveryMode::Relay => settings.relay.as_ref().map(|relay| Fixed {
                usual: Arc::new(relay_route(relay)),
                protected: Arc::new(protected(relay_route(relay))),
            }),
            DeliveryMode::Capture => simulator_port.map(|port| {
                // Nothing leaves this machine.
                let route = Arc::new(simulator_route(port));
                Fixed { usual: route.clone(), protected: route }
            }),
        };
        Self {
            resolver,
            clock,
            hostname: settings.mail_hostname.to_ascii_lowercase(),
            delivery_port: settings.delivery_port,
            profiles,
            tls_required: settings.tls_required_domains.clone(),
            mta_sts,
            dnssec,
            fixed,
            known: Mutex::default(),
            under_way: Mutex::default(),
        }
    }

    /// The route, if it is known without asking.
    pub(crate) fn known(&self, domain: &Domain, rule: TlsRule) -> Option<Arc<Route>> {
        if let Some(Fixed { usual, protected }) = &self.fixed {
            return Some(if rule == TlsRule::Required { protected.clone() } else { usual.clone() });
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&(domain.clone(), rule))
            .filter(|(_, until)| self.clock.now() < *until)
            .map(|(route, _)| route.clone())
    }

    /// The route, asked for if need be. However many ask at the same time, there is one look-up for a domain.
    pub(crate) async fn find(&self, domain: &Domain, rule: TlsRule) -> Result<Arc<Route>, NoRoute> {
        if let Some(route) = self.known(domain, rule) {
            return Ok(route);
        }
        let key = (domain.clone(), rule);
        let look_up = self.under_way().entry(key.clone()).or_default().clone();
        let asking = Asking { router: self, key, look_up };
        asking.look_up.get_or_init(|| self.look_up(domain, rule)).await.clone()
    }

    async fn look_up(&self, domain: &Domain, rule: TlsRule) -> Result<Arc<Route>, NoRoute> {
        // Another look-up may have ended between our two questions.
        if let Some(route) = self.known(domain, rule) {
            return Ok(route);
        }
        let mut is_encrypted = self.tls_required.iter().any(|pattern| pattern.matches(domain));
        let hosts = match domain.literal() {
            Some(address) => vec![MxHost::new(0, address.to_string(), Some(address))],
            None => {
                let (hosts, policy) = tokio::join!(self.mx_hosts(domain, rule), self.policy(domain, rule));
                let mut hosts = hosts?;
                if rule == TlsRule::Required {
                    // RFC 8689 section 4.2.1: the way from the domain to the host is to be proven, too.
                    let is_named = |host: &MxHost| policy.as_ref().is_some_and(|policy| policy.allows(&host.name));
                    hosts.retain(|host| host.is_secure || host.name == domain.as_str() || is_named(host));
                    if hosts.is_empty() {
                        return Err(NoRoute::unproven(domain));
                    }
                }
                if let Some(policy) = policy.filter(|policy| policy.mode == Mode::Enforce) {
                    hosts.iter_mut().for_each(|host| host.is_allowed = policy.allows(&host.name));
                    // The others may still have TLSA records, which outweigh the policy (RFC 8461 section 2).
                    hosts.retain(|host| host.is_allowed || host.is_secure);
                    is_encrypted = true;
                }
                if hosts.is_empty() {
                    return Err(NoRoute::not_allowed(domain));
                }
                hosts
            }
        };
        let profile = self.profiles.of(&hosts);
        let key = key(&hosts, is_encrypted);
        let route = Route {
            key: key.into(),
            hosts,
            port: self.delivery_port,
            tls: if is_encrypted { TlsMode::StartTlsVerified } else { TlsMode::Opportunistic },
            requires_tls: false,
            credentials: None,
            profile,
        };
        let route = Arc::new(if rule == TlsRule::Required { protected(route) } else { route });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ROUTES_MAX {
            known.clear();
        }
        known.insert((domain.clone(), rule), (route.clone(), self.clock.now() + Duration::from_secs(ROUTE_SECONDS)));
        Ok(route)
    }

    /// The domain's own word on its hosts.
    async fn policy(&self, domain: &Domain, rule: TlsRule) -> Option<Policy> {
        if rule == TlsRule::Waived {
            return None;
        }
        self.mta_sts.as_ref()?.find(domain).await
    }

    /// What a domain asks for by itself, and why that could not be found out, as reports to it show it (RFC 8460 section 4.4).
    pub(crate) fn reported_policy(&self, domain: &Domain) -> (Option<ReportedPolicy>, Option<ResultType>) {
        self.mta_sts.as_ref().map_or((None, None), |mta_sts| mta_sts.reported(domain))
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Key, Arc<LookUp>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hosts of the domain's MX records, or the domain itself where it has none (RFC 5321 section 5.1).
    async fn mx_hosts(&self, domain: &Domain, rule: TlsRule) -> Result<Vec<MxHost>, NoRoute> {
        let (mut records, is_secure) = match self.mx_records(domain, rule).await {
            Ok(answer) => (answer.content, answer.is_secure),
            Err(error) => return Err(NoRoute::from_resolving(domain.as_str(), &error)),
        };
        if records.is_empty() {
            if domain.as_str() == self.hostname {
                return Err(self.ourselves(domain));
            }
            return Ok(vec![MxHost { is_secure, ..MxHost::new(0, domain.as_str().to_owned(), None) }]);
        }
        // RFC 7505 section 3: "." alone says that the domain takes no mail. Beside other records it says nothing.
        records.retain(|record| record.exchange != ".");
        if records.is_empty() {
            return Err(NoRoute {
                permanent: true,
                category: Category::BadDomain,
                enhanced_code: "5.1.10",
                reason: format!("{domain} takes no mail (null MX)"),
            });
        }
        records.sort_by(|a, b| (a.preference, &a.exchange).cmp(&(b.preference, &b.exchange)));
        // RFC 5321 section 5.1: where we are an MX ourselves, only better ones may be tried, or the mail would loop.
        if let Some(own) = records.iter().find(|record| record.exchange == self.hostname).map(|r| r.preference) {
            records.retain(|record| record.preference < own);
            if records.is_empty() {
                return Err(self.ourselves(domain));
            }
        }
        Ok(records
            .into_iter()
            .map(|record| MxHost { is_secure, ..MxHost::new(record.preference, record.exchange, None) })
            .collect())
    }

    /// The MX records, with the proof of them where it can be had.
    async fn mx_records(&self, domain: &Domain, rule: TlsRule) -> Result<Answer<Vec<MxRecord>>, ResolveError> {
        if let Some(dnssec) = &self.dnssec
            && rule != TlsRule::Waived
            && dnssec.is_able().await?
        {
            return dnssec.mx(domain.as_str()).await;
        }
        let content = match self.resolver.mx(domain.as_str()).await {
            Err(ResolveError::NoRecords) => Vec::new(),
            answer => answer?,
        };
        Ok(Answer { is_secure: false, content })
    }

    fn ourselves(&self, domain: &Domain) -> NoRoute {
        NoRoute {
            permanent: true,
            category: Category::BadDomain,
            enhanced_code: "5.4.6",
            reason: format!("mail for {domain} would come back here: its best MX is {}", self.hostname),
        }
    }
}

/// One who waits for a look-up. The last to go takes it away, so that the next to ask begins anew.
struct Asking<'a> {
    router: &'a Router,
    key: Key,
    look_up: Arc<LookUp>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut under_way = self.router.under_way();
        let is_same = under_way.get(&self.key).is_some_and(|other| Arc::ptr_eq(other, &self.look_up));
        // The map's and ours: nobody else waits.
        if is_same && (self.look_up.initialized() || Arc::strong_count(&self.look_up) == 2) {
            under_way.remove(&self.key);
        }
    }
}

impl NoRoute {
    /// What becomes of a delivery without a route. No reply: nobody was asked.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.permanent {
            return dsn::refused_here(self.category, self.enhanced_code, &self.reason);
        }
        Outcome::Deferred { category: self.category, reply: None, reason: self.reason.clone() }
    }

    /// Every host is one that the domain's MTA-STS policy does not name (RFC 8461 section 5).
    fn not_allowed(domain: &Domain) -> Self {
        Self {
            permanent: false,
            category: Category::Tls,
            enhanced_code: "4.7.5",
            reason: format!("no MX host of {domain} is allowed by its MTA-STS policy"),
        }
    }

    /// The message requires TLS, and nothing says which hosts are the domain's.
    fn unproven(domain: &Domain) -> Self {
        let reason = format!(
            "the message requires TLS, and neither DNSSEC nor MTA-STS proves which hosts are those of {domain}"
        );
        Self { permanent: true, category: Category::Tls, enhanced_code: "5.7.10", reason }
    }

    /// So is this one.
    pub(crate) fn not_allowed_host(host: &str) -> Self {
        Self {
            permanent: false,
            category: Category::Tls,
            enhanced_code: "4.7.5",
            reason: format!("{host} is not allowed by the domain's MTA-STS policy"),
        }
    }

    pub(crate) fn from_resolving(name: &str, error: &ResolveError) -> Self {
        match error {
            ResolveError::NoSuchDomain => Self {
                permanent: true,
                category: Category::BadDomain,
                enhanced_code: "5.1.2",
                reason: format!("{name} does not exist"),
            },
            ResolveError::NoRecords => Self {
                permanent: true,
                category: Category::BadDomain,
                enhanced_code: "5.1.2",
                reason: format!("{name} has neither MX nor address records"),
            },
            ResolveError::Temporary(cause) => Self {
                permanent: false,
                category: Category::Dns,
                enhanced_code: "4.4.3",
                reason: format!("{name} cannot be resolved now: {cause}"),
            },
        }
    }
}

/// The same for hosts that are alike in all that is to be done with them.
fn key(hosts: &[MxHost], is_encrypted: bool) -> String {
    let mut key = String::from(if is_encrypted { "tls:" } else { "" });
    if hosts.iter().any(|host| host.is_secure) {
        key.push_str("dane:");
    }
    for (nth, host) in hosts.iter().enumerate() {
        let comma = if nth == 0 { "" } else { "," };
        let mark = if host.is_allowed { "" } else { "!" };
        // Writing to a String does not fail.
        let _ = write!(key, "{comma}{mark}{}:{}", host.preference, host.name);
    }
    key
}

/// The same way for what requires TLS.
fn protected(route: Route) -> Route {
    let tls = match route.tls {
        TlsMode::Implicit { .. } => TlsMode::Implicit { verified: true },
        _ => TlsMode::StartTlsVerified,
    };
    Route { key: format!("requiretls:{}", route.key).into(), tls, requires_tls: true, ..route }
}

fn relay_route(relay: &postrider_config::Relay) -> Route {
    let address: Option<IpAddr> = relay.host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let is_loopback = relay.host == "localhost" || address.is_some_and(|address| address.is_loopback());
    // Credentials go only to a host that has proved its name, but for this machine.
    let verified = relay.credentials.is_some() && !is_loopback;
    let tls = match (relay.implicit_tls, verified) {
        (true, verified) => TlsMode::Implicit { verified },
        (false, true) => TlsMode::StartTlsVerified,
        (false, false) => TlsMode::Opportunistic,
    };
    Route {
        key: format!("relay:{}:{}", relay.host, relay.port).into(),
        hosts: vec![MxHost::new(0, relay.host.clone(), address)],
        port: relay.port,
        tls,
        requires_tls: false,
        credentials: relay.credentials.clone(),
        profile: Profile::default(),
    }
}

fn simulator_route(port: u16) -> Route {
    let address = IpAddr::from([127, 0, 0, 1]);
    Route {
        key: "simulator".into(),
        hosts: vec![MxHost::new(0, "simulator".to_owned(), Some(address))],
        port,
        tls: TlsMode::Never,
        requires_tls: false,
        credentials: None,
        profile: Profile::default(),
    }
}

#[cfg(test)]
mod tests;
