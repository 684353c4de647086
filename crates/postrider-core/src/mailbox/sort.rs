//! The order of messages (RFC 5256 section 3, RFC 5957).

use std::cmp::Ordering;

use icu_normalizer::DecomposingNormalizerBorrowed;

use super::Digest;
use crate::Timestamp;

/// What messages are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// When the message came into the mailbox.
    Arrival,
    /// The local part of the first Cc address.
    Cc,
    /// The Date field, or the arrival where it cannot be read.
    Date,
    From,
    Size,
    /// The base subject.
    Subject,
    To,
    /// The first From address as it is displayed.
    DisplayFrom,
    DisplayTo,
}

/// A key, and whether it is turned around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortCriterion {
    pub key: SortKey,
    pub is_reverse: bool,
}

/// A message of a mailbox to be sorted or threaded.
#[derive(Debug, Clone, Copy)]
pub struct ListedMessage<'a> {
    /// The sequence number or UID that is answered. Where all else is equal the smaller one comes first.
    pub number: u32,
    pub digest: &'a Digest,
    pub arrived_at: Timestamp,
    pub size: u64,
}

impl ListedMessage<'_> {
    /// RFC 5256 section 2.2.
    pub(super) fn sent_at(&self) -> Timestamp {
        self.digest.sent_at().unwrap_or(self.arrived_at)
    }
}

/// Sorts by the first criterion, among equals by the next, at last by number.
pub fn sort(messages: &mut [ListedMessage<'_>], criteria: &[SortCriterion]) {
    messages.sort_unstable_by(|a, b| {
        criteria
            .iter()
            .map(|criterion| {
                let order = compare(criterion.key, a, b);
                if criterion.is_reverse { order.reverse() } else { order }
            })
            .find(|order| order.is_ne())
            .unwrap_or_else(|| a.number.cmp(&b.number))
    });
}

fn compare(key: SortKey, a: &ListedMessage<'_>, b: &ListedMessage<'_>) -> Ordering {
    let texts = |text: fn(&Digest) -> &[u8]| text(a.digest).cmp(text(b.digest));
    match key {
        SortKey::Arrival => a.arrived_at.cmp(&b.arrived_at),
        SortKey::Date => a.sent_at().cmp(&b.sent_at()),
        SortKey::Size => a.size.cmp(&b.size),
        SortKey::Cc => texts(Digest::cc_key),
        SortKey::From => texts(Digest::from_key),
        SortKey::Subject => texts(Digest::subject_key),
        SortKey::To => texts(Digest::to_key),
        SortKey::DisplayFrom => texts(Digest::display_from_key),
        SortKey::DisplayTo => texts(Digest::display_to_key),
    }
}

/// A text made comparable byte by byte without regard to case, by i;unicode-casemap (RFC 5051), which SORT and THREAD compare by
/// (RFC 5256 section 7): in upper case, and with accents behind their letters.
pub fn collation_key(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_uppercase();
    }
    let upper: String = text.chars().flat_map(char::to_uppercase).collect();
    DecomposingNormalizerBorrowed::new_nfkd().normalize(&upper).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_sorted() {
        let messages = [
            "From: Zoe <b@x.org>\r\nTo: c@x.org\r\nSubject: Re: beta\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n\r\n",
            "From: a@x.org\r\nTo: C@y.org\r\nSubject: [x] Alpha\r\nDate: Thu, 26 Nov 2026 10:30:00 +0100\r\n\r\n",
            "From: \"ann\" <c@x.org>\r\nCc: d@x.org\r\nSubject: BETA\r\n\r\n",
        ];
        let digests = messages.map(|message| Digest::of(message.as_bytes()));
        let at = |seconds: i64| Timestamp::from_millis(1_795_687_200_000 + seconds * 1_000);
        let listed = |number: usize, arrived: i64, size| ListedMessage {
            number: number as u32 + 1,
            digest: &digests[number],
            arrived_at: at(arrived),
            size,
        };
        // The third has no date: it arrived between the other two's dates, at 9:50.
        let all = [listed(0, 5, 30), listed(1, 9, 10), listed(2, -600, 20)];
        let order = |keys: &[(SortKey, bool)]| {
            let criteria: Vec<SortCriterion> =
                keys.iter().map(|&(key, is_reverse)| SortCriterion { key, is_reverse }).collect();
            let mut sorted = all;
            sort(&mut sorted, &criteria);
            sorted.map(|message| message.number)
        };
        assert_eq!(order(&[(SortKey::Arrival, false)]), [3, 1, 2]);
        assert_eq!(order(&[(SortKey::Arrival, true)]), [2, 1, 3]);
        assert_eq!(order(&[(SortKey::Date, false)]), [2, 3, 1]);
        assert_eq!(order(&[(SortKey::Size, false)]), [2, 3, 1]);
        assert_eq!(order(&[(SortKey::Subject, false)]), [2, 1, 3]);
        assert_eq!(order(&[(SortKey::Subject, false), (SortKey::Size, false)]), [2, 3, 1]);
        assert_eq!(order(&[(SortKey::Subject, true)]), [1, 3, 2]);
        assert_eq!(order(&[(SortKey::From, false)]), [2, 1, 3]);
        assert_eq!(order(&[(SortKey::DisplayFrom, false)]), [2, 3, 1]);
        assert_eq!(order(&[(SortKey::To, false)]), [3, 1, 2]);
        assert_eq!(order(&[(SortKey::DisplayTo, false)]), [3, 1, 2]);
        assert_eq!(order(&[(SortKey::Cc, false)]), [1, 2, 3]);
        assert_eq!(order(&[]), [1, 2, 3]);
    }

    #[test]
    fn accents_stand_behind_their_letters() {
        let mut names = ["Zoe", "Jürgen", "Éric", "jan", "eva", "\u{c9}ric", "E\u{301}RIC"];
        names.sort_by_key(|name| collation_key(name));
        assert_eq!(names, ["eva", "Éric", "\u{c9}ric", "E\u{301}RIC", "jan", "Jürgen", "Zoe"]);
        assert_eq!(collation_key("Ｗｉｄｅ ﬁt"), "WIDE FIT");
    }
}
