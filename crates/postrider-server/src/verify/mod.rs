//! Whether mail from the world is from whom it says: SPF (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617) and DMARC (RFC 9989).
//!
//! Looks at the message and asks DNS; what follows is decided elsewhere.

mod client;
mod dmarc;
mod field;
pub(crate) mod spf;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mail_auth::common::headers::Header;
use mail_auth::dkim::Signature;
use mail_auth::{ArcOutput, AuthenticatedMessage, DkimOutput, DkimResult, MessageAuthenticator, SpfOutput};
use postrider_core::spf::SpfResult;
use postrider_core::{AuthenticationResult, Clock, Domain, Resolver, ReversePath};
use tokio::sync::Semaphore;

pub(crate) use client::{ClientChecks, Findings};
pub(crate) use dmarc::{Disposition, Dmarc, Obedience};
pub(crate) use field::{field, is_forged};

use crate::clock::timeout;

/// How long DNS may hold up a message in all. What is not known by then is a temporary error.
const VERIFY_TIME_MAX: Duration = Duration::from_secs(20);

/// Of that, what is asked of each: who answers slowly for one thing must not keep another from being known.
const SPF_TIME_MAX: Duration = Duration::from_secs(7);
const DKIM_TIME_MAX: Duration = Duration::from_secs(7);
const DMARC_TIME_MAX: Duration = Duration::from_secs(7);
/// For what only tells: signatures that cannot speak for an author, and ARC.
const OTHERS_TIME_MAX: Duration = Duration::from_secs(4);

/// Signatures of one message that are looked at: each costs a question and a verification.
const SIGNATURES_MAX: usize = 8;

/// Larger messages are hashed on a thread of their own, so that other sessions go on.
const VERIFY_HERE_BYTES_MAX: usize = 64 << 10;

/// Such threads, which wait for DNS too: what strangers send must not take all that others read the store with.
const THREADS_MAX: usize = 32;

/// Verifies over the resolver that all else uses, and its cache.
#[derive(Clone)]
pub struct Verifier {
    authenticator: MessageAuthenticator,
    resolver: Arc<dyn Resolver>,
    threads: Arc<Semaphore>,
}

/// Who brings a message, and what it says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Bringer {
    pub(crate) peer: IpAddr,
    pub(crate) helo: String,
    pub(crate) reverse_path: ReversePath,
}

/// What was found, in the words of RFC 8601 section 2.7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) spf: SpfResult,
    /// Of each signature that was looked at.
    dkim: Vec<Signed>,
    /// `None`: the message has no ARC set.
    arc: Option<&'static str>,
    pub(crate) dmarc: Dmarc,
}

/// What became of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signed {
    result: &'static str,
    domain: String,
    selector: String,
}

impl Verdicts {
    /// Nothing is known.
    const UNKNOWN: Self = Self { spf: SpfResult::TempError, dkim: Vec::new(), arc: None, dmarc: Dmarc::UNKNOWN };

    /// As they are kept with the message, and shown.
    pub(crate) fn results(&self, bringer: &Bringer, disposition: Disposition) -> Vec<AuthenticationResult> {
        let identity = match &bringer.reverse_path.0 {
            Some(address) => ("smtp.mailfrom", address.domain().as_str().to_owned()),
            None => ("smtp.helo", bringer.helo.clone()),
        };
        let mut results = vec![result("spf", self.spf.as_str(), [identity])];
        for Signed { result: word, domain, selector } in &self.dkim {
            let properties = [("header.d", domain.clone()), ("header.s", selector.clone())];
            results.push(result("dkim", word, properties.into_iter().filter(|_| !domain.is_empty())));
        }
        if self.dkim.is_empty() {
            results.push(result("dkim", "none", []));
        }
        results.extend(self.arc.map(|arc| result("arc", arc, [])));
        let Dmarc { result: word, author, policy, hides } = &self.dmarc;
        let properties = [("header.from", author.as_str()), ("policy.dmarc", policy)].into_iter();
        let properties = properties.filter(|(_, value)| !value.is_empty());
        let properties = properties.chain([("disposition", disposition.as_str())]);
        let properties = properties.map(|(name, value)| (name, value.to_owned()));
        let dmarc = result("dmarc", word, properties);
        results.push(AuthenticationResult { reason: hides.map(str::to_owned), ..dmarc });
        results
    }
}

