//! SORT and UID SORT (RFC 5256) with ESORT (RFC 5267) and SORT=DISPLAY (RFC 5957).

use postrider_core::ObjectId;
use postrider_core::mailbox::{self, Digest, ListedMessage};
use postrider_store::StoreError;
use postrider_wire::imap::command::{Sort, SortCriterion, SortKey};
use postrider_wire::imap::response::{self, Esearch, Status};

use super::digests::{DIGESTS_TOGETHER, digests};
use super::search::{Found, esearch};
use super::session::{End, Session};

impl Session {
    pub(super) async fn sort(&mut self, tag: &str, sort: Sort) -> Result<Status, End> {
        let found = match self.search_for(tag, &sort.key, sort.returns).await? {
            Ok(found) => found,
            Err(status) => return Ok(status),
        };
        let listed = match self.with_digests(&found).await {
            Ok(listed) => listed,
            Err(error) => return Ok(self.store_failed("messages could not be sorted", &error)),
        };
        let mut messages = listed_messages(&listed, sort.uid);
        let criteria: Vec<mailbox::SortCriterion> = sort.criteria.iter().map(criterion).collect();
        mailbox::sort(&mut messages, &criteria);
        let sorted: Vec<u32> = messages.iter().map(|message| message.number).collect();
        let found = in_order(&sorted, &listed, sort.uid);
        let wants_modseq = sort.key.has_mod_sequence();
        match sort.returns {
            None => {
                let highest = found.iter().map(|found| found.entry.modseq).max().filter(|_| wants_modseq);
                response::sort(self.wire.output(), sorted, highest);
            }
            Some(returns) => {
                self.keep(&found, returns);
                // RFC 5267 section 2.1: the first and the last are those of the order that was asked for.
                let all_sorted = if returns.all { &sorted[..] } else { &[] };
                let esearch = Esearch { all_sorted, ..esearch(tag, sort.uid, &found, returns) };
                self.write_esearch(esearch, &found, returns, wants_modseq);
            }
        }
        Ok(Status::ok("Sorted"))
    }

    /// The digests of messages that were found; those that are gone are left out.
    pub(super) async fn with_digests(&self, found: &[Found]) -> Result<Vec<(Found, Digest)>, StoreError> {
        let mut listed = Vec::with_capacity(found.len());
        for part in found.chunks(DIGESTS_TOGETHER) {
            let ids: Vec<ObjectId> = part.iter().map(|found| found.entry.email).collect();
            let digests = digests(self.store(), &ids).await?;
            listed.extend(part.iter().zip(digests).filter_map(|(found, digest)| Some((*found, digest?))));
        }
        Ok(listed)
    }
}

/// What sorting and threading compare.
pub(super) fn listed_messages(listed: &[(Found, Digest)], by_uid: bool) -> Vec<ListedMessage<'_>> {
    let messages = listed.iter().map(|(found, digest)| ListedMessage {
        number: found.number(by_uid),
        digest,
        arrived_at: found.entry.internal_date,
        size: u64::from(found.entry.size),
    });
    messages.collect()
}

/// The messages of these numbers, out of those that are listed by place.
fn in_order(numbers: &[u32], listed: &[(Found, Digest)], by_uid: bool) -> Vec<Found> {
    let place = |number| listed.binary_search_by_key(number, |(found, _)| found.number(by_uid)).ok();
    numbers.iter().filter_map(|number| Some(listed.get(place(number)?)?.0)).collect()
}

fn criterion(criterion: &SortCriterion) -> mailbox::SortCriterion {
    let key = match criterion.key {
        SortKey::Arrival => mailbox::SortKey::Arrival,
        SortKey::Cc => mailbox::SortKey::Cc,
        SortKey::Date => mailbox::SortKey::Date,
        SortKey::From => mailbox::SortKey::From,
        SortKey::Size => mailbox::SortKey::Size,
        SortKey::Subject => mailbox::SortKey::Subject,
        SortKey::To => mailbox::SortKey::To,
        SortKey::DisplayFrom => mailbox::SortKey::DisplayFrom,
        SortKey::DisplayTo => mailbox::SortKey::DisplayTo,
    };
    mailbox::SortCriterion { key, is_reverse: criterion.reverse }
}
