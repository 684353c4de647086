//! Whether mail from the world is from whom it says: SPF (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617) and DMARC (RFC 7489).
//!
//! Looks at the message and asks DNS; what follows is decided elsewhere.

mod field;
mod spf;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mail_auth::dmarc::{Policy, verify::DmarcParameters};
use mail_auth::{
    ArcOutput, AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, MessageAuthenticator, SpfOutput,
};
use postrider_core::spf::SpfResult;
use postrider_core::{Clock, Resolver, ReversePath};
use tokio::sync::Semaphore;

pub(crate) use field::without_forged;

use crate::clock::timeout;

/// How long DNS may hold up a message. What is not known by then is a temporary error, and the message is taken.
const VERIFY_TIME_MAX: Duration = Duration::from_secs(20);

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
    /// This host's name.
    pub(crate) hostname: String,
}

/// What was found, in the words of RFC 8601 section 2.7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) spf: &'static str,
    /// Of each signature that was looked at.
    pub(crate) dkim: Vec<Signed>,
    /// `None`: the message has no ARC set.
    pub(crate) arc: Option<&'static str>,
    pub(crate) dmarc: &'static str,
    /// The domain that DMARC goes by; empty where there is none.
    pub(crate) author: String,
    /// What the author's domain wants done to mail that fails; empty where it says nothing.
    pub(crate) policy: &'static str,
}

/// What became of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) result: &'static str,
    pub(crate) domain: String,
    pub(crate) selector: String,
}

/// How far the wishes of authors' domains are followed, by setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Obedience {
    pub(crate) rejects: bool,
    pub(crate) quarantines: bool,
}

/// What is done about a message that fails DMARC, in the words of its reports (RFC 9990).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    None,
    /// It goes to the mailboxes for junk.
    Quarantine,
    Reject,
}

impl Verdicts {
    /// What is done about the message, by what its author's domain wishes. Where nothing is refused, a domain that wishes it
    /// has its mail put aside (RFC 9989 section 5.4 leaves it to the receiver).
    pub(crate) fn disposition(&self, obedience: Obedience) -> Disposition {
        match self.policy {
            _ if self.dmarc != "fail" => Disposition::None,
            "reject" if obedience.rejects => Disposition::Reject,
            "reject" | "quarantine" if obedience.quarantines => Disposition::Quarantine,
            _ => Disposition::None,
        }
    }

    /// Nothing is known.
    fn unknown() -> Self {
        let (dkim, author) = (Vec::new(), String::new());
        Self { spf: "temperror", dkim, arc: None, dmarc: "temperror", author, policy: "" }
    }
}

impl Verifier {
    /// One that asks by both, which are the same resolver.
    pub(crate) fn new(hickory: hickory_resolver::TokioResolver, resolver: Arc<dyn Resolver>) -> Self {
        let threads = Arc::new(Semaphore::new(THREADS_MAX));
        Self { authenticator: MessageAuthenticator(hickory), resolver, threads }
    }

    /// Verifies a message, which is given without the trace fields of this host.
    pub(crate) async fn verify(&self, clock: &dyn Clock, bringer: &Bringer, message: Bytes) -> Verdicts {
        let (verifier, bringer) = (self.clone(), bringer.clone());
        let verified = async move {
            if message.len() <= VERIFY_HERE_BYTES_MAX {
                return Some(verifier.verdicts(&bringer, &message).await);
            }
            let thread = verifier.threads.clone().acquire_owned().await.ok()?;
            let runtime = tokio::runtime::Handle::current();
            let verify = move || {
                // Until it ends, also where nobody waits for it any more.
                let _thread = thread;
                runtime.block_on(verifier.verdicts(&bringer, &message))
            };
            tokio::task::spawn_blocking(verify).await.ok()
        };
        timeout(clock, VERIFY_TIME_MAX, verified).await.ok().flatten().unwrap_or_else(Verdicts::unknown)
    }

    async fn verdicts(&self, bringer: &Bringer, message: &[u8]) -> Verdicts {
        let Bringer { peer, helo, reverse_path, .. } = bringer;
        let sender = reverse_path.0.as_ref().map(|address| (address.local_part(), address.domain()));
        // RFC 7208 section 2.4: who sends a notification is known by its EHLO.
        let (local_part, sender_domain) = sender
            .as_ref()
            .map_or(("postmaster", helo.as_str()), |(local_part, domain)| (*local_part, domain.as_str()));
        let client = spf::Client { ip: *peer, helo, local_part, domain: sender_domain };
        let spf = spf::check(self.resolver.as_ref(), client).await;
        let Some(mut parsed) = AuthenticatedMessage::parse(message) else {
            return Verdicts { spf: spf.as_str(), dmarc: "none", ..Verdicts::unknown() };
        };
        parsed.dkim_headers.truncate(SIGNATURES_MAX);
        let dkim = self.authenticator.verify_dkim(&parsed).await;
        let arc = self.authenticator.verify_arc(&parsed).await;
        let of_spf = spf_output(sender_domain, spf);
        let dmarc = self.authenticator.verify_dmarc(DmarcParameters::new(&parsed, &dkim, sender_domain, &of_spf)).await;
        Verdicts {
            spf: spf.as_str(),
            dkim: dkim.iter().filter_map(signed).collect(),
            arc: arc_word(&arc),
            dmarc: match dmarc.result() {
                DmarcResult::Pass => "pass",
                DmarcResult::Fail(_) => "fail",
                DmarcResult::TempError(_) => "temperror",
                DmarcResult::PermError(_) => "permerror",
                DmarcResult::None => "none",
            },
            author: dmarc.domain().to_owned(),
            policy: match dmarc.policy() {
                _ if dmarc.dmarc_record().is_none() => "",
                Policy::Reject => "reject",
                Policy::Quarantine => "quarantine",
                Policy::None => "none",
                Policy::Unspecified => "",
            },
        }
    }
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