fn result(
    method: &str,
    word: &str,
    properties: impl IntoIterator<Item = (&'static str, String)>,
) -> AuthenticationResult {
    let properties: BTreeMap<_, _> = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    AuthenticationResult { method: method.to_owned(), result: word.to_owned(), properties, reason: None }
}

impl Verifier {
    /// One that asks by both, which are the same resolver.
    pub(crate) fn new(hickory: hickory_resolver::TokioResolver, resolver: Arc<dyn Resolver>) -> Self {
        let threads = Arc::new(Semaphore::new(THREADS_MAX));
        Self { authenticator: MessageAuthenticator(hickory), resolver, threads }
    }

    /// Verifies a message, which is given without the trace fields of this host.
    pub(crate) async fn verify(&self, clock: &Arc<dyn Clock>, bringer: &Bringer, message: Bytes) -> Verdicts {
        let (verifier, bringer, own_clock) = (self.clone(), bringer.clone(), clock.clone());
        let verified = async move {
            if message.len() <= VERIFY_HERE_BYTES_MAX {
                return Some(verifier.verdicts(own_clock.as_ref(), &bringer, &message).await);
            }
            let thread = verifier.threads.clone().acquire_owned().await.ok()?;
            let runtime = tokio::runtime::Handle::current();
            let verify = move || {
                // Until it ends, also where nobody waits for it any more.
                let _thread = thread;
                runtime.block_on(verifier.verdicts(own_clock.as_ref(), &bringer, &message))
            };
            tokio::task::spawn_blocking(verify).await.ok()
        };
        timeout(clock.as_ref(), VERIFY_TIME_MAX, verified).await.ok().flatten().unwrap_or(Verdicts::UNKNOWN)
    }

    async fn verdicts(&self, clock: &dyn Clock, bringer: &Bringer, message: &[u8]) -> Verdicts {
        let Bringer { peer, helo, reverse_path } = bringer;
        let sender = reverse_path.0.as_ref().map(|address| (address.local_part(), address.domain()));
        // RFC 7208 section 2.4: who sends a notification is known by its EHLO.
        let (local_part, sender_domain) = sender
            .as_ref()
            .map_or(("postmaster", helo.as_str()), |(local_part, domain)| (*local_part, domain.as_str()));
        let client = spf::Client { ip: *peer, helo, local_part, domain: sender_domain };
        let spf = timeout(clock, SPF_TIME_MAX, spf::check(self.resolver.as_ref(), client));
        let Some(mut parsed) = AuthenticatedMessage::parse(message) else {
            let spf = spf.await.unwrap_or(SpfResult::TempError);
            return Verdicts { spf, dmarc: Dmarc::NO_AUTHOR, ..Verdicts::UNKNOWN };
        };
        let authors = dmarc::author_domains(&parsed.from);
        parsed.dkim_headers.retain(|header| speaks_for(header, &authors));
        parsed.dkim_headers.truncate(SIGNATURES_MAX);
        let dkim = timeout(clock, DKIM_TIME_MAX, self.authenticator.verify_dkim(&parsed));
        let (spf, dkim) = tokio::join!(spf, dkim);
        let spf = spf.unwrap_or(SpfResult::TempError);
        let is_dkim_certain =
            dkim.as_ref().is_ok_and(|all| !all.iter().any(|one| matches!(one.result(), DkimResult::TempError(_))));
        let dkim = dkim.unwrap_or_default();
        let of_spf = spf_output(sender_domain, spf);
        let checked = dmarc::check(&self.authenticator, &authors, (&dkim, is_dkim_certain), (sender_domain, &of_spf));
        let unknown = || Dmarc { author: authors.first().map_or("", Domain::as_str).to_owned(), ..Dmarc::UNKNOWN };
        let (dmarc, (others, arc)) = tokio::join!(
            timeout(clock, DMARC_TIME_MAX, checked),
            self.others(clock, message, &authors, SIGNATURES_MAX - parsed.dkim_headers.len())
        );
        let dkim = dkim.iter().filter_map(signed).chain(others).collect();
        Verdicts { spf, dkim, arc, dmarc: dmarc.unwrap_or_else(|_| unknown()) }
    }

    /// What only tells: so many signatures that cannot speak for an author, and the ARC chain.
    async fn others(
        &self,
        clock: &dyn Clock,
        message: &[u8],
        authors: &[Domain],
        signatures_max: usize,
    ) -> (Vec<Signed>, Option<&'static str>) {
        let Some(mut parsed) = AuthenticatedMessage::parse(message) else { return (Vec::new(), None) };
        parsed.dkim_headers.retain(|header| !speaks_for(header, authors));
        parsed.dkim_headers.truncate(signatures_max);
        let late = || {
            let late = parsed.dkim_headers.iter().map(|header| Signed {
                result: "temperror",
                domain: header.header.d.to_string(),
                selector: header.header.s.to_string(),
            });
            late.collect()
        };
        let (dkim, arc) = tokio::join!(
            timeout(clock, OTHERS_TIME_MAX, self.authenticator.verify_dkim(&parsed)),
            timeout(clock, OTHERS_TIME_MAX, self.authenticator.verify_arc(&parsed)),
        );
        let dkim = dkim.map_or_else(|_| late(), |all| all.iter().filter_map(signed).collect());
        (dkim, arc.ok().and_then(|arc| arc_word(&arc)))
    }
}

/// Whether a signature may speak for one of the authors' domains.
fn speaks_for(header: &Header<'_, Signature>, authors: &[Domain]) -> bool {
    authors.iter().any(|author| dmarc::may_align(&header.header.d, author))
}

fn signed(output: &DkimOutput<'_>) -> Option<Signed> {
    let result = dkim_word(output.result())?;
    let (domain, selector) = output.signature().map_or(("", ""), |signature| (&*signature.d, &*signature.s));
    Some(Signed { result, domain: domain.to_owned(), selector: selector.to_owned() })
}

fn arc_word(output: &ArcOutput<'_>) -> Option<&'static str> {
    // RFC 8617 section 4.4: a chain holds or it does not.
    dkim_word(output.result()).map(|word| if word == "pass" { "pass" } else { "fail" })
}

fn dkim_word(result: &DkimResult) -> Option<&'static str> {
    match result {
        DkimResult::Pass => Some("pass"),
        DkimResult::Neutral(_) => Some("neutral"),
        DkimResult::Fail(_) => Some("fail"),
        DkimResult::PermError(_) => Some("permerror"),
        DkimResult::TempError(_) => Some("temperror"),
        DkimResult::None => None,
    }
}

/// What DMARC is told of SPF.
fn spf_output(domain: &str, result: SpfResult) -> SpfOutput {
    SpfOutput::new(domain.to_owned()).with_result(match result {
        SpfResult::None => mail_auth::SpfResult::None,
        SpfResult::Neutral => mail_auth::SpfResult::Neutral,
        SpfResult::Pass => mail_auth::SpfResult::Pass,
        SpfResult::Fail => mail_auth::SpfResult::Fail,
        SpfResult::SoftFail => mail_auth::SpfResult::SoftFail,
        SpfResult::TempError => mail_auth::SpfResult::TempError,
        SpfResult::PermError => mail_auth::SpfResult::PermError,
    })
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}
