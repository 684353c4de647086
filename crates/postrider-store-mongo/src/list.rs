//! Lists of e-mails.
//!
//! A list goes through an index in the order of the list, one request through so much of it and no more. The server leaves out
//! what does not match; what it cannot compare is looked at here. What only asks for a status is counted already.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc, oid};
use mongodb::options::Hint;
use postrider_core::query::{Condition, Term, contains};
use postrider_core::{EmailStatus, ObjectId, Timestamp};
use postrider_store::listing::Scan;
use postrider_store::{EmailPage, EmailRecord, ListPlace, ListRequest, StoreError};

use crate::codes::{oid, slot};
use crate::engine::Engine;
use crate::failure::store_error;
use crate::files::collect;
use crate::found::{Found, Range};
use crate::schema::{DELIVERIES, EMAILS};
use crate::words::{self, Asked};
use crate::{conditions, counters, record, stats};

type Result<T> = std::result::Result<T, StoreError>;

/// How much earlier or later than its acceptance an e-mail's id may have been made (see
/// [`postrider_store::NewEmail::created_at`]).
const ID_DISTANCE_MAX: Duration = Duration::from_secs(24 * 3600);

/// E-mails that are looked at here together.
pub(crate) const PART_EMAILS: usize = 200;

/// E-mails that are looked at for one page where their documents must be read for the words of their texts: where no word leads to
/// them, or the index of words is not built yet.
const EXAMINED_WHOLE_MAX: u64 = 20_000;

/// E-mails that are gone through one by one sooner than the words are asked.
const FEW: u64 = 1_000;

/// One page of what matches.
pub(crate) async fn find(engine: &Engine, request: &ListRequest) -> Result<EmailPage> {
    let terms = request.filter.all();
    let asks_for_status = terms.iter().any(|term| matches!(term.condition, Condition::Status(_)));
    let sending = if asks_for_status { sending(engine).await? } else { HashSet::new() };
    let check = Check { terms: &terms, sending: &sending, asks_for_status };
    let known_total = known_total(engine, &terms, &sending).await?;
    let scan = match found_by_words(engine, &check, request).await? {
        Some(found) => {
            let mut scan = Scan::new(request, known_total);
            engine.select(found.run(engine, &mut scan)).await?;
            scan
        }
        None => {
            let request = &ListRequest { examined_max: examined_max(request, &terms), ..request.clone() };
            let mut scan = Scan::new(request, known_total);
            if !scan.is_past_the_end() {
                engine.select(Pass::of(check, request).run(engine, &mut scan)).await?;
            }
            scan
        }
    };
    let ids = scan.keys();
    let emails = record::records(engine, &ids).await?;
    if emails.len() < ids.len() {
        let found: HashSet<_> = emails.iter().map(|email| oid(email.id)).collect();
        words::remove_stale(engine, ids.into_iter().filter(|id| !found.contains(id)).collect()).await;
    }
    Ok(scan.page(emails, |id| ListPlace(id.bytes())))
}

fn examined_max(request: &ListRequest, terms: &[Term]) -> u64 {
    let reads_texts = terms.iter().any(|term| matches!(term.condition, Condition::Text(_)));
    if reads_texts { request.examined_max.min(EXAMINED_WHOLE_MAX) } else { request.examined_max }
}

/// The pass over what words lead to; `None` where they lead to nothing, or the index of words is not there yet.
async fn found_by_words<'t>(engine: &Engine, check: &'t Check<'t>, request: &ListRequest) -> Result<Option<Found<'t>>> {
    let Some(asked) = Asked::of(check.terms) else { return Ok(None) };
    let Some(missing) = words::catch_up(engine).await? else { return Ok(None) };
    let few = few(engine, check).await?;
    Ok(Some(Found::of(check, asked, request, missing, few)))
}

