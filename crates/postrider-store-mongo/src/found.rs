//! Lists of what the words lead to.
//!
//! One word leads, the rarest of those that all must have; its e-mails come from the index in the order of the list. That they have
//! the others, and what words alone do not decide, is looked at e-mail by e-mail, many at once; whether words stand one after the
//! other here, by the same rules as in the embedded store. E-mails that the index does not have are looked at where their place in
//! the list is.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc, oid};
use postrider_core::query::{Condition, Term, Words};
use postrider_core::{ObjectId, Timestamp};
use postrider_store::listing::Scan;
use postrider_store::{ListRequest, StoreError};

use crate::codes::oid;
use crate::conditions;
use crate::engine::Engine;
use crate::failure::store_error;
use crate::files::collect;
use crate::list::{Check, PART_EMAILS, bounds};
use crate::record;
use crate::schema::{EMAILS, WORDS};
use crate::words::{self, AND_MORE, Asked};

type Result<T> = std::result::Result<T, StoreError>;

/// E-mails of the leading word that are asked for at once: first a page's, then more and more.
const PART_FIRST: i64 = 64;
const PART_MAX: i64 = 4_096;

/// The newest e-mails are asked for by the time of their ids, in hours, further and further back. A server that puts what it finds
/// in order before it stops at a limit has little to do so, and another one has a few short questions more.
const WINDOWS_HOURS: [u64; 7] = [1, 4, 16, 64, 256, 1_024, 4_096];

/// Which word is rarest shows within the window in which one has so many e-mails.
const PROBE_EMAILS: i64 = 128;

/// Of more words that are looked for the longest are considered: they are the rarest, mostly.
const PROBE_WORDS_MAX: usize = 8;

/// E-mails that the server sends together: each may be of megabytes.
const READ_EMAILS: u32 = 64;

/// When the page is full, what is behind it is counted for so long.
const COUNT_TIME_MAX: Duration = Duration::from_millis(100);

/// A pass over the e-mails that have the words.
pub(crate) struct Found<'t> {
    check: &'t Check<'t>,
    words: Vec<String>,
    without: Vec<String>,
    /// All that is asked, for an e-mail of which the index does not tell.
    whole: Look<'t>,
    /// What the words do not decide.
    rest: Option<Look<'t>>,
    /// E-mails that the index may not have.
    missing: Vec<oid::ObjectId>,
    /// The only ones that may match, where another index leads to few.
    few: Option<Vec<oid::ObjectId>>,
    range: Range,
    is_oldest_first: bool,
    started: Instant,
}

/// What is asked of e-mails themselves.
struct Look<'t> {
    /// As the server compares it.
    conditions: Document,
    /// What is compared here: words one after the other.
    texts: Vec<&'t Term>,
}

/// Ids from `low` up to, and without, `high`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) low: Option<oid::ObjectId>,
    pub(crate) high: Option<oid::ObjectId>,
}

/// An e-mail that may match.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: oid::ObjectId,
    /// The index knows all its words.
    is_known: bool,
}

impl<'t> Found<'t> {
    pub(crate) fn of(
        check: &'t Check<'t>,
        asked: Asked,
        request: &ListRequest,
        missing: Vec<oid::ObjectId>,
        few: Option<Vec<oid::ObjectId>>,
    ) -> Self {
        let (terms, is_oldest_first) = (check.terms, request.reads_oldest_first());
        let mut range = bounds(terms);
        if let Some(place) = request.place() {
            let place = oid::ObjectId::from_bytes(place.0);
            range = range.behind(place, is_oldest_first);
        }
        let undecided = || terms.iter().filter(|term| !words::is_decided(&term.condition));
        let has_rest = undecided().next().is_some();
        Self {
            check,
            words: asked.words,
            without: asked.without,
            whole: Look::of(terms.iter()),
            rest: has_rest.then(|| Look::of(undecided())),
            missing,
            few,
            range,
            is_oldest_first,
            started: Instant::now(),
        }
    }

    pub(crate) async fn run(&self, engine: &Engine, scan: &mut Scan<oid::ObjectId>) -> Result<()> {
        if let Some(few) = &self.few {
            return self.run_few(engine, few, scan).await;
        }
        let leading = self.leading(engine).await?;
        let has_more = !self.ids(engine, AND_MORE, Range::default(), 1).await?.is_empty();
        let words: Vec<&str> = std::iter::once(leading).chain(has_more.then_some(AND_MORE)).collect();
        let others: Vec<&String> = self.words.iter().filter(|word| *word != leading).collect();
        let (mut size, mut rest) = (PART_FIRST, self.range);
        for window in self.windows() {
            let mut range = Range { low: window, ..rest };
            loop {
                let (candidates, reached) = self.part(engine, &words, range, size).await?;
                if !self.look_at(engine, &others, &candidates, scan).await? {
                    return Ok(());
                }
                let Some(reached) = reached else { break };
                range = range.behind(reached, self.is_oldest_first);
                size = (size * 2).min(PART_MAX);
            }
            rest.high = window;
        }
        Ok(())
    }

