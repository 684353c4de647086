//! A search as it is carried out: keys that are ready to be compared, and what each needs to know of a message.
//!
//! A key is judged with as little as will do. With the entry of a mailbox alone many are decided; what is left needs the digest,
//! and only what that leaves open needs the message itself.

use postrider_core::mailbox::{CalendarDay, Digest, Flags, Keyword, UidSet};
use postrider_core::mime::{Fields, Needle, Structure};
use postrider_core::{ObjectId, Timestamp};
use postrider_store::{Entry, Modseq};
use postrider_wire::imap::command::SearchKey;
use postrider_wire::imap::date::Date;
use postrider_wire::imap::flag::Flag;
use postrider_wire::imap::response::Status;

use crate::imap::selected::{Places, Selected, system_flag};

/// A search key, made ready.
#[derive(Debug)]
pub(super) enum Key {
    Always,
    Never,
    And(Vec<Key>),
    Or(Box<Key>, Box<Key>),
    Not(Box<Key>),
    Flag(Flags),
    Recent,
    Places(Places),
    Uids(UidSet),
    /// Days from the first to before the second.
    Arrived(CalendarDay, CalendarDay),
    Saved(CalendarDay, CalendarDay),
    Sent(CalendarDay, CalendarDay),
    ArrivedBy(Timestamp),
    ArrivedAfter(Timestamp),
    Larger(u64),
    Smaller(u64),
    Changed(Modseq),
    Email(ObjectId),
    Thread(String),
    Address(AddressField, Needle),
    Subject(Needle),
    Header {
        name: String,
        value: Needle,
        /// Any value will do.
        is_empty: bool,
    },
    Body(Needle),
    Text(Needle),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum AddressField {
    From,
    To,
    Cc,
    Bcc,
}

/// What is known of a message so far.
#[derive(Clone, Copy)]
pub(super) struct Known<'m> {
    /// Its place in the view, from 0.
    pub(super) place: usize,
    pub(super) entry: &'m Entry,
    pub(super) is_recent: bool,
    pub(super) digest: Option<&'m Digest>,
    pub(super) message: Option<(&'m [u8], &'m Structure)>,
}

/// The days that there are: before the first and after the last are none.
const FIRST_DAY: CalendarDay = CalendarDay::from_days(i32::MIN);
const LAST_DAY: CalendarDay = CalendarDay::from_days(i32::MAX);

impl Key {
    /// Makes a client's key ready, for a mailbox at this moment.
    pub(super) fn new(key: &SearchKey, selected: &Selected, saved: &UidSet, now: Timestamp) -> Result<Self, Status> {
        let inner = |key: &SearchKey| Self::new(key, selected, saved, now);
        let ago = |seconds: u32| now - std::time::Duration::from_secs(u64::from(seconds));
        Ok(match key {
            SearchKey::All => Self::Always,
            SearchKey::And(keys) => Self::And(keys.iter().map(inner).collect::<Result<_, _>>()?),
            SearchKey::Or(one, other) => Self::Or(Box::new(inner(one)?), Box::new(inner(other)?)),
            SearchKey::Not(key) => Self::Not(Box::new(inner(key)?)),
            SearchKey::HasFlag(flag) => Self::flag(flag, &selected.record().keywords),
            SearchKey::LacksFlag(flag) => Self::Not(Box::new(Self::flag(flag, &selected.record().keywords))),
            SearchKey::Sequence(set) => Self::Places(selected.places(set, false, saved)?),
            SearchKey::Uid(set) => Self::Uids(selected.uids(&selected.places(set, true, saved)?)),
            SearchKey::From(text) => Self::Address(AddressField::From, Needle::new(text)),
            SearchKey::To(text) => Self::Address(AddressField::To, Needle::new(text)),
            SearchKey::Cc(text) => Self::Address(AddressField::Cc, Needle::new(text)),
            SearchKey::Bcc(text) => Self::Address(AddressField::Bcc, Needle::new(text)),
            SearchKey::Subject(text) => Self::Subject(Needle::new(text)),
            SearchKey::Header { name, value } => {
                Self::Header { name: name.clone(), value: Needle::new(value), is_empty: value.is_empty() }
            }
            SearchKey::Body(text) => Self::Body(Needle::new(text)),
            SearchKey::Text(text) => Self::Text(Needle::new(text)),
            SearchKey::Before(date) => Self::Arrived(FIRST_DAY, day(*date)),
            SearchKey::On(date) => Self::Arrived(day(*date), next(day(*date))),
            SearchKey::Since(date) => Self::Arrived(day(*date), LAST_DAY),
            SearchKey::SentBefore(date) => Self::Sent(FIRST_DAY, day(*date)),
            SearchKey::SentOn(date) => Self::Sent(day(*date), next(day(*date))),
            SearchKey::SentSince(date) => Self::Sent(day(*date), LAST_DAY),
            SearchKey::SavedBefore(date) => Self::Saved(FIRST_DAY, day(*date)),
            SearchKey::SavedOn(date) => Self::Saved(day(*date), next(day(*date))),
            SearchKey::SavedSince(date) => Self::Saved(day(*date), LAST_DAY),
            SearchKey::SaveDateSupported => Self::Always,
            SearchKey::Larger(bytes) => Self::Larger(*bytes),
            SearchKey::Smaller(bytes) => Self::Smaller(*bytes),
            SearchKey::Older(seconds) => Self::ArrivedBy(ago(*seconds)),
            SearchKey::Younger(seconds) => Self::ArrivedAfter(ago(*seconds)),
            SearchKey::ModSeq { mod_sequence, .. } => Self::Changed(*mod_sequence),
            SearchKey::EmailId(id) => id.parse().map_or(Self::Never, Self::Email),
            SearchKey::ThreadId(id) => Self::Thread(id.clone()),
        })
    }

