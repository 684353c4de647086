//! What came of the last attempts of this node, by recipient domain: how many in a minute, and how the last one ended.
//!
//! In memory only, and of so many domains: it shows people what goes on, nothing follows from it.

use std::sync::PoisonError;

use postrider_core::queue::{DomainLine, LastResult, SUPPRESSED};
use postrider_core::{Attempt, Domain, Outcome, Reply, Timestamp};
use postrider_store::Next;

use super::Queue;
use crate::generations::Generations;

/// Of these something is known; what was sent to longest ago is forgotten. With the longest texts they take 9 MB.
const DOMAINS_MAX: usize = 4096;

/// Of a text of the other side, or of a reason, so much is kept: what a page can show.
const TEXT_BYTES_MAX: usize = 500;

/// A minute, in parts that are forgotten one by one.
const PART_MILLIS: i64 = 5_000;
const PARTS: usize = 12;

#[derive(Debug)]
pub(super) struct Recent {
    domains: Generations<Domain, Traffic>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { domains: Generations::new(DOMAINS_MAX) }
    }
}

/// What came of attempts to one domain.
#[derive(Debug, Default)]
struct Traffic {
    /// Each where its number leads, over what was there a minute before.
    parts: [Part; PARTS],
    last: Option<LastResult>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// Since 1970.
    number: i64,
    delivered: u32,
    deferred: u32,
    failed: u32,
}

impl Part {
    fn number_at(now: Timestamp) -> i64 {
        now.as_millis().div_euclid(PART_MILLIS)
    }
}

impl Recent {
    fn note(&mut self, domain: Domain, attempt: &Attempt, next: Next, now: Timestamp) {
        let traffic = self.domains.get_or_insert_with(domain, Traffic::default);
        let number = Part::number_at(now);
        let part = &mut traffic.parts[number.rem_euclid(PARTS as i64) as usize];
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        let count = match next {
            Next::Sent => &mut part.delivered,
            Next::Retry { .. } => &mut part.deferred,
            Next::Failed => &mut part.failed,
        };
        *count = count.saturating_add(1);
        traffic.last = Some(LastResult { at: now, mx: attempt.mx.clone(), outcome: shortened(&attempt.outcome) });
    }

    fn tell(&mut self, domain: &Domain, line: &mut DomainLine, now: Timestamp) {
        let Some(traffic) = self.domains.get(domain) else { return };
        let first = Part::number_at(now) - PARTS as i64;
        for part in traffic.parts.iter().filter(|part| part.number > first) {
            line.delivered_last_minute += u64::from(part.delivered);
            line.deferred_last_minute += u64::from(part.deferred);
            line.failed_last_minute += u64::from(part.failed);
        }
        line.last_result.clone_from(&traffic.last);
    }
}

impl Queue {
    /// An attempt has ended.
    pub(super) fn note_recent(&self, domain: &Domain, attempt: &Attempt, next: Next, now: Timestamp) {
        // Who is suppressed was not tried.
        if matches!(&attempt.outcome, Outcome::Failed { reason, .. } if reason.starts_with(SUPPRESSED)) {
            return;
        }
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).note(domain.clone(), attempt, next, now);
    }

    /// Adds what is known of these domains to their lines.
    pub(super) fn tell_recent(&self, domains: &[Domain], lines: &mut [DomainLine], now: Timestamp) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        domains.iter().zip(lines).for_each(|(domain, line)| recent.tell(domain, line, now));
    }
}

fn shortened(outcome: &Outcome) -> Outcome {
    let short = |text: &str| text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned();
    let reply = |reply: &Reply| Reply {
        code: reply.code,
        enhanced_code: reply.enhanced_code.clone(),
        text: short(&reply.text),
    };
    match outcome {
        Outcome::Delivered { reply: given } => Outcome::Delivered { reply: reply(given) },
        Outcome::Deferred { category, reply: given, reason } => {
            Outcome::Deferred { category: *category, reply: given.as_ref().map(reply), reason: short(reason) }
        }
        Outcome::Failed { category, reply: given, reason } => {
            Outcome::Failed { category: *category, reply: given.as_ref().map(reply), reason: short(reason) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postrider_core::Category;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn attempt(outcome: Outcome) -> Attempt {
        Attempt {
            number: 1,
            started_at: NOW,
            duration: Duration::ZERO,
            mx: Some("mx.test".to_owned()),
            mx_ip: None,
            source_ip: None,
            ip_selection: None,
            tls: None,
            exchanges: Vec::new(),
            outcome,
        }
    }

    fn delivered(text: &str) -> Attempt {
        let reply = Reply { code: 250, enhanced_code: None, text: text.to_owned() };
        attempt(Outcome::Delivered { reply })
    }

    fn line(recent: &mut Recent, name: &str, now: Timestamp) -> DomainLine {
        let mut line = DomainLine::default();
        recent.tell(&domain(name), &mut line, now);
        line
    }

    fn counts(recent: &mut Recent, now: Timestamp) -> (u64, u64, u64) {
        let line = line(recent, "a.test", now);
        (line.delivered_last_minute, line.deferred_last_minute, line.failed_last_minute)
    }

    #[test]
    fn a_minute_is_counted_and_the_last_result_kept() {
        let mut recent = Recent::default();
        assert_eq!(line(&mut recent, "a.test", NOW), DomainLine::default());
        for second in 0..70 {
            recent.note(domain("a.test"), &delivered("Kept"), Next::Sent, NOW + Duration::from_secs(second));
        }
        let later = NOW + Duration::from_secs(69);
        let reason = "no way".to_owned();
        let deferred = attempt(Outcome::Deferred { category: Category::Dns, reply: None, reason: reason.clone() });
        recent.note(domain("a.test"), &deferred, Next::Retry { at: later }, later);
        let failed = attempt(Outcome::Failed { category: Category::Dns, reply: None, reason });
        recent.note(domain("a.test"), &failed, Next::Failed, later);
        assert_eq!(counts(&mut recent, later), (60, 1, 1), "twelve parts of five seconds");
        assert_eq!(counts(&mut recent, NOW + Duration::from_secs(100)), (25, 1, 1));
        let long_after = NOW + Duration::from_secs(3600);
        assert_eq!(counts(&mut recent, long_after), (0, 0, 0));
        let last = line(&mut recent, "a.test", long_after).last_result.unwrap();
        assert_eq!((last.at, last.mx.as_deref(), last.outcome), (later, Some("mx.test"), failed.outcome));
        assert_eq!(line(&mut recent, "b.test", NOW), DomainLine::default());
    }

    #[test]
    fn it_is_bounded() {
        let mut recent = Recent::default();
        for number in 0..3 * DOMAINS_MAX {
            recent.note(domain(&format!("d{number}.test")), &delivered(&"ä".repeat(4000)), Next::Sent, NOW);
        }
        assert!(recent.domains.len() <= DOMAINS_MAX);
        assert!(line(&mut recent, "d0.test", NOW).last_result.is_none(), "sent to longest ago");
        let last = line(&mut recent, &format!("d{}.test", 3 * DOMAINS_MAX - 1), NOW).last_result.unwrap();
        assert_eq!(last.outcome.reply().unwrap().text, "ä".repeat(TEXT_BYTES_MAX / 2));
    }
}
