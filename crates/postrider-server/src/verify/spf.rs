//! SPF (RFC 7208): whether a client may send in a domain's name, by the record that the domain has in DNS.
//!
//! Explanations (section 6.2) are not fetched: nothing is refused because of SPF alone.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use postrider_core::ports::IpVersion;
use postrider_core::spf::{MacroString, Mechanism, Prefixes, SpfRecord, SpfResult, Values, is_in_network};
use postrider_core::{ResolveError, Resolver};

/// Terms that ask the DNS, in all records of one evaluation (section 4.6.4).
const TERMS_MAX: usize = 10;

/// Questions that may be answered with nothing.
const VOID_LOOKUPS_MAX: usize = 2;

/// Hosts of one domain's MX records that are looked at, and names of one client.
const EXCHANGES_MAX: usize = 10;
const NAMES_MAX: usize = 10;

/// The bytes of a name, and of a label, that can be asked for (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Who sends.
#[derive(Debug, Clone, Copy)]
pub struct Client<'c> {
    pub ip: IpAddr,
    pub helo: &'c str,
    /// `postmaster` where the sender has none (section 4.3).
    pub local_part: &'c str,
    /// In ASCII.
    pub domain: &'c str,
}

/// Evaluates the record of the client's domain. Takes as long as DNS does.
pub async fn check(resolver: &dyn Resolver, client: Client<'_>) -> SpfResult {
    // A mapped address is one of IPv4 (section 5).
    let client = Client { ip: client.ip.to_canonical(), ..client };
    let mut evaluation = Evaluation { resolver, client, terms: 0, void_lookups: 0, names: None };
    evaluation.check_host(client.domain).await
}

/// One evaluation, with what it may still ask.
struct Evaluation<'e> {
    resolver: &'e dyn Resolver,
    client: Client<'e>,
    terms: usize,
    void_lookups: usize,
    /// The client's own names, once they were asked for.
    names: Option<Vec<String>>,
}

/// An error ends the evaluation with its result.
type Step<T> = Result<T, SpfResult>;