    /// Of these e-mails those that have the words.
    async fn run_few(&self, engine: &Engine, few: &[oid::ObjectId], scan: &mut Scan<oid::ObjectId>) -> Result<()> {
        let mut ids: Vec<oid::ObjectId> = few.iter().copied().filter(|id| self.range.contains(*id)).collect();
        ids.sort_unstable();
        if !self.is_oldest_first {
            ids.reverse();
        }
        let words = engine.collection::<Document>(WORDS);
        let with_more = doc! { "$and": [{ "_id": { "$in": &ids } }, { "words": AND_MORE }] };
        let with_more = engine.call(collect(words.find(with_more).projection(doc! { "_id": 1 }))).await?;
        let with_more = with_more.iter().filter_map(|words| words.get_object_id("_id").ok());
        let unknown: HashSet<oid::ObjectId> = self.missing.iter().copied().chain(with_more).collect();
        let candidates: Vec<Candidate> =
            ids.into_iter().map(|id| Candidate { id, is_known: !unknown.contains(&id) }).collect();
        let all: Vec<&String> = self.words.iter().collect();
        self.look_at(engine, &all, &candidates, scan).await?;
        Ok(())
    }

    /// Where the windows begin that are gone through one after the other; the last is where all begins.
    fn windows(&self) -> Vec<Option<oid::ObjectId>> {
        let mut windows = Vec::new();
        if !self.is_oldest_first {
            let before = self.range.high.unwrap_or_else(now);
            let lows = WINDOWS_HOURS.iter().map(|&hours| hours_before(before, hours));
            windows.extend(lows.take_while(|low| self.range.low.is_none_or(|lowest| lowest < *low)).map(Some));
        }
        windows.push(self.range.low);
        windows
    }

    /// The word that the fewest have, as far as a look at the newest e-mails tells.
    async fn leading(&self, engine: &Engine) -> Result<&str> {
        let mut words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words.truncate(PROBE_WORDS_MAX);
        let mut rarest = words.first().copied().unwrap_or_default();
        if words.len() < 2 {
            return Ok(rarest);
        }
        let high = self.range.high;
        for hours in WINDOWS_HOURS {
            let low = Some(hours_before(high.unwrap_or_else(now), hours));
            let found = words.iter().map(|word| self.ids(engine, word, Range { low, high }, PROBE_EMAILS));
            let found = futures_util::future::try_join_all(found).await?;
            let most = found.iter().map(Vec::len).max().unwrap_or(0);
            // Of those that are as many, the rarer go further.
            let reach = |last: &oid::ObjectId| {
                let at = last.timestamp().timestamp_millis();
                if self.is_oldest_first { -at } else { at }
            };
            let order = |ids: &Vec<oid::ObjectId>| (ids.len(), ids.last().map(reach));
            let least = found.iter().zip(&words).min_by_key(|(ids, _)| order(ids));
            rarest = least.map_or(rarest, |(_, word)| word);
            if most as i64 >= PROBE_EMAILS {
                break;
            }
        }
        Ok(rarest)
    }

    /// The e-mails that have a word, so many of a range, in the order of the list.
    async fn ids(&self, engine: &Engine, word: &str, range: Range, count: i64) -> Result<Vec<oid::ObjectId>> {
        let words = engine.collection::<Document>(WORDS);
        let mut filter = doc! { "words": word };
        if let Some(condition) = range.condition() {
            filter.insert("email", condition);
        }
        let direction = if self.is_oldest_first { 1 } else { -1 };
        let find = words.find(filter).sort(doc! { "email": direction }).limit(count);
        let found =
            engine.call(collect(find.projection(doc! { "_id": 0, "email": 1 }).batch_size(count as u32))).await?;
        Ok(found.iter().filter_map(|words| words.get_object_id("email").ok()).collect())
    }

