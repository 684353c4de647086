//! Lists of e-mails: what is asked, and a page of the answer.

use postrider_core::query::{AddressPattern, Condition, Term};
use postrider_core::{Direction, Domain, EmailStatus, Timestamp};

use super::EmailRecord;

/// Which e-mails a list shows: those of which everything that is set here is true. Text is compared without regard to the
/// case of ASCII.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmailFilter {
    pub status: Option<EmailStatus>,
    pub direction: Option<Direction>,
    /// The sender's address or a part of it, as [`AddressPattern::of`] takes it.
    pub sender: Option<String>,
    /// Likewise of a recipient.
    pub recipient: Option<String>,
    /// The whole domain of the sender or of a recipient.
    pub domain: Option<Domain>,
    /// One of its tags, as it was given.
    pub tag: Option<String>,
    /// Accepted then or later.
    pub from: Option<Timestamp>,
    /// Accepted before then.
    pub to: Option<Timestamp>,
    /// What else, as a query says it ([`postrider_core::query::Query::at`]).
    pub terms: Vec<Term>,
}

impl EmailFilter {
    /// All that must be true of an e-mail that passes.
    pub fn all(&self) -> Vec<Term> {
        let Self { status, direction, sender, recipient, domain, tag, from, to, terms } = self;
        let fields = [
            status.map(|status| Condition::Status(vec![status])),
            direction.map(Condition::Direction),
            sender.as_deref().map(|text| Condition::Sender(AddressPattern::of(text))),
            recipient.as_deref().map(|text| Condition::Recipient(AddressPattern::of(text))),
            domain.clone().map(Condition::Domain),
            tag.clone().map(Condition::Tag),
            from.map(Condition::From),
            to.map(Condition::Before),
        ];
        let fields = fields.into_iter().flatten().map(|condition| Term { is_negated: false, condition });
        fields.chain(terms.iter().cloned()).collect()
    }
}

/// What a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    pub filter: EmailFilter,
    pub order: ListOrder,
    pub start: ListStart,
    /// E-mails of the page at most.
    pub limit: u64,
    /// E-mails that are looked at for it at most, where no index leads to those that match.
    pub examined_max: u64,
}

impl ListRequest {
    /// What one request may cost: some tenths of a second.
    pub const EXAMINED_MAX: u64 = 100_000;

    /// Up to so many a total is exact; those that counters tell always are.
    pub const COUNTED_MAX: u64 = 10_000;

    /// The newest that match.
    pub fn newest(filter: EmailFilter, limit: u64) -> Self {
        Self { filter, order: ListOrder::Newest, start: ListStart::Page(1), limit, examined_max: Self::EXAMINED_MAX }
    }
}

/// By when they were made: by id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListOrder {
    #[default]
    Newest,
    Oldest,
}

/// Where in its list a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListStart {
    /// Page so and so, from 1. Those before it are passed over each time.
    Page(u64),
    /// Behind this place, whatever came or went since.
    After(ListPlace),
    /// The page that ends before this place.
    Before(ListPlace),
}

/// A place in a list, for the engine that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPlace(pub [u8; 12]);

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EmailPage {
    pub emails: Vec<EmailRecord>,
    /// How many match the filter in all.
    pub total: u64,
    /// There may be more than `total`. Where the page begins at a place nothing is counted, and `total` may be 0.
    pub total_is_at_least: bool,
    /// Where the next page begins, if there may be one.
    pub next: Option<ListPlace>,
    /// Before which the last page ends, if there may be one.
    pub previous: Option<ListPlace>,
    /// There may be more e-mails that match: too many had to be looked at, and it goes on at `next`; or words are looked for,
    /// and not all texts are indexed yet.
    pub is_incomplete: bool,
}
