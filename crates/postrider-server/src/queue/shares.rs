//! This node's part of the limits that hold for all nodes together, also while the nodes change.
//!
//! Knows numbers only: neither who sends, nor how the nodes hear of each other.

use postrider_store::Membership;

/// What this node may use, by all the memberships that some node may still keep to: never more than the least of them.
///
/// So the parts in use never add up to more than the limit. The last membership that all agreed on bounds every node but
/// those that came later, and these use nothing until the next one is agreed on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    /// The last nodes of which it is known that all kept to their shares; `None`: this one was not among them.
    agreed: Option<Membership>,
    current: Membership,
    /// The most nodes of the memberships between these two, which nobody waited for. 0 if there were none.
    nodes_between_max: usize,
}

impl Shares {
    /// Of a node that has just registered.
    pub(super) fn new(current: Membership) -> Self {
        let agreed = is_settled(&current).then_some(current);
        Self { agreed, current, nodes_between_max: 0 }
    }

    /// Takes note of who the nodes are now. `true` if that may change what this one may use.
    pub(super) fn change(&mut self, next: Membership) -> bool {
        if is_settled(&next) {
            let is_news = self.agreed != Some(next) || self.current != next || self.nodes_between_max > 0;
            *self = Self::new(next);
            return is_news;
        }
        if next.fingerprint == self.current.fingerprint {
            self.current = next;
            return false;
        }
        if self.agreed.is_none_or(|agreed| agreed.fingerprint != self.current.fingerprint) {
            self.nodes_between_max = self.nodes_between_max.max(nodes(&self.current));
        }
        self.current = next;
        true
    }

    /// The [`Membership::fingerprint`] of the nodes as they are now.
    pub(super) fn fingerprint(&self) -> u64 {
        self.current.fingerprint
    }

    /// This node's part of a limit on one destination.
    pub(super) fn of(&self, limit: usize, key: &str) -> usize {
        let Some(agreed) = self.agreed else { return 0 };
        let between = limit.checked_div(self.nodes_between_max).unwrap_or(limit);
        agreed.share(limit, key).min(self.current.share(limit, key)).min(between)
    }

    /// This node's part of a limit where it is not known which destination it is about: at least 1, unless it has no part
    /// in any.
    pub(super) fn of_any(&self, limit: usize) -> usize {
        let Some(agreed) = self.agreed else { return 0 };
        let nodes_max = nodes(&agreed).max(nodes(&self.current)).max(self.nodes_between_max);
        (limit / nodes_max).max(1)
    }
}

/// Whether nobody can be using more than a share of this membership. A node that is alone need not wait for others.
fn is_settled(membership: &Membership) -> bool {
    membership.is_agreed || membership.nodes <= 1
}

fn nodes(membership: &Membership) -> usize {
    membership.nodes.max(1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(nodes: u32, position: u32, fingerprint: u64) -> Membership {
        Membership { nodes, position, fingerprint, is_agreed: false }
    }

    fn agreed(nodes: u32, position: u32, fingerprint: u64) -> Membership {
        Membership { is_agreed: true, ..membership(nodes, position, fingerprint) }
    }

    #[test]
    fn a_node_that_is_alone_has_all() {
        for shares in [Shares::new(Membership::ALONE), Shares::new(membership(1, 0, 7))] {
            assert_eq!((shares.of(20, "a"), shares.of_any(500)), (20, 500));
        }
    }

    #[test]
    fn a_node_that_has_just_registered_uses_nothing_until_all_agree() {
        let mut shares = Shares::new(membership(2, 1, 7));
        assert_eq!((shares.of(20, "a"), shares.of_any(500)), (0, 0));
        assert!(shares.change(agreed(2, 1, 7)));
        assert_eq!((shares.of(20, "a"), shares.of_any(500)), (10, 250));
        assert!(!shares.change(agreed(2, 1, 7)), "no news");
    }

    #[test]
    fn until_all_agree_the_lesser_share_counts() {
        let mut shares = Shares::new(agreed(2, 0, 1));
        assert!(shares.change(membership(4, 0, 2)));
        assert_eq!(shares.of(20, "a"), 5);
        // It grows only when the others have let go.
        assert!(shares.change(agreed(4, 0, 2)));
        assert!(shares.change(membership(2, 0, 3)));
        assert_eq!(shares.of(20, "a"), 5);
        assert!(shares.change(agreed(2, 0, 3)));
        assert_eq!(shares.of(20, "a"), 10);
    }

    #[test]
    fn a_membership_that_nobody_waited_for_still_counts_until_the_next_is_agreed_on() {
        let mut shares = Shares::new(agreed(2, 0, 1));
        shares.change(membership(5, 0, 2));
        shares.change(membership(2, 0, 3));
        assert_eq!((shares.of(20, "a"), shares.of_any(500)), (4, 100));
        assert!(shares.change(membership(1, 0, 4)), "the others are gone");
        assert_eq!((shares.of(20, "a"), shares.of_any(500)), (20, 500));
    }

    #[test]
    fn there_may_be_fewer_places_than_nodes() {
        for key in ["a", "b", "c", "d"] {
            let shares = [0, 1, 2].map(|position| Shares::new(agreed(3, position, 1)).of(2, key));
            assert_eq!(shares.iter().sum::<usize>(), 2, "{key}: {shares:?}");
        }
        assert_eq!(Shares::new(agreed(3, 0, 1)).of_any(2), 1, "which destinations are another's is not known here");
    }
}