/// All e-mails that may match, where an index of e-mails leads to no more than [`FEW`].
async fn few(engine: &Engine, check: &Check<'_>) -> Result<Option<Vec<oid::ObjectId>>> {
    let wanted = || check.terms.iter().filter(|term| !term.is_negated).map(|term| &term.condition);
    let ids: Vec<oid::ObjectId> = ids_of(check.terms).collect();
    if !ids.is_empty() {
        return Ok(Some(ids));
    }
    if let Some(tag) = tag_of(wanted())
        && let Some(few) = few_of(engine, doc! { "tags": tag }).await?
    {
        return Ok(Some(few));
    }
    match statuses_of(wanted()).as_deref() {
        Some([EmailStatus::Sending]) => Ok(Some(check.sending.iter().copied().collect())),
        Some(statuses) if statuses.iter().all(is_open) => {
            few_of(engine, doc! { "status": { "$in": stored(statuses) } }).await
        }
        _ => Ok(None),
    }
}

async fn few_of(engine: &Engine, filter: Document) -> Result<Option<Vec<oid::ObjectId>>> {
    let emails = engine.collection::<Document>(EMAILS);
    let find = emails.find(filter).limit(FEW as i64 + 1).projection(doc! { "_id": 1 });
    let found = engine.select(collect(find)).await?;
    let ids = found.iter().filter_map(|email| email.get_object_id("_id").ok());
    Ok((found.len() as u64 <= FEW).then(|| ids.collect()))
}

/// The e-mails of which some node is sending something now.
async fn sending(engine: &Engine) -> Result<HashSet<oid::ObjectId>> {
    let deliveries = engine.collection::<Document>(DELIVERIES);
    let owned = deliveries.distinct("email", doc! { "owner": { "$exists": true } });
    Ok(engine.command(owned).await?.iter().filter_map(mongodb::bson::Bson::as_object_id).collect())
}

/// How many match, where the counters tell: all, or those of some statuses.
async fn known_total(engine: &Engine, terms: &[Term], sending: &HashSet<oid::ObjectId>) -> Result<Option<u64>> {
    let statuses = match terms {
        [] => {
            let count: i64 = counters::emails(engine).await?.iter().sum();
            return Ok(Some(u64::try_from(count).unwrap_or(0)));
        }
        [Term { is_negated: false, condition: Condition::Status(statuses) }] => statuses,
        _ => return Ok(None),
    };
    let is_any_stored = statuses.iter().any(|&status| status != EmailStatus::Sending);
    let counts = if is_any_stored { Some(stats::counts(engine).await?) } else { None };
    let count = |status: EmailStatus| match &counts {
        _ if status == EmailStatus::Sending => sending.len() as u64,
        Some(counts) => u64::try_from(counts.emails[slot(status)]).unwrap_or(0),
        None => 0,
    };
    let counted = EmailStatus::ALL.iter().filter(|status| statuses.contains(status));
    Ok(Some(counted.map(|&status| count(status)).sum()))
}

/// What is looked at here, and not left out by the server.
pub(crate) struct Check<'t> {
    pub(crate) terms: &'t [Term],
    sending: &'t HashSet<oid::ObjectId>,
    pub(crate) asks_for_status: bool,
}

/// A pass over e-mails.
struct Pass<'t> {
    /// Which e-mails it goes through, by the index.
    source: Document,
    index: Option<&'static str>,
    /// What the server leaves out of these.
    conditions: Document,
    check: Check<'t>,
    direction: i32,
}

impl<'t> Pass<'t> {
    fn of(check: Check<'t>, request: &ListRequest) -> Self {
        let is_oldest_first = request.reads_oldest_first();
        let (mut source, index) = source(check.terms, check.sending);
        source.extend(bounds(check.terms).condition().map(|condition| doc! { "_id": condition }));
        source.extend(ids_of(check.terms).map(|id| doc! { "_id": id }));
        if let Some(place) = request.place() {
            let operator = if is_oldest_first { "$gt" } else { "$lt" };
            source.push(doc! { "_id": { operator: oid::ObjectId::from_bytes(place.0) } });
        }
        let conditions: Vec<Document> = check.terms.iter().filter_map(conditions::of).collect();
        Self {
            source: doc! { "$and": source },
            index,
            conditions: if conditions.is_empty() {
                doc! {}
            } else {
                doc! { "$and": conditions }
            },
            check,
            direction: if is_oldest_first { 1 } else { -1 },
        }
    }

