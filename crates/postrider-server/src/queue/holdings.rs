//! What this node has claimed, by recipient domain, and when more is worth a claim.
//!
//! Only counts: neither the store nor the destinations are known here.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use postrider_core::queue::ClaimWait;
use postrider_core::{Domain, Timestamp};

/// So long the mail of a domain is left to the nodes that have a share of its destination. Then one delivery is claimed to
/// see whether that still is so: its MX hosts may be others by now.
const UNSERVED_TIME: Duration = Duration::from_secs(60);

/// The claimed deliveries of this node, counted.
#[derive(Debug)]
pub(super) struct Holdings {
    total_max: usize,
    /// For one domain. 0: this node has no part in the queue yet.
    per_domain_max: usize,
    held: HashMap<Domain, usize>,
    held_total: usize,
    /// Domains with due deliveries in the store that nobody holds, as far as this node knows: new mail for them must not
    /// overtake the old.
    backlog: HashSet<Domain>,
    /// Counts up with each note of a backlog: a claim that was under way may not have seen what the note is about.
    backlog_notes: u64,
    /// The last claim ended because `total_max` was reached, not because nothing more was due.
    is_starved: bool,
    /// Domains whose destination only other nodes have a share of, and until when that is taken for granted.
    unserved: HashMap<Domain, Timestamp>,
}

impl Holdings {
    pub(super) fn new(total_max: usize, per_domain_max: usize) -> Self {
        Self {
            total_max,
            per_domain_max,
            held: HashMap::new(),
            held_total: 0,
            backlog: HashSet::new(),
            backlog_notes: 0,
            is_starved: false,
            unserved: HashMap::new(),
        }
    }

    /// Other shares: what was another node's may be ours now.
    pub(super) fn set_per_domain_max(&mut self, per_domain_max: usize) {
        self.per_domain_max = per_domain_max;
        self.unserved.clear();
    }

    /// What is claimed of a domain, and why no more is.
    pub(super) fn of(&self, domain: &Domain, now: Timestamp) -> (usize, Option<ClaimWait>) {
        let count = self.held.get(domain).copied().unwrap_or(0);
        let wait = if self.unserved.get(domain).is_some_and(|until| now < *until) {
            Some(ClaimWait::OtherServers)
        } else if count >= self.per_domain_max {
            Some(ClaimWait::DomainFull)
        } else {
            (self.room() == 0).then_some(ClaimWait::Full)
        };
        (count, wait)
    }

    pub(super) fn per_domain_max(&self) -> usize {
        self.per_domain_max
    }

    /// How many more deliveries may be claimed.
    pub(super) fn room(&self) -> usize {
        self.total_max.saturating_sub(self.held_total)
    }

    /// What is held, for a claim. Domains that are left to others appear as full, or nearly when it is time to look again.
    pub(super) fn held(&mut self, now: Timestamp) -> Vec<(Domain, usize)> {
        self.unserved.retain(|_, until| now < *until + UNSERVED_TIME);
        let full = self.per_domain_max;
        let unserved =
            self.unserved.iter().map(|(domain, until)| (domain.clone(), full.saturating_sub((now >= *until).into())));
        let held = self.held.iter().filter(|(domain, _)| !self.unserved.contains_key(domain));
        held.map(|(domain, &count)| (domain.clone(), count)).chain(unserved).collect()
    }

    /// Takes room for deliveries that are to be accepted with a claim, all or nothing. A message with more recipients than
    /// there is room may pass the limit, or it could never be sent. What is urgent passes by what waits, and may take as much
    /// room again.
    pub(super) fn try_hold(&mut self, domains: &[(Domain, usize)], is_urgent: bool) -> bool {
        let max = self.per_domain_max * if is_urgent { 2 } else { 1 };
        let has_room = self.room() > 0
            && domains.iter().all(|(domain, _)| {
                self.held.get(domain).copied().unwrap_or(0) < max
                    && (is_urgent || !self.backlog.contains(domain))
                    && !self.unserved.contains_key(domain)
            });
        if has_room {
            self.hold(domains);
        }
        has_room
    }

    /// Counts claims in.
    pub(super) fn hold(&mut self, domains: &[(Domain, usize)]) {
        for (domain, count) in domains {
            let held = self.held.entry(domain.clone()).or_default();
            *held += count;
            self.held_total += count;
        }
    }