    /// The next that may match, and up to where these are all; `None` if they are all of the range.
    async fn part(
        &self,
        engine: &Engine,
        words: &[&str],
        range: Range,
        size: i64,
    ) -> Result<(Vec<Candidate>, Option<oid::ObjectId>)> {
        let mut reached: Option<oid::ObjectId> = None;
        let mut candidates = BTreeMap::new();
        for &word in words {
            let ids = self.ids(engine, word, range, size).await?;
            if ids.len() as i64 >= size
                && let Some(&last) = ids.last()
            {
                let nearest = reached.filter(|&reached| self.comes_first(reached, last));
                reached = Some(nearest.unwrap_or(last));
            }
            let is_known = word != AND_MORE;
            ids.into_iter().for_each(|id| *candidates.entry(id).or_insert(is_known) &= is_known);
        }
        for &id in self.missing.iter().filter(|id| range.contains(**id)) {
            candidates.insert(id, false);
        }
        let within = candidates.into_iter().filter(|(id, _)| reached.is_none_or(|end| !self.comes_first(end, *id)));
        let mut within: Vec<_> = within.map(|(id, is_known)| Candidate { id, is_known }).collect();
        if !self.is_oldest_first {
            within.reverse();
        }
        Ok((within, reached))
    }

    fn comes_first(&self, id: oid::ObjectId, other: oid::ObjectId) -> bool {
        if self.is_oldest_first { id < other } else { id > other }
    }

