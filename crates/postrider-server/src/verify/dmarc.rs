//! DMARC (RFC 9989): whether SPF or DKIM speaks for the author's domain, and what is done about a message where neither does.
//!
//! A message that has authors at several domains is looked at for each (section 11.5): the domain that fares worst decides.
//! Organizational domains and policies are found by mail-auth, which walks up the DNS.

use mail_auth::dmarc::{Policy, verify::DmarcParameters};
use mail_auth::{AuthenticatedMessage, DkimOutput, DmarcOutput, DmarcResult, MessageAuthenticator, SpfOutput};
use postrider_core::Domain;

/// Domains of authors that are looked at. Nobody writes with so many, and each costs questions.
const AUTHOR_DOMAINS_MAX: usize = 5;

/// How far the wishes of authors' domains are followed, by setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Obedience {
    pub(crate) rejects: bool,
    pub(crate) quarantines: bool,
}

/// What is done about a message, in the words of DMARC's reports (RFC 9990).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    None,
    /// It goes to the mailboxes for junk.
    Quarantine,
    /// Whether it passes cannot be found out now, and would matter: it is to come again.
    Defer,
    Reject,
}

impl Disposition {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Defer => "defer",
            Self::Reject => "reject",
        }
    }
}

/// What was found, in the words of RFC 8601 section 2.7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dmarc {
    pub(crate) result: &'static str,
    /// The author's domain; of several the one that decided. Empty where there is none.
    pub(crate) author: String,
    /// What that domain wants done to mail that fails; empty where it says nothing.
    pub(crate) policy: &'static str,
    /// Why nobody can say whose mail it is. Such a message hides from every domain's policy.
    pub(crate) hides: Option<&'static str>,
}

impl Dmarc {
    /// Nothing is known.
    pub(super) const UNKNOWN: Self = Self { result: "temperror", author: String::new(), policy: "", hides: None };

    /// No author.
    pub(super) const NO_AUTHOR: Self = Self::hidden("the message has no author with a domain");

    const fn hidden(why: &'static str) -> Self {
        Self { result: "permerror", author: String::new(), policy: "", hides: Some(why) }
    }

    /// What is done about the message. Where nothing is refused, a domain that wishes it has its mail put aside (RFC 9989
    /// section 5.4 leaves it to the receiver), and so has who hides.
    pub(crate) fn disposition(&self, obedience: Obedience) -> Disposition {
        // Whoever brings a message may answer for its signatures as slowly as it likes: that must not get it in.
        let matters = match self.policy {
            "reject" => obedience.rejects || obedience.quarantines,
            "quarantine" => obedience.quarantines,
            _ => false,
        };
        if self.hides.is_none() && self.result == "temperror" && matters {
            return Disposition::Defer;
        }
        let wish = match (self.hides, self.result) {
            (Some(_), _) => "reject",
            (None, "fail") => self.policy,
            _ => "none",
        };
        match wish {
            "reject" if obedience.rejects => Disposition::Reject,
            "reject" | "quarantine" if obedience.quarantines => Disposition::Quarantine,
            _ => Disposition::None,
        }
    }

    /// How a domain fares among those of several authors: the higher, the worse.
    fn severity(&self) -> u8 {
        match (self.result, self.policy) {
            ("fail", "reject") => 6,
            ("fail", "quarantine") => 5,
            ("temperror", _) => 4,
            ("fail", _) => 3,
            ("permerror", _) => 2,
            ("none", _) => 1,
            _ => 0,
        }
    }
}