impl Evaluation<'_> {
    /// The function of that name (section 4). A box, for records include others.
    fn check_host<'f>(&'f mut self, domain: &'f str) -> Pin<Box<dyn Future<Output = SpfResult> + Send + 'f>> {
        Box::pin(async move { self.evaluate(domain).await.unwrap_or_else(|result| result) })
    }

    async fn evaluate(&mut self, domain: &str) -> Step<SpfResult> {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        if !is_name(domain) || !domain.contains('.') {
            return Ok(SpfResult::None);
        }
        let texts = match self.resolver.texts(domain).await {
            Ok(texts) => texts,
            Err(ResolveError::NoSuchDomain | ResolveError::NoRecords) => return Ok(SpfResult::None),
            Err(ResolveError::Temporary(_)) => return Ok(SpfResult::TempError),
        };
        let record = match SpfRecord::find(texts.iter().map(String::as_str)) {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(SpfResult::None),
            Err(_) => return Ok(SpfResult::PermError),
        };
        for directive in &record.directives {
            if self.matches(&directive.mechanism, domain).await? {
                return Ok(directive.qualifier.into());
            }
        }
        let Some(redirect) = &record.redirect else { return Ok(SpfResult::Neutral) };
        self.count_term()?;
        let Some(target) = self.expand(redirect, domain).await else { return Ok(SpfResult::PermError) };
        match self.check_host(&target).await {
            SpfResult::None => Ok(SpfResult::PermError),
            result => Ok(result),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Step<bool> {
        if mechanism.asks() {
            self.count_term()?;
        }
        let version = IpVersion::of(self.client.ip);
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4 { network, prefix } => Ok(is_in_network(self.client.ip, (*network).into(), *prefix)),
            Mechanism::Ip6 { network, prefix } => Ok(is_in_network(self.client.ip, (*network).into(), *prefix)),
            Mechanism::Include(name) => self.includes(name, domain).await,
            Mechanism::A { name, prefixes } => match self.target(name.as_ref(), domain).await {
                Some(host) => {
                    let addresses = self.addresses(&host, version).await?;
                    Ok(self.is_one_of(&addresses, *prefixes))
                }
                None => Ok(false),
            },
            Mechanism::Mx { name, prefixes } => match self.target(name.as_ref(), domain).await {
                Some(target) => self.is_exchange(&target, *prefixes).await,
                None => Ok(false),
            },
            Mechanism::Ptr { name } => match self.target(name.as_ref(), domain).await {
                Some(target) => Ok(self.names().await.iter().any(|name| is_at_or_below(name, &target))),
                None => Ok(false),
            },
            // A records, whatever the client's address is (section 5.7).
            Mechanism::Exists(name) => match self.expand(name, domain).await {
                Some(host) => Ok(!self.addresses(&host, IpVersion::V4).await?.is_empty()),
                None => Ok(false),
            },
        }
    }

    /// Section 5.2.
    async fn includes(&mut self, name: &MacroString, domain: &str) -> Step<bool> {
        let Some(target) = self.expand(name, domain).await else { return Ok(false) };
        match self.check_host(&target).await {
            SpfResult::Pass => Ok(true),
            SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => Ok(false),
            SpfResult::TempError => Err(SpfResult::TempError),
            SpfResult::PermError | SpfResult::None => Err(SpfResult::PermError),
        }
    }

    /// Section 5.4.
    async fn is_exchange(&mut self, domain: &str, prefixes: Prefixes) -> Step<bool> {
        if !is_name(domain) {
            return Ok(false);
        }
        let found = self.resolver.mx(domain).await;
        let mut records = self.unless_void(found)?;
        records.sort_by_key(|record| record.preference);
        for (looked_at, record) in records.iter().filter(|record| record.exchange != ".").enumerate() {
            if looked_at == EXCHANGES_MAX {
                return Err(SpfResult::PermError);
            }
            let addresses = self.addresses(&record.exchange, IpVersion::of(self.client.ip)).await?;
            if self.is_one_of(&addresses, prefixes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_one_of(&self, addresses: &[IpAddr], prefixes: Prefixes) -> bool {
        let ip = self.client.ip;
        let prefix = if ip.is_ipv4() { prefixes.v4 } else { prefixes.v6 };
        addresses.iter().any(|address| is_in_network(ip, *address, prefix))
    }

    /// The addresses of a host. A name that nobody can ask for has none (section 4.3 says so of the domain; of others nothing).
    async fn addresses(&mut self, host: &str, version: IpVersion) -> Step<Vec<IpAddr>> {
        if !is_name(host) {
            return Ok(Vec::new());
        }
        let found = self.resolver.addresses_of(host, version).await;
        self.unless_void(found)
    }

    /// An answer, or that there is none, which is counted.
    fn unless_void<T>(&mut self, answer: Result<Vec<T>, ResolveError>) -> Step<Vec<T>> {
        match answer {
            Ok(found) => Ok(found),
            Err(ResolveError::Temporary(_)) => Err(SpfResult::TempError),
            Err(ResolveError::NoSuchDomain | ResolveError::NoRecords) => {
                self.void_lookups += 1;
                if self.void_lookups > VOID_LOOKUPS_MAX { Err(SpfResult::PermError) } else { Ok(Vec::new()) }
            }
        }
    }

    fn count_term(&mut self) -> Step<()> {
        self.terms += 1;
        if self.terms > TERMS_MAX { Err(SpfResult::PermError) } else { Ok(()) }
    }

    /// The client's names that know its address (section 5.5). What cannot be found out is left out, and counts for nothing: it
    /// is not the domain that decides about it.
    async fn names(&mut self) -> &[String] {
        let names = match self.names.take() {
            Some(known) => known,
            None => self.look_up_names().await,
        };
        self.names.insert(names)
    }

    async fn look_up_names(&self) -> Vec<String> {
        let ip = self.client.ip;
        let named = self.resolver.names(ip).await.unwrap_or_default();
        let mut names = Vec::new();
        for name in named.into_iter().take(NAMES_MAX).filter(|name| is_name(name)) {
            if self.resolver.addresses_of(&name, IpVersion::of(ip)).await.is_ok_and(|known| known.contains(&ip)) {
                names.push(name);
            }
        }
        names
    }

    /// The name that a mechanism is about.
    async fn target(&mut self, name: Option<&MacroString>, domain: &str) -> Option<String> {
        match name {
            Some(name) => self.expand(name, domain).await,
            None => Some(domain.to_owned()),
        }
    }

    async fn expand(&mut self, name: &MacroString, domain: &str) -> Option<String> {
        let validated = if name.needs_validated_name() { self.validated_name(domain).await } else { None };
        let Client { ip, helo, local_part, domain: sender_domain } = self.client;
        let validated_name = validated.as_deref();
        name.expand(&Values { local_part, sender_domain, domain, ip, helo, validated_name })
    }

    /// Of the client's names the domain itself, else one below it, else any (section 7.3).
    async fn validated_name(&mut self, domain: &str) -> Option<String> {
        let names = self.names().await;
        let itself = names.iter().find(|name| name.eq_ignore_ascii_case(domain));
        let below = || names.iter().find(|name| is_at_or_below(name, domain));
        itself.or_else(below).or_else(|| names.first()).cloned()
    }
}

/// Whether a name can be asked for.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= NAME_BYTES_MAX && name.split('.').all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()))
}

fn is_at_or_below(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.trim_end_matches('.').to_ascii_lowercase());
    name.strip_suffix(domain.as_str()).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

#[cfg(test)]
mod tests;