    fn flag(flag: &Flag, keywords: &[Keyword]) -> Self {
        match flag {
            Flag::Recent => Self::Recent,
            Flag::Keyword(name) => {
                let number = keywords.iter().position(|known| known.as_str().eq_ignore_ascii_case(name));
                number.map_or(Self::Never, |number| Self::Flag(Flags::keyword(number)))
            }
            system => Self::Flag(system_flag(system)),
        }
    }

    /// Whether the message is one that is sought; `None` where that needs more to be known.
    pub(super) fn holds(&self, known: &Known<'_>) -> Option<bool> {
        let entry = known.entry;
        let is_within = |from: &CalendarDay, to: &CalendarDay, day: CalendarDay| *from <= day && day < *to;
        Some(match self {
            Self::Always => true,
            Self::Never => false,
            Self::And(keys) => return all(keys, known),
            Self::Or(one, other) => {
                return match (one.holds(known), other.holds(known)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                };
            }
            Self::Not(key) => return key.holds(known).map(|holds| !holds),
            Self::Flag(flag) => entry.flags.contains(*flag),
            Self::Recent => known.is_recent,
            Self::Places(places) => {
                let after = places.partition_point(|range| range.start <= known.place);
                after > 0 && places[after - 1].contains(&known.place)
            }
            Self::Uids(uids) => uids.contains(entry.uid),
            Self::Arrived(from, to) => is_within(from, to, CalendarDay::of(entry.internal_date)),
            Self::Saved(from, to) => is_within(from, to, CalendarDay::of(entry.saved_at)),
            Self::ArrivedBy(at) => entry.internal_date <= *at,
            Self::ArrivedAfter(at) => entry.internal_date > *at,
            Self::Larger(bytes) => u64::from(entry.size) > *bytes,
            Self::Smaller(bytes) => u64::from(entry.size) < *bytes,
            Self::Changed(modseq) => entry.modseq >= *modseq,
            Self::Email(id) => entry.email == *id,
            Self::Sent(from, to) => {
                let day = known.digest?.sent_day().unwrap_or_else(|| CalendarDay::of(entry.internal_date));
                is_within(from, to, day)
            }
            Self::Thread(id) => known.digest?.thread_id() == Some(id),
            Self::Address(field, needle) => needle.matches(field.of(known.digest?)),
            Self::Subject(needle) => needle.matches(known.digest?.subject()),
            Self::Header { name, value, is_empty } => return header(known, name, value, *is_empty),
            Self::Body(needle) => known.message.map(|(raw, structure)| needle.matches_body(raw, structure))?,
            Self::Text(needle) => known.message.map(|(raw, structure)| needle.matches_message(raw, structure))?,
        })
    }
}

impl AddressField {
    fn of(self, digest: &Digest) -> &str {
        match self {
            Self::From => digest.from(),
            Self::To => digest.to(),
            Self::Cc => digest.cc(),
            Self::Bcc => digest.bcc(),
        }
    }
}

/// Cheap keys may decide where dear ones cannot yet.
fn all(keys: &[Key], known: &Known<'_>) -> Option<bool> {
    let mut is_open = false;
    for key in keys {
        match key.holds(known) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => is_open = true,
        }
    }
    (!is_open).then_some(true)
}

fn header(known: &Known<'_>, name: &str, value: &Needle, is_empty: bool) -> Option<bool> {
    let is_in = |section: &[u8]| {
        if is_empty { Fields::new(section).any(|field| field.is(name)) } else { value.matches_field(section, name) }
    };
    if let Some((raw, structure)) = known.message {
        return Some(is_in(raw.get(structure.root().header.clone()).unwrap_or_default()));
    }
    known.digest?.header_fields(&[name]).map(|section| is_in(&section))
}

fn day(date: Date) -> CalendarDay {
    CalendarDay::from_date(date.year, date.month, date.day).unwrap_or(FIRST_DAY)
}

fn next(day: CalendarDay) -> CalendarDay {
    CalendarDay::from_days(day.as_days().saturating_add(1))
}
