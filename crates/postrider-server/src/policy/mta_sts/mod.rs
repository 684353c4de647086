//! MTA-STS (RFC 8461): which hosts of a domain may have its mail, by a policy that the domain shows over HTTPS. Policies are kept
//! in the store for as long as they say, so that who meddles with DNS cannot make them go away.

mod policy;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_core::{Clock, Domain, Resolver, Timestamp};
use postrider_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};
use url::Url;

use crate::clock::{SystemClock, timeout};
use crate::generations::Generations;
use crate::http::HttpClient;
use crate::tls_reports::{ReportedPolicy, ResultType};
pub(crate) use policy::{Mode, Policy};

/// Domains whose policy, or lack of one, is in memory.
const DOMAINS_MAX: usize = 20_000;

/// A policy file is no longer (RFC 8461 section 3.2 suggests 64 KiB).
const POLICY_BYTES_MAX: usize = 64 << 10;

/// Mail waits no longer for DNS and for the policy's host. RFC 8461 section 3.3 suggests a minute: the next look-up has another
/// try.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);
const POLICY_PATIENCE: Duration = Duration::from_secs(10);

/// A policy that could not be fetched is not asked for again for so long (RFC 8461 section 3.3: five minutes).
const FAILURE_HOLDS: Duration = Duration::from_secs(300);

/// Finds policies.
#[derive(Debug)]
pub(crate) struct MtaSts {
    clock: Arc<dyn Clock>,
    resolver: Arc<dyn Resolver>,
    store: Arc<dyn Store>,
    http: HttpClient,
    https_port: u16,
    known: Mutex<Generations<Domain, Known>>,
}

/// What is in memory of a domain.
#[derive(Debug, Clone, Default)]
struct Known {
    kept: Option<Kept>,
    version: u64,
    /// When the last try to fetch failed.
    failed_at: Option<Timestamp>,
    failure: Option<ResultType>,
}

/// A policy as the store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// By the record in DNS: another one means that there is another policy.
    id: String,
    fetched_at: Timestamp,
    policy: Policy,
}

impl Kept {
    fn holds(&self, now: Timestamp) -> bool {
        now < self.fetched_at + self.policy.max_age()
    }
}