    /// Takes e-mails into account. Returns whether to go on.
    async fn look_at(
        &self,
        engine: &Engine,
        others: &[&String],
        candidates: &[Candidate],
        scan: &mut Scan<oid::ObjectId>,
    ) -> Result<bool> {
        for part in candidates.chunks(PART_EMAILS) {
            let matching = self.matching(engine, others, part).await?;
            if !part.iter().all(|candidate| scan.visit(candidate.id, matching.contains(&candidate.id)))
                || self.started.elapsed() > COUNT_TIME_MAX && scan.is_enough()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Those that match.
    async fn matching(
        &self,
        engine: &Engine,
        others: &[&String],
        candidates: &[Candidate],
    ) -> Result<HashSet<oid::ObjectId>> {
        let (known, unknown): (Vec<Candidate>, Vec<Candidate>) =
            candidates.iter().partition(|candidate| candidate.is_known);
        let ids = |candidates: Vec<Candidate>| candidates.into_iter().map(|candidate| candidate.id).collect();
        let mut known: Vec<oid::ObjectId> = ids(known);
        if !known.is_empty() && (!others.is_empty() || !self.without.is_empty()) {
            let mut conditions = vec![doc! { "_id": { "$in": known } }];
            conditions.extend(others.iter().map(|word| doc! { "words": word }));
            if !self.without.is_empty() {
                conditions.push(doc! { "words": { "$nin": &self.without } });
            }
            let words = engine.collection::<Document>(WORDS);
            let find = words.find(doc! { "$and": conditions }).projection(doc! { "_id": 1 });
            let found = engine.call(collect(find)).await?;
            known = found.iter().filter_map(|words| words.get_object_id("_id").ok()).collect();
        }
        if let Some(rest) = &self.rest {
            known = self.looked_up(engine, known, rest).await?;
        }
        let unknown = self.looked_up(engine, ids(unknown), &self.whole).await?;
        Ok(known.into_iter().chain(unknown).collect())
    }

    /// Those of which all is true that is asked.
    async fn looked_up(&self, engine: &Engine, ids: Vec<oid::ObjectId>, look: &Look<'_>) -> Result<Vec<oid::ObjectId>> {
        if ids.is_empty() {
            return Ok(ids);
        }
        let emails = engine.collection::<Document>(EMAILS);
        let these = doc! { "$and": [doc! { "_id": { "$in": ids } }, &look.conditions] };
        let find = emails.find(these).projection(look.fields()).batch_size(READ_EMAILS);
        let ids = engine
            .select(async {
                let driver = |error: mongodb::error::Error| store_error(&error);
                let (mut cursor, mut ids) = (find.await.map_err(driver)?, Vec::new());
                // One by one: texts may be large.
                while let Some(email) = cursor.try_next().await.map_err(driver)? {
                    let Ok(id) = email.get_object_id("_id") else { continue };
                    if self.check.has_status(id, &email) && look.texts.iter().all(|term| is_in_texts(term, &email)) {
                        ids.push(id);
                    }
                }
                Ok(ids)
            })
            .await?;
        if !self.check.needs_records() {
            return Ok(ids);
        }
        let records = record::records(engine, &ids).await?;
        Ok(records.iter().filter(|record| self.check.matches(record)).map(|record| oid(record.id)).collect())
    }
}

impl<'t> Look<'t> {
    fn of(terms: impl Iterator<Item = &'t Term>) -> Self {
        let is_text = |term: &&Term| matches!(term.condition, Condition::Text(_) | Condition::Subject(_));
        let (texts, others): (Vec<&Term>, Vec<&Term>) = terms.partition(is_text);
        let listed = doc! { "isListed": { "$ne": false } };
        let others = others.into_iter().filter_map(conditions::of);
        Self { conditions: doc! { "$and": std::iter::once(listed).chain(others).collect::<Vec<_>>() }, texts }
    }

    /// What of an e-mail is read for it.
    fn fields(&self) -> Document {
        let mut fields = doc! { "_id": 1, "status": 1 };
        if !self.texts.is_empty() {
            fields.insert("subject", 1);
        }
        if self.texts.iter().any(|term| matches!(term.condition, Condition::Text(_))) {
            fields.extend(doc! { "sender": 1, "recipients": 1, "messageId": 1, "text": 1 });
        }
        fields
    }
}

/// Whether what a term says of the words of an e-mail is true.
fn is_in_texts(term: &Term, email: &Document) -> bool {
    let is_in = |field: &str, words: &Words| email.get_str(field).is_ok_and(|text| words.are_in(text));
    let is_true = match &term.condition {
        Condition::Subject(words) => is_in("subject", words),
        Condition::Text(words) => {
            let recipients = email.get_array("recipients").map(Vec::as_slice).unwrap_or_default();
            ["subject", "sender", "messageId", "text"].iter().any(|field| is_in(field, words))
                || recipients.iter().filter_map(Bson::as_str).any(|text| words.are_in(text))
        }
        _ => return true,
    };
    is_true != term.is_negated
}

impl Range {
    /// What is left of it behind an id, in the order of a list.
    fn behind(self, id: oid::ObjectId, is_oldest_first: bool) -> Self {
        if is_oldest_first {
            let next = successor(id);
            Self { low: Some(self.low.map_or(next, |low| low.max(next))), ..self }
        } else {
            Self { high: Some(self.high.map_or(id, |high| high.min(id))), ..self }
        }
    }

    fn contains(self, id: oid::ObjectId) -> bool {
        self.low.is_none_or(|low| low <= id) && self.high.is_none_or(|high| id < high)
    }

    /// As the server compares it; `None` for all.
    pub(crate) fn condition(self) -> Option<Document> {
        let mut condition = Document::new();
        if let Some(low) = self.low {
            condition.insert("$gte", low);
        }
        if let Some(high) = self.high {
            condition.insert("$lt", high);
        }
        (!condition.is_empty()).then_some(condition)
    }
}

/// The id that comes next.
fn successor(id: oid::ObjectId) -> oid::ObjectId {
    let mut bytes = id.bytes();
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    oid::ObjectId::from_bytes(bytes)
}

/// The first id of some hours before another one.
fn hours_before(id: oid::ObjectId, hours: u64) -> oid::ObjectId {
    let at = Timestamp::from_millis(id.timestamp().timestamp_millis()) - Duration::from_secs(hours * 3600);
    oid(ObjectId::lower_bound(Timestamp::from_millis(at.as_millis().max(0))))
}

/// An id of now, which bounds nothing: only by how far back is looked first it makes a difference.
fn now() -> oid::ObjectId {
    oid::ObjectId::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> oid::ObjectId {
        oid::ObjectId::parse_str(text).unwrap()
    }

    #[test]
    fn a_range_ends_where_a_list_goes_on() {
        let (one, two) = (id("65a1b2c300000000000000ff"), id("65a1b2c30000000000000100"));
        assert_eq!(successor(one), two);
        let newest = Range::default().behind(two, false);
        assert!(newest.contains(one) && !newest.contains(two));
        let oldest = Range::default().behind(one, true);
        assert!(!oldest.contains(one) && oldest.contains(two));
        assert_eq!(Range::default().condition(), None);
        let between = Range { low: Some(one), high: Some(two) };
        assert_eq!(between.behind(one, true), Range { low: Some(two), high: Some(two) });
        assert_eq!(between.condition(), Some(doc! { "$gte": one, "$lt": two }));
    }

    #[test]
    fn hours_are_those_of_the_id() {
        assert_eq!(hours_before(id("65a1b2c3aaaaaaaaaaaaaaaa"), 1), id("65a1a4b30000000000000000"));
        assert_eq!(hours_before(id("00000001aaaaaaaaaaaaaaaa"), 1), id("000000000000000000000000"));
    }
}