    async fn run(&self, engine: &Engine, scan: &mut Scan<oid::ObjectId>) -> Result<()> {
        let emails = engine.collection::<Document>(EMAILS);
        let mut pipeline = vec![doc! { "$match": &self.source }, doc! { "$sort": { "_id": self.direction } }];
        if self.check.terms.is_empty() && scan.before_page() > 0 {
            pipeline.push(doc! { "$skip": i64::try_from(scan.before_page()).unwrap_or(i64::MAX) });
            scan.skip(scan.before_page());
        }
        let examined_max = scan.examined_max().and_then(|max| i64::try_from(max).ok());
        pipeline.extend(examined_max.map(|max| doc! { "$limit": max.max(1) }));
        if !self.conditions.is_empty() {
            pipeline.push(doc! { "$match": &self.conditions });
        }
        let wanted = if self.check.asks_for_status {
            doc! { "_id": 1, "status": 1 }
        } else {
            doc! { "_id": 1 }
        };
        pipeline.push(doc! { "$project": wanted });
        let mut aggregate = emails.aggregate(pipeline);
        if let Some(index) = self.index {
            aggregate = aggregate.hint(Hint::Name(index.into()));
        }
        let driver = |error: mongodb::error::Error| store_error(&error);
        let mut cursor = aggregate.await.map_err(driver)?;
        let mut part = Vec::new();
        while let Some(email) = cursor.try_next().await.map_err(driver)? {
            let Ok(id) = email.get_object_id("_id") else { continue };
            if self.check.has_status(id, &email) {
                part.push(id);
            }
            let is_enough = !self.check.needs_records() || part.len() >= PART_EMAILS;
            if is_enough && !self.look_at(engine, std::mem::take(&mut part), scan).await? {
                return Ok(());
            }
        }
        if !self.look_at(engine, part, scan).await? {
            return Ok(());
        }
        // It is over: because there are no more, or because these were enough.
        if let Some(max) = examined_max
            && let Some(last) = self.last_examined(engine, max).await?
        {
            scan.exhausted(last);
        }
        Ok(())
    }

    /// Takes e-mails into account. Returns whether to go on.
    async fn look_at(&self, engine: &Engine, ids: Vec<oid::ObjectId>, scan: &mut Scan<oid::ObjectId>) -> Result<bool> {
        if !self.check.needs_records() {
            return Ok(ids.into_iter().all(|id| scan.visit(id, true)));
        }
        let records = record::records(engine, &ids).await?;
        Ok(records.iter().all(|record| scan.visit(oid(record.id), self.check.matches(record))))
    }

    /// The e-mail at which the pass ended for the limit, if it did.
    async fn last_examined(&self, engine: &Engine, max: i64) -> Result<Option<oid::ObjectId>> {
        let emails = engine.collection::<Document>(EMAILS);
        let mut find = emails
            .find(self.source.clone())
            .sort(doc! { "_id": self.direction })
            .skip(u64::try_from(max - 1).unwrap_or(0))
            .limit(1)
            .projection(doc! { "_id": 1 });
        if let Some(index) = self.index {
            find = find.hint(Hint::Name(index.into()));
        }
        let found = engine.call(collect(find)).await?;
        Ok(found.first().and_then(|email| email.get_object_id("_id").ok()))
    }
}

impl Check<'_> {
    /// Whether an e-mail has the statuses that are asked for, as it is seen: what is being sent is stored as waiting.
    pub(crate) fn has_status(&self, id: oid::ObjectId, email: &Document) -> bool {
        if !self.asks_for_status {
            return true;
        }
        let stored = email.get_str("status").ok().and_then(|text| text.parse().ok());
        let Some(stored) = stored else { return false };
        let status = if self.sending.contains(&id) { EmailStatus::Sending } else { stored };
        self.terms.iter().all(|term| match &term.condition {
            Condition::Status(statuses) => statuses.contains(&status) != term.is_negated,
            _ => true,
        })
    }

    pub(crate) fn needs_records(&self) -> bool {
        self.terms.iter().any(|term| conditions::is_left_to_us(&term.condition))
    }

    pub(crate) fn matches(&self, record: &EmailRecord) -> bool {
        self.terms.iter().all(|term| {
            let is_true = match &term.condition {
                Condition::Error(part) => record.last_error.as_deref().is_some_and(|error| contains(error, part)),
                Condition::Sender(pattern) => pattern.matches(&record.sender),
                Condition::Recipient(pattern) => record.recipients.iter().any(|address| pattern.matches(address)),
                _ => return true,
            };
            is_true != term.is_negated
        })
    }
}