    /// Gives room back; `true` if that makes a claim worth while: not for every single place, but when half is free.
    pub(super) fn unhold(&mut self, domains: &[(Domain, usize)]) -> bool {
        let mut is_low = false;
        for (domain, count) in domains {
            let Some(held) = self.held.get_mut(domain) else { continue };
            *held = held.saturating_sub(*count);
            self.held_total = self.held_total.saturating_sub(*count);
            if *held == 0 {
                self.held.remove(domain);
            }
            is_low |= self.backlog.contains(domain) && self.has_room_for(domain);
        }
        (is_low && !self.is_starved) || (self.is_starved && self.held_total <= self.total_max / 2)
    }

    /// Notes domains for which mail was accepted without a claim; `true` if it could be claimed now.
    pub(super) fn note_backlog(&mut self, domains: impl IntoIterator<Item = Domain>) -> bool {
        self.backlog_notes += 1;
        let mut has_room = false;
        for domain in domains {
            has_room |= self.has_room_for(&domain);
            self.backlog.insert(domain);
        }
        if self.room() == 0 {
            self.is_starved = true;
        }
        has_room && !self.is_starved
    }

    /// Whether so much is free that a claim is worth while.
    fn has_room_for(&self, domain: &Domain) -> bool {
        self.per_domain_max > 0
            && !self.unserved.contains_key(domain)
            && self.held.get(domain).is_none_or(|&count| count <= self.per_domain_max / 2)
    }

    /// How often a backlog was noted: to be asked before a claim, and told after it.
    pub(super) fn backlog_notes(&self) -> u64 {
        self.backlog_notes
    }

    /// A claim ended because there was no room for more.
    pub(super) fn note_starved(&mut self) {
        self.is_starved = true;
    }

    /// A claim that began with `notes` notes has ended. `full`: the domains of which it took, with what was held before, as
    /// many as may be held: they may well have more. `more`: so may others. `true` if it is worth while to claim again at
    /// once; otherwise [`Holdings::unhold`] tells when it is.
    pub(super) fn end_claim(&mut self, full: Vec<Domain>, more: bool, notes: u64) -> bool {
        if !more {
            self.is_starved = false;
        }
        // What was accepted after the claim began it may not have seen.
        if !more && self.backlog_notes == notes {
            self.backlog.clear();
        }
        self.backlog.extend(full);
        self.room() > 0 && (more || self.backlog.iter().any(|domain| self.has_room_for(domain)))
    }

    /// The destination of these domains is for other nodes to serve.
    pub(super) fn note_unserved(&mut self, domains: Vec<(Domain, usize)>, now: Timestamp) {
        self.unserved.extend(domains.into_iter().map(|(domain, _)| (domain, now + UNSERVED_TIME)));
    }

    /// The destination of these domains is for this node to serve, too; `true` if that is news.
    pub(super) fn note_served(&mut self, domains: impl FnOnce() -> Vec<(Domain, usize)>) -> bool {
        if self.unserved.is_empty() {
            return false;
        }
        domains().into_iter().fold(false, |is_news, (domain, _)| self.unserved.remove(&domain).is_some() || is_news)
    }

    /// Forgets all claims: they are lost.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.held_total = 0;
        self.backlog.clear();
        self.is_starved = false;
        self.unserved.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Domain {
        Domain::parse("a.example").unwrap()
    }

    fn domain(count: usize) -> Vec<(Domain, usize)> {
        vec![(name(), count)]
    }