impl MtaSts {
    /// `https_port`: where policies are fetched.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
        store: Arc<dyn Store>,
        http: HttpClient,
        https_port: u16,
    ) -> Self {
        Self { clock, resolver, store, http, https_port, known: Mutex::new(Generations::new(DOMAINS_MAX)) }
    }

    /// The policy of a domain, if it has one that says anything.
    pub(crate) async fn find(&self, domain: &Domain) -> Option<Policy> {
        let name = format!("_mta-sts.{domain}");
        let record = timeout(self.clock.as_ref(), RECORD_PATIENCE, self.resolver.texts(&name)).await;
        let id = match record {
            Ok(Ok(records)) => policy::id_of(&records),
            // There is none, or it cannot be had: what is kept holds either way.
            Ok(Err(_)) | Err(_) => None,
        };
        let mut known = self.known(domain, id.is_some()).await?;
        let now = self.clock.now();
        let held = known.kept.as_ref().filter(|kept| kept.holds(now));
        // Without a record, what holds still holds (RFC 8461 section 3.1).
        let is_current = match (&id, held) {
            (None, _) => true,
            (Some(id), Some(kept)) => kept.id == *id,
            (Some(_), None) => false,
        };
        let is_tried = known.failed_at.is_some_and(|at| now < at + FAILURE_HOLDS);
        if let Some(id) = id.filter(|_| !is_current && !is_tried) {
            match self.fetch(domain).await {
                Ok(policy) => {
                    known.kept = Some(Kept { id, fetched_at: now, policy });
                    (known.failed_at, known.failure) = (None, None);
                    self.keep(domain, &mut known).await;
                }
                Err((failure, reason)) => {
                    warn!(%domain, reason, "an MTA-STS policy cannot be had");
                    (known.failed_at, known.failure) = (Some(now), Some(failure));
                }
            }
            self.memory().insert(domain.clone(), known.clone());
        }
        let kept = known.kept.filter(|kept| kept.holds(now))?;
        (kept.policy.mode != Mode::None).then_some(kept.policy)
    }

    /// What is known of a domain, from memory or the store. `None`: nothing, and there is nothing to be found out.
    async fn known(&self, domain: &Domain, has_record: bool) -> Option<Known> {
        if let Some(known) = self.memory().get(domain).cloned() {
            return (has_record || known.kept.is_some()).then_some(known);
        }
        let known = match self.store.note(&key(domain)).await {
            Ok(Some(note)) => match serde_json::from_str(&note.value) {
                Ok(kept) => Known { kept: Some(kept), version: note.version, ..Known::default() },
                Err(error) => {
                    warn!(%domain, %error, "a kept MTA-STS policy cannot be read");
                    Known { version: note.version, ..Known::default() }
                }
            },
            Ok(None) => Known::default(),
            Err(error) => {
                debug!(%domain, %error, "kept MTA-STS policies cannot be read now");
                return has_record.then(Known::default);
            }
        };
        self.memory().insert(domain.clone(), known.clone());
        (has_record || known.kept.is_some()).then_some(known)
    }

    async fn fetch(&self, domain: &Domain) -> Result<Policy, (ResultType, String)> {
        let fetching = fetch_text(self.clock.as_ref(), &self.http, domain, self.https_port);
        let text = fetching.await.map_err(|reason| (ResultType::StsPolicyFetchError, reason))?;
        Policy::parse(&text).map_err(|reason| (ResultType::StsPolicyInvalid, reason))
    }

    /// Keeps a policy over restarts. Where another node was faster, its policy is as good.
    async fn keep(&self, domain: &Domain, known: &mut Known) {
        let Some(value) = known.kept.as_ref().and_then(|kept| serde_json::to_string(kept).ok()) else { return };
        let put = async {
            if self.store.put_note(&key(domain), value, known.version).await? {
                return Ok(known.version + 1);
            }
            Ok::<_, StoreError>(self.store.note(&key(domain)).await?.map_or(0, |note| note.version))
        };
        match put.await {
            Ok(version) => known.version = version,
            Err(error) => debug!(%domain, %error, "an MTA-STS policy could not be kept"),
        }
    }

    /// The policy that holds, as reports show it, and why a newer one could not be had. Asks nobody.
    pub(crate) fn reported(&self, domain: &Domain) -> (Option<ReportedPolicy>, Option<ResultType>) {
        let Some(known) = self.memory().get(domain).cloned() else { return (None, None) };
        let kept = known.kept.filter(|kept| kept.holds(self.clock.now()) && kept.policy.mode != Mode::None);
        let reported = kept.map(|kept| ReportedPolicy {
            kind: "sts".to_owned(),
            text: kept.policy.lines(),
            hosts: kept.policy.hosts().to_vec(),
        });
        (reported, known.failure)
    }

    fn memory(&self) -> MutexGuard<'_, Generations<Domain, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a domain's policy file says, for its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPolicy {
    /// As the file would say it.
    pub lines: Vec<String>,
    policy: Policy,
}

impl PublishedPolicy {
    /// Whether others may send to this host under the policy.
    pub fn allows(&self, host: &str) -> bool {
        self.policy.mode != Mode::Enforce || self.policy.allows(&host.to_ascii_lowercase())
    }
}

/// Fetches the policy file of a domain as others do. `extra_ca_file`: authorities trusted beside those that browsers trust;
/// `https_port`: 443, but in tests. The error says what is wrong.
pub async fn published_policy(
    resolver: Arc<dyn Resolver>,
    domain: &Domain,
    extra_ca_file: Option<&Path>,
    https_port: u16,
) -> Result<PublishedPolicy, String> {
    let tls = crate::tls::verifying_client(extra_ca_file).map_err(|error| error.to_string())?;
    let http = HttpClient::of_world(&tls, resolver);
    let policy = Policy::parse(&fetch_text(&SystemClock, &http, domain, https_port).await?)?;
    Ok(PublishedPolicy { lines: policy.lines(), policy })
}

/// RFC 8461 section 3.3: with a valid certificate, and redirects are not followed.
async fn fetch_text(clock: &dyn Clock, http: &HttpClient, domain: &Domain, https_port: u16) -> Result<String, String> {
    let port = if https_port == 443 { String::new() } else { format!(":{https_port}") };
    let url = format!("https://mta-sts.{domain}{port}/.well-known/mta-sts.txt");
    let url = Url::parse(&url).map_err(|error| error.to_string())?;
    let answer = timeout(clock, POLICY_PATIENCE, http.get(&url, POLICY_BYTES_MAX)).await;
    let answer = answer.map_err(|_| format!("{url} does not answer"))?.map_err(|error| format!("{url}: {error}"))?;
    if answer.status != hyper::StatusCode::OK {
        return Err(format!("{url} answered {}", answer.status));
    }
    if answer.is_cut {
        return Err(format!("{url} has more than {POLICY_BYTES_MAX} bytes"));
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

fn key(domain: &Domain) -> String {
    format!("mta-sts/{domain}")
}
