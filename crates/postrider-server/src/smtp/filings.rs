//! Into whose mailboxes a message goes, and what that means for each recipient that was named.

use postrider_core::Recipient;
use postrider_core::mailbox::SpecialUse;
use postrider_store::{Accepted, Filing, FilingRefusal};
use postrider_wire::smtp::reply::Reply;

use super::policy::Destination;

/// The copies that a message's recipients get.
#[derive(Debug)]
pub(super) struct Filings {
    all: Vec<Filing>,
    /// By recipient: the indexes of the copies that reach it.
    of_recipients: Vec<Vec<usize>>,
}

impl Filings {
    /// A user whom several recipients reach gets one copy. `special_use` is that of the mailbox it goes to, if not INBOX.
    pub(super) fn of(
        recipients: &[(Recipient, Destination)],
        special_use: Option<SpecialUse>,
        enforces_quota: bool,
    ) -> Self {
        let mut all: Vec<Filing> = Vec::new();
        let of_recipients = recipients.iter().map(|(_, destination)| {
            let Destination::Kept(users) = destination else { return Vec::new() };
            let index_of = |user| {
                let known = all.iter().position(|filing| filing.user == user);
                known.unwrap_or_else(|| {
                    all.push(Filing { user, special_use, enforces_quota });
                    all.len() - 1
                })
            };
            users.iter().map(|reached| reached.user).map(index_of).collect()
        });
        let of_recipients = of_recipients.collect();
        Self { all, of_recipients }
    }

    pub(super) fn all(&self) -> &[Filing] {
        &self.all
    }

    /// What a recipient is told. One full mailbox of several that an alias leads to is told too: whoever has sent the
    /// message must learn that not all have it. A user who is gone since does not count beside others.
    pub(super) fn outcome(&self, recipient: usize, accepted: &Accepted) -> Result<(), Reply> {
        let filings = self.of_recipients.get(recipient).map(Vec::as_slice).unwrap_or_default();
        let refusals: Vec<FilingRefusal> =
            filings.iter().filter_map(|filing| accepted.refused.get(filing)).copied().collect();
        if refusals.contains(&FilingRefusal::OverQuota) {
            return Err(Reply::MAILBOX_FULL);
        }
        if !refusals.is_empty() && refusals.len() == filings.len() {
            return Err(Reply::NO_SUCH_MAILBOX);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use postrider_core::{Address, ObjectId};
    use postrider_store::Quota;
    use postrider_store::directory::Reached;

    use super::*;

    fn recipient(users: &[u8]) -> (Recipient, Destination) {
        let reached = |&n: &u8| Reached { user: ObjectId::from_bytes([n; 12]), quota: Quota::default() };
        let address = Address::parse("a@local.test").unwrap();
        (Recipient::new(address), Destination::Kept(users.iter().map(reached).collect()))
    }

    fn refused(refused: &[(usize, FilingRefusal)]) -> Accepted {
        Accepted { refused: refused.iter().copied().collect() }
    }

    #[test]
    fn each_user_gets_one_copy() {
        let (elsewhere, _) = recipient(&[]);
        let recipients = [recipient(&[1, 2]), (elsewhere, Destination::Elsewhere), recipient(&[2, 3]), recipient(&[])];
        let filings = Filings::of(&recipients, None, true);
        let users: Vec<u8> = filings.all().iter().map(|filing| filing.user.as_bytes()[0]).collect();
        assert_eq!(users, [1, 2, 3]);
        assert_eq!(filings.of_recipients, [vec![0, 1], vec![], vec![1, 2], vec![]]);
    }

    #[test]
    fn each_recipient_has_its_own_truth() {
        let filings = Filings::of(&[recipient(&[1]), recipient(&[1, 2]), recipient(&[3]), recipient(&[])], None, true);
        let told = |accepted: &Accepted| -> Vec<u16> {
            (0..4).map(|n| filings.outcome(n, accepted).map_or_else(|reply| reply.code, |()| 250)).collect()
        };
        assert_eq!(told(&refused(&[])), [250, 250, 250, 250]);
        assert_eq!(told(&refused(&[(1, FilingRefusal::OverQuota)])), [250, 552, 250, 250]);
        assert_eq!(told(&refused(&[(0, FilingRefusal::NoUser)])), [550, 250, 250, 250]);
        assert_eq!(told(&refused(&[(0, FilingRefusal::NoUser), (1, FilingRefusal::NoUser)])), [550, 550, 250, 250]);
    }
}