    fn after(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000) + Duration::from_secs(seconds)
    }

    #[test]
    fn new_mail_does_not_overtake_what_waits_in_the_store() {
        let mut holdings = Holdings::new(100, 4);
        assert!(holdings.try_hold(&domain(4), false));
        assert!(!holdings.try_hold(&domain(1), false));
        assert!(!holdings.note_backlog([name()]), "there is no room to claim it");
        assert!(!holdings.unhold(&domain(1)), "one free place is not worth a claim");
        assert!(holdings.unhold(&domain(1)), "half of them are");
        assert!(!holdings.try_hold(&domain(1), false), "what is in the store goes first");
        holdings.end_claim(Vec::new(), false, holdings.backlog_notes());
        assert!(holdings.try_hold(&domain(1), false));
    }

    #[test]
    fn what_was_accepted_while_a_claim_was_under_way_is_not_forgotten() {
        let mut holdings = Holdings::new(100, 4);
        holdings.hold(&domain(3));
        let notes = holdings.backlog_notes();
        assert!(!holdings.note_backlog([name()]));
        assert!(!holdings.end_claim(Vec::new(), false, notes), "there is no room yet");
        assert!(!holdings.try_hold(&domain(1), false), "it still goes first");
        assert!(holdings.unhold(&domain(1)), "and is claimed as soon as half is free");
        assert!(holdings.end_claim(Vec::new(), false, notes), "or at once where it is free already");
        assert!(!holdings.end_claim(Vec::new(), false, holdings.backlog_notes()));
        assert!(holdings.try_hold(&domain(1), false));
    }

    #[test]
    fn a_domain_that_was_claimed_to_its_limit_is_claimed_again_without_waiting_for_the_next_look() {
        let mut holdings = Holdings::new(100, 4);
        holdings.hold(&domain(4));
        assert!(!holdings.end_claim(vec![name()], false, 0));
        assert!(!holdings.unhold(&domain(1)));
        assert!(holdings.unhold(&domain(1)));
        // Some may have been sent before the claim was through.
        assert!(holdings.end_claim(vec![name()], false, 0));
    }

    #[test]
    fn a_starved_node_claims_when_half_of_all_is_free() {
        let mut holdings = Holdings::new(4, 4);
        holdings.hold(&domain(4));
        holdings.note_starved();
        assert!(!holdings.note_backlog([Domain::parse("b.example").unwrap()]));
        assert!(!holdings.unhold(&domain(1)));
        assert!(holdings.unhold(&domain(1)));
    }

    #[test]
    fn what_others_serve_is_neither_claimed_nor_reserved_nor_worth_a_claim() {
        let mut holdings = Holdings::new(100, 4);
        holdings.hold(&domain(2));
        holdings.note_unserved(domain(2), after(0));
        assert_eq!(holdings.held(after(59)), domain(4), "it counts as full");
        assert!(!holdings.unhold(&domain(2)));
        assert!(!holdings.try_hold(&domain(1), false));
        assert!(!holdings.note_backlog([name()]));
        assert!(!holdings.end_claim(vec![name()], false, 0), "or claiming and giving back would never end");
        holdings.set_per_domain_max(3);
        assert!(holdings.end_claim(vec![name()], false, 0), "with other shares it may be ours");
        assert_eq!(holdings.held(after(59)), []);
    }

    #[test]
    fn one_delivery_tells_now_and_then_whether_others_still_serve_it() {
        let mut holdings = Holdings::new(100, 4);
        assert!(!holdings.note_served(|| panic!("it costs nothing where nothing is left to others")));
        holdings.note_unserved(domain(1), after(0));
        assert_eq!(holdings.held(after(60)), domain(3), "room for one");
        holdings.note_unserved(domain(1), after(60));
        assert_eq!(holdings.held(after(119)), domain(4));
        assert!(holdings.note_served(|| domain(1)));
        assert!(!holdings.note_served(|| domain(1)));
        assert!(holdings.try_hold(&domain(1), false));
        holdings.note_unserved(vec![(Domain::parse("b.example").unwrap(), 1)], after(0));
        assert_eq!(holdings.held(after(120)), domain(1), "what nobody sends to is not remembered for ever");
    }

    #[test]
    fn a_node_without_a_part_holds_nothing() {
        let mut holdings = Holdings::new(100, 0);
        assert!(!holdings.try_hold(&domain(1), false));
        assert!(!holdings.note_backlog([name()]));
    }

    #[test]
    fn what_is_urgent_passes_by_what_waits() {
        let mut holdings = Holdings::new(100, 4);
        assert!(holdings.try_hold(&domain(4), false));
        holdings.note_backlog([Domain::parse("a.example").unwrap()]);
        assert!(!holdings.try_hold(&domain(1), false));
        for _ in 0..4 {
            assert!(holdings.try_hold(&domain(1), true));
        }
        assert!(!holdings.try_hold(&domain(1), true), "but not without end");
    }
}