/// Which e-mails are gone through, and the index for that, where the server should not choose.
fn source(terms: &[Term], sending: &HashSet<oid::ObjectId>) -> (Vec<Document>, Option<&'static str>) {
    let wanted: Vec<&Condition> = terms.iter().filter(|term| !term.is_negated).map(|term| &term.condition).collect();
    let searches = wanted.iter().any(|condition| conditions::searches(condition));
    if let Some(tag) = tag_of(wanted.iter().copied()) {
        return (vec![doc! { "tags": tag }], Some("tags"));
    }
    let statuses = statuses_of(wanted.into_iter());
    match statuses.as_deref() {
        // A few ids, looked up one by one.
        Some([EmailStatus::Sending]) => {
            let ids: Vec<oid::ObjectId> = sending.iter().copied().collect();
            (vec![doc! { "_id": { "$in": ids } }], None)
        }
        // Most e-mails have these: of those that have the text the status is looked up, not the other way around.
        Some(statuses) if statuses.iter().all(is_open) || !searches => {
            (vec![doc! { "status": { "$in": stored(statuses) } }], Some("status"))
        }
        // One that is not listed has nothing to search: the index tells, without a look at its document.
        _ => (vec![doc! { "search": { "$gte": "" } }], Some("search")),
    }
}

/// The tag that is asked for, if one is.
fn tag_of<'t>(mut wanted: impl Iterator<Item = &'t Condition>) -> Option<&'t str> {
    wanted.find_map(|condition| match condition {
        Condition::Tag(tag) => Some(tag.as_str()),
        _ => None,
    })
}

/// The statuses that all have that are looked for, if not any.
fn statuses_of<'t>(wanted: impl Iterator<Item = &'t Condition> + Clone) -> Option<Vec<EmailStatus>> {
    let asked = wanted.clone().find_map(|condition| match condition {
        Condition::Status(statuses) => Some(statuses.clone()),
        _ => None,
    });
    let has_error = || wanted.clone().any(|condition| matches!(condition, Condition::Error(_)));
    // What is sent or received has no error.
    asked.or_else(|| has_error().then(|| EmailStatus::ALL.iter().copied().filter(is_open).collect()))
}

fn is_open(status: &EmailStatus) -> bool {
    !matches!(status, EmailStatus::Sent | EmailStatus::Received)
}

/// The statuses as documents have them.
fn stored(statuses: &[EmailStatus]) -> Vec<&'static str> {
    let mut stored = Vec::new();
    for &status in statuses {
        match status {
            EmailStatus::Sending => stored.extend([EmailStatus::Queued.as_str(), EmailStatus::Deferred.as_str()]),
            status => stored.push(status.as_str()),
        }
    }
    stored.sort_unstable();
    stored.dedup();
    stored
}

/// Between which ids e-mails of those times are.
pub(crate) fn bounds(terms: &[Term]) -> Range {
    let mut range = Range::default();
    for term in terms.iter().filter(|term| !term.is_negated) {
        match &term.condition {
            Condition::From(from) => {
                let low = lower_bound(*from - ID_DISTANCE_MAX);
                range.low = Some(range.low.map_or(low, |before| before.max(low)));
            }
            Condition::Before(to) => {
                let high = lower_bound(*to + ID_DISTANCE_MAX + Duration::from_secs(1));
                range.high = Some(range.high.map_or(high, |before| before.min(high)));
            }
            _ => {}
        }
    }
    range
}

/// The ids that are asked for.
fn ids_of(terms: &[Term]) -> impl Iterator<Item = oid::ObjectId> {
    terms.iter().filter_map(|term| match &term.condition {
        Condition::Id(id) if !term.is_negated => Some(oid(*id)),
        _ => None,
    })
}

/// The smallest id that something made then can have.
fn lower_bound(at: Timestamp) -> oid::ObjectId {
    oid(ObjectId::lower_bound(Timestamp::from_millis(at.as_millis().clamp(0, i64::from(u32::MAX) * 1000))))
}