/// Looks a message up by the domains of its authors: all addresses of all its From fields.
pub(super) async fn check(
    authenticator: &MessageAuthenticator,
    domains: &[Domain],
    (dkim, is_dkim_certain): (&[DkimOutput<'_>], bool),
    (sender_domain, spf): (&str, &SpfOutput),
) -> Dmarc {
    if domains.is_empty() {
        return Dmarc::NO_AUTHOR;
    }
    if domains.len() > AUTHOR_DOMAINS_MAX {
        return Dmarc::hidden("its authors have more domains than are looked at");
    }
    let mut worst: Option<Dmarc> = None;
    for domain in domains {
        let message =
            AuthenticatedMessage { from: vec![format!("author@{domain}")], ..AuthenticatedMessage::default() };
        let parameters = DmarcParameters::new(&message, dkim, sender_domain, spf);
        let mut found = found(domain, &authenticator.verify_dmarc(parameters).await);
        // What fails may have passed, had DNS answered.
        let is_spf_certain = spf.result() != mail_auth::SpfResult::TempError || !may_align(sender_domain, domain);
        if found.result == "fail" && !(is_dkim_certain && is_spf_certain) {
            found.result = "temperror";
        }
        if worst.as_ref().is_none_or(|worst| found.severity() > worst.severity()) {
            worst = Some(found);
        }
    }
    worst.unwrap_or(Dmarc::NO_AUTHOR)
}

/// The domains of the authors, each once.
pub(super) fn author_domains(authors: &[String]) -> Vec<Domain> {
    let mut domains: Vec<Domain> = Vec::new();
    for author in authors {
        let domain = author.rsplit_once('@').and_then(|(_, domain)| Domain::parse(domain).ok());
        domains.extend(domain.filter(|domain| !domains.contains(domain)));
    }
    domains
}

/// Whether a domain may speak for an author's: whether they share their last two labels. Whether it does is asked of DNS.
pub(super) fn may_align(domain: &str, author: &Domain) -> bool {
    let last_two = |name: &str| {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut labels: Vec<String> = name.rsplit('.').take(2).map(str::to_owned).collect();
        labels.truncate(2);
        labels
    };
    last_two(domain) == last_two(author.as_str())
}

fn found(author: &Domain, output: &DmarcOutput) -> Dmarc {
    Dmarc {
        result: match output.result() {
            DmarcResult::Pass => "pass",
            DmarcResult::Fail(_) => "fail",
            DmarcResult::TempError(_) => "temperror",
            DmarcResult::PermError(_) => "permerror",
            DmarcResult::None => "none",
        },
        author: author.as_str().to_owned(),
        policy: match output.policy() {
            _ if output.dmarc_record().is_none() => "",
            Policy::Reject => "reject",
            Policy::Quarantine => "quarantine",
            Policy::None => "none",
            Policy::Unspecified => "",
        },
        hides: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_about_a_message() {
        let all = Obedience { rejects: true, quarantines: true };
        let none = Obedience { rejects: false, quarantines: false };
        let aside = Obedience { quarantines: true, ..none };
        let refuse = Obedience { rejects: true, ..none };
        for (result, policy, expected) in [
            ("fail", "reject", [Disposition::Reject, Disposition::None, Disposition::Quarantine, Disposition::Reject]),
            (
                "fail",
                "quarantine",
                [Disposition::Quarantine, Disposition::None, Disposition::Quarantine, Disposition::None],
            ),
            ("fail", "none", [Disposition::None; 4]),
            ("fail", "", [Disposition::None; 4]),
            ("pass", "reject", [Disposition::None; 4]),
            ("temperror", "reject", [Disposition::Defer, Disposition::None, Disposition::Defer, Disposition::Defer]),
            ("temperror", "quarantine", [Disposition::Defer, Disposition::None, Disposition::Defer, Disposition::None]),
            ("temperror", "none", [Disposition::None; 4]),
            ("none", "", [Disposition::None; 4]),
        ] {
            let dmarc = Dmarc { result, author: "x.test".into(), policy, hides: None };
            let found = [all, none, aside, refuse].map(|obedience| dmarc.disposition(obedience));
            assert_eq!(found, expected, "{result} {policy}");
        }
        assert_eq!(Dmarc::NO_AUTHOR.disposition(all), Disposition::Reject);
        assert_eq!(Dmarc::NO_AUTHOR.disposition(aside), Disposition::Quarantine);
        assert_eq!(Dmarc::UNKNOWN.disposition(all), Disposition::None);
    }
}
